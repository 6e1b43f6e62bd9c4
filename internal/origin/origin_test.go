package origin_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/origin"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"https://app.example":        "https://app.example",
		"https://App.Example/":       "https://app.example",
		"https://app.example:443":    "https://app.example",
		"https://app.example:8443":   "https://app.example:8443",
		"http://localhost:80":        "http://localhost",
		"http://127.0.0.1:8080":      "http://127.0.0.1:8080",
		"http://[0:0:0:0:0:0:0:1]:1": "http://[::1]:1",
		"https://xn--bcher-kva.de":   "https://xn--bcher-kva.de",
		"http://[::1]:08080":         "http://[::1]:8080",
		"https://a.example:80":       "https://a.example:80",
	} {
		got, err := origin.Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
		again, err := origin.Parse(got)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for in, want := range map[string]string{
		"":                          "want an origin",
		"null":                      "want an origin",
		"*":                         "want an origin",
		"app.example":               "want an origin",
		"https://":                  "want an origin",
		"https://:8080":             "want an origin",
		"ftp://app.example":         "want https or http",
		"https://app.example/path":  "scheme and host alone",
		"https://app.example?":      "scheme and host alone",
		"https://app.example#":      "scheme and host alone",
		"https://u:pw@app.example":  "scheme and host alone",
		"http://app.example":        "use https",
		"http://localhost.evil.com": "use https",
		"https://*.example":         "characters",
		"https://bücher.de":         "characters",
		"https://app.example:":      "port",
		"https://app.example:0":     "port",
		"https://app.example:99999": "port",
		"https://[fe80::1%25eth0]":  "characters",
	} {
		_, err := origin.Parse(in)
		require.ErrorContains(t, err, want, in)
		require.NotContains(t, err.Error(), ":pw@")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://app.example:8443", "http://[::1]:80/", "null", "https://u@h", "https://a%2eb", "https://:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := origin.Parse(s)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		require.NoError(t, err)
		require.Equal(t, got, u.Scheme+"://"+u.Host, "nothing but scheme and host")
		again, err := origin.Parse(got)
		require.NoError(t, err)
		require.Equal(t, got, again, "one spelling")
		require.True(t, u.Scheme == "https" || origin.Loopback(u.Hostname()))
	})
}
