package session_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func TestS11_HostPrefix(t *testing.T) {
	cases := []struct {
		name   string
		cookie session.Cookie
		want   string // "" for no error
	}{
		{"default", session.Cookie{}, ""},
		{"default with Domain", session.Cookie{Domain: "app.example"}, "allows no Domain"},
		{"default with Path", session.Cookie{Path: "/app"}, `allows no Path but "/"`},
		{"__Host- with Domain", session.Cookie{Name: "__Host-x", Domain: "app.example"}, "allows no Domain"},
		{"__Host- with Path", session.Cookie{Name: "__Host-x", Path: "/app"}, "allows no Path"},
		{"__Host- without Secure", session.Cookie{Name: "__Host-x", Insecure: true}, "needs Secure"},
		{"__HOST- without Secure", session.Cookie{Name: "__HOST-x", Insecure: true}, "needs Secure"},
		{"__Secure- without Secure", session.Cookie{Name: "__Secure-x", Insecure: true}, "needs Secure"},
		{"__Secure- with Domain and Path", session.Cookie{Name: "__Secure-x", Domain: "app.example", Path: "/app"}, ""},
		{"Insecure", session.Cookie{Insecure: true}, ""},
		{"None without Secure", session.Cookie{Insecure: true, SameSite: http.SameSiteNoneMode}, "None needs Secure"},
		{"None", session.Cookie{SameSite: http.SameSiteNoneMode}, ""},
		{"SameSite out of range", session.Cookie{SameSite: 9}, "SameSite 9"},
		{"bad name", session.Cookie{Name: "a b"}, "Cookie:"},
		{"bad domain", session.Cookie{Name: "x", Domain: "a b"}, "Cookie:"},
		{"relative path", session.Cookie{Name: "x", Path: "app"}, `does not begin with "/"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := session.New[data](session.NewMemoryStore(nil), &session.Options{Cookie: c.cookie})
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.NoError(t, m.Close())
		})
	}
}

func TestOptions(t *testing.T) {
	cases := []struct {
		name string
		o    session.Options
		want []string
	}{
		{"negative", session.Options{Idle: -1, Absolute: -1, MaxData: -1, MaxPerUser: -2},
			[]string{"Options.Idle", "Options.Absolute", "Options.MaxData", "Options.MaxPerUser"}},
		{"idle over absolute", session.Options{Idle: 24 * time.Hour}, []string{"Options.Idle (24h0m0s) is longer than Options.Absolute (12h0m0s)"}},
		{"touch over idle", session.Options{TouchEvery: time.Hour}, []string{"Options.TouchEvery"}},
		{"refresh", session.Options{Refresh: session.Lifetime{Idle: 100 * 24 * time.Hour}}, []string{"Options.Refresh.Idle"}},
		{"grace", session.Options{Grace: time.Hour}, []string{"Options.Grace"}},
		{"too short", session.Options{Idle: time.Microsecond}, []string{"millisecond"}},
		{"data", session.Options{MaxData: 1 << 30}, []string{"Options.MaxData"}},
		{"origins", session.Options{TrustedOrigins: []string{"null", "https://u@app.example", "https://app.example/path", "ftp://app.example", "http://app.example"}},
			[]string{"want an origin", `"https://u@app.example"`, `"https://app.example/path"`, `"ftp://app.example"`, `"http://app.example": plain http is for loopback`}},
		{"insecure cookie", session.Options{Cookie: session.Cookie{Insecure: true}, TrustedOrigins: []string{"https://app.example"}}, []string{"Options.Cookie.Insecure"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := session.New[data](session.NewMemoryStore(nil), &c.o)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	_, err := session.New[data](session.NewMemoryStore(nil), &session.Options{
		Cookie: session.Cookie{Insecure: true}, TrustedOrigins: []string{"http://localhost:8080", "http://[::1]:8080", "https://other.example"}, ReapEvery: -1})
	require.NoError(t, err, "development on loopback")
	_, err = session.New[data](nil, &session.Options{Idle: -1})
	require.ErrorContains(t, err, "no store")
	require.ErrorContains(t, err, "Options.Idle")
	_, err = session.New[chan int](session.NewMemoryStore(nil), nil)
	require.ErrorContains(t, err, "can't be stored")
	_, err = session.New[any](session.NewMemoryStore(nil), nil)
	require.ErrorContains(t, err, "interface")
}
