//go:build !race

package session_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// nowhere is a ResponseWriter that allocates nothing once its header has grown.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w *nowhere) WriteHeader(int)             {}

// TestSignedInGetAllocates keeps the cost of the middleware from creeping. The
// race detector allocates too, so this runs without it.
func TestSignedInGetAllocates(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	b.login(t, "u1")
	b.update(t, increment)
	for name, read := range map[string]func(r *http.Request) (*session.Session[data], error){
		"Authenticate": m.Authenticate,
		"Get":          func(r *http.Request) (*session.Session[data], error) { return m.Get(r.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s, err := read(r)
				if err != nil || s.UserID() != "u1" || s.Data().N != 1 {
					t.Error("not signed in", err)
				}
				_, _ = w.Write(nil)
			}))
			r, w := b.request(), &nowhere{header: make(http.Header)}
			n := testing.AllocsPerRun(200, func() {
				clear(w.header)
				h.ServeHTTP(w, r)
			})
			t.Logf("%v allocations", n)
			require.LessOrEqual(t, n, 20.0)
		})
	}
}

func BenchmarkSignedInGet(b *testing.B) {
	m, err := session.New[data](session.NewMemoryStore(nil), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	br := newBrowser(m)
	br.do(func(w http.ResponseWriter, r *http.Request) {
		if _, err := m.Begin(w, r, session.Start{UserID: "u1"}); err != nil {
			b.Fatal(err)
		}
		if err := m.Update(r.Context(), increment); err != nil {
			b.Fatal(err)
		}
	})
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, err := m.Authenticate(r); err != nil || s.Data().N != 1 {
			b.Fatal("not signed in", err)
		}
		_, _ = w.Write(nil)
	}))
	r, w := br.request(), &nowhere{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}
