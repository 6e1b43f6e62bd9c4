package bench

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	gorilla "github.com/gorilla/sessions"

	"github.com/gatewire/gatewire/session"
)

// answer is the work of every handler: it has read who is calling and one value.
func answer(w http.ResponseWriter, user, city string) {
	if user != "ada" || city != "London" {
		panic("signed in as nobody")
	}
	w.WriteHeader(http.StatusNoContent)
}

// sink is a ResponseWriter that costs the same for all and as little as can be:
// its header is emptied, not made, for each request.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)             {}

// site is a handler with a request of somebody who is signed in to it.
type site struct {
	name  string
	read  http.Handler
	write http.Handler
	r     *http.Request
}

func (s *site) serve(h http.Handler, w *sink) {
	clear(w.header)
	h.ServeHTTP(w, s.r)
}

type visit struct {
	City  string `json:"city"`
	Count int    `json:"count"`
}

// signedIn makes a request with the cookies that the handler set.
func signedIn(login http.Handler) *http.Request {
	w := httptest.NewRecorder()
	login.ServeHTTP(w, httptest.NewRequest("POST", "https://app.example/login", nil))
	r := httptest.NewRequest("GET", "https://app.example/", nil)
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	return r
}

func bare() *site {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, "ada", "London") })
	return &site{name: "bare", read: h, write: h, r: httptest.NewRequest("GET", "https://app.example/", nil)}
}

func ours(tb testing.TB) *site {
	m, err := session.New[visit](session.NewMemoryStore(nil), &session.Options{Idle: 10 * time.Hour, TouchEvery: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	s := &site{name: "gatewire"}
	s.r = signedIn(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.Update(r.Context(), func(v *visit) error { v.City = "London"; return nil }); err != nil {
			tb.Fatal(err)
		}
		if err := m.Login(w, r, "ada"); err != nil {
			tb.Fatal(err)
		}
	})))
	s.read = m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := m.Authenticate(r)
		if err != nil {
			panic(err)
		}
		answer(w, who.UserID(), who.Data().City)
	}))
	s.write = m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := m.Authenticate(r)
		if err != nil {
			panic(err)
		}
		if err := m.Update(r.Context(), func(v *visit) error { v.Count++; return nil }); err != nil {
			panic(err)
		}
		answer(w, who.UserID(), who.Data().City)
	}))
	return s
}

// withSCS is scs with its memory store, as its README shows it. With an idle
// timeout, which ours always has, it writes the session at every request.
func withSCS(name string, idle time.Duration) *site {
	m := scs.New()
	m.Store = memstore.NewWithCleanupInterval(0)
	m.IdleTimeout = idle
	s := &site{name: name}
	s.r = signedIn(m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil {
			panic(err)
		}
		m.Put(r.Context(), "user", "ada")
		m.Put(r.Context(), "city", "London")
		m.Put(r.Context(), "count", 0)
	})))
	s.read = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, m.GetString(r.Context(), "user"), m.GetString(r.Context(), "city"))
	}))
	s.write = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "count", m.GetInt(r.Context(), "count")+1)
		answer(w, m.GetString(r.Context(), "user"), m.GetString(r.Context(), "city"))
	}))
	return s
}

// withGorilla keeps everything in an authenticated and encrypted cookie, for
// want of a store in memory: it looks nothing up.
func withGorilla() *site {
	store := gorilla.NewCookieStore(make([]byte, 32), make([]byte, 32))
	use := func(w http.ResponseWriter, r *http.Request, save bool) (user, city string) {
		s, err := store.Get(r, "session")
		if err != nil {
			panic(err)
		}
		if save {
			count, _ := s.Values["count"].(int)
			s.Values["user"], s.Values["city"], s.Values["count"] = "ada", "London", count+1
			if err := s.Save(r, w); err != nil {
				panic(err)
			}
		}
		user, _ = s.Values["user"].(string)
		city, _ = s.Values["city"].(string)
		return user, city
	}
	s := &site{name: "gorilla/sessions, cookie"}
	s.r = signedIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { use(w, r, true) }))
	handler := func(save bool) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Its registry lives in the request's context: one a request.
			r = r.WithContext(r.Context())
			user, city := use(w, r, save)
			answer(w, user, city)
		})
	}
	s.read, s.write = handler(false), handler(true)
	return s
}

func sites(tb testing.TB) []*site {
	return []*site{bare(), ours(tb), withSCS("scs", 0), withSCS("scs, idle timeout", 30*time.Minute), withGorilla()}
}

// BenchmarkMiddleware runs every site in turns, so that a noisy machine bends
// all alike. ns/op is meaningless: read the metrics.
func BenchmarkMiddleware(b *testing.B) {
	for _, what := range []string{"read", "write"} {
		b.Run(what, func(b *testing.B) {
			handler := func(s *site) http.Handler {
				if what == "write" {
					return s.write
				}
				return s.read
			}
			all := sites(b)
			took := make([][]float64, len(all))
			const batch = 2000
			for b.Loop() {
				for i, s := range all {
					h, w := handler(s), &sink{header: make(http.Header)}
					start := time.Now()
					for range batch {
						s.serve(h, w)
					}
					took[i] = append(took[i], float64(time.Since(start).Nanoseconds())/batch)
				}
			}
			for i, s := range all {
				slices.Sort(took[i])
				h, w := handler(s), &sink{header: make(http.Header)}
				b.Logf("%-26s %8.0f ns  %5.0f allocs", s.name, took[i][len(took[i])/2], testing.AllocsPerRun(1000, func() { s.serve(h, w) }))
			}
		})
	}
}

// What a signed-in GET costs can't creep up. (With the race detector other
// things are allocated: those runs only see that it works.)
func TestTheMiddlewareAllocatesLittle(t *testing.T) {
	s, w := ours(t), &sink{header: make(http.Header)}
	n := testing.AllocsPerRun(1000, func() { s.serve(s.read, w) })
	t.Logf("%v allocations", n)
	if n > 20 && !raceEnabled {
		t.Errorf("a signed-in GET makes %v allocations, want at most 20", n)
	}
}
