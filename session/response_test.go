package session_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func TestS13_CacheHeaders(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	b := newBrowser(m)
	b.login(t, "u1")
	read := func(r *http.Request) { _, _ = m.Get(r.Context()) }
	cases := []struct {
		name         string
		h            http.HandlerFunc
		cache, vary  string
		anonymousToo bool
	}{
		{"untouched", func(w http.ResponseWriter, r *http.Request) {}, "", "", true},
		{"untouched, own headers", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60")
			w.Header().Set("Vary", "Accept")
		}, "public, max-age=60", "Accept", true},
		{"Get", func(w http.ResponseWriter, r *http.Request) { read(r) }, "no-store", "Cookie", true},
		{"Authenticate", func(w http.ResponseWriter, r *http.Request) { _, _ = m.Authenticate(r) }, "no-store", "Cookie", true},
		{"read, public", func(w http.ResponseWriter, r *http.Request) {
			read(r)
			w.Header().Set("Cache-Control", "public, max-age=60")
			w.Header().Set("Vary", "Accept")
		}, "no-store", "Accept, Cookie", true},
		{"read, private", func(w http.ResponseWriter, r *http.Request) {
			read(r)
			w.Header().Set("Cache-Control", "private, max-age=60")
			w.Header().Set("Vary", "accept, COOKIE")
		}, "private, max-age=60", "accept, COOKIE", true},
		{"written, private", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "private, max-age=60")
			_ = m.Renew(w, r)
		}, "no-store", "Cookie", false},
	}
	for _, c := range cases {
		t.Run("S13 "+c.name, func(t *testing.T) {
			browsers := []*browser{b}
			if c.anonymousToo {
				browsers = append(browsers, newBrowser(m))
			}
			for _, b := range browsers {
				resp := b.do(c.h)
				require.Equal(t, c.cache, resp.Header.Get("Cache-Control"))
				require.Equal(t, c.vary, strings.Join(resp.Header["Vary"], ", "))
			}
		})
	}
}

// serve runs h behind Handler on a real server and returns its URL and client.
func serve(t *testing.T, m *manager, http2 bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(m.Handler(h))
	srv.EnableHTTP2 = http2
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func TestS14_ResponseWriter(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("0123456789", 1000)), 0o600))
	login := func(w http.ResponseWriter, r *http.Request) { require.NoError(t, m.Login(w, r, "u1")) }

	cases := []struct {
		name   string
		method string
		h      http.HandlerFunc
		status int
		body   string
	}{
		{"nothing written", "GET", login, 200, ""},
		{"Flush first", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "flushed")
		}, 200, "flushed"},
		{"Flush by ResponseController", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			require.NoError(t, http.NewResponseController(w).Flush())
			_, _ = w.Write([]byte("flushed"))
		}, 200, "flushed"},
		{"103 first", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			login(w, r)
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "created")
		}, 201, "created"},
		{"ReadFrom", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			f, err := os.Open(file)
			require.NoError(t, err)
			defer f.Close()
			n, err := w.(io.ReaderFrom).ReadFrom(f)
			require.NoError(t, err)
			require.EqualValues(t, 10000, n)
		}, 200, strings.Repeat("0123456789", 1000)},
		{"ServeFile", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			http.ServeFile(w, r, file)
		}, 200, strings.Repeat("0123456789", 1000)},
		{"304", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			w.WriteHeader(http.StatusNotModified)
			_, err := io.WriteString(w, "no body here")
			require.ErrorIs(t, err, http.ErrBodyNotAllowed)
		}, 304, ""},
		{"204", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			w.WriteHeader(http.StatusNoContent)
		}, 204, ""},
		{"HEAD", "HEAD", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			_, _ = io.WriteString(w, "left out")
		}, 200, ""},
		{"redirect", "POST", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			http.Redirect(w, r, "/next", http.StatusSeeOther)
		}, 303, ""},
		{"deadlines reach the connection", "GET", func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			require.NoError(t, http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)))
		}, 200, ""},
	}
	for _, http2 := range []bool{false, true} {
		for _, c := range cases {
			name := "S14 HTTP/1 " + c.name
			if http2 {
				name = "S14 HTTP/2 " + c.name
			}
			t.Run(name, func(t *testing.T) {
				srv := serve(t, m, http2, c.h)
				client := srv.Client()
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				req, err := http.NewRequest(c.method, srv.URL, nil)
				require.NoError(t, err)
				hints := 0
				req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
						hints++
						require.Empty(t, h["Set-Cookie"])
						return nil
					},
				}))
				resp, err := client.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, c.status, resp.StatusCode)
				require.Equal(t, c.body, body(t, resp))
				require.Len(t, resp.Cookies(), 1)
				require.Equal(t, cookieName, resp.Cookies()[0].Name)
				require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
				require.Equal(t, c.name == "103 first", hints == 1)
				r := httptest.NewRequest("GET", "/", nil)
				r.AddCookie(resp.Cookies()[0])
				s, err := m.Authenticate(r)
				require.NoError(t, err)
				require.Equal(t, "u1", s.UserID())
			})
		}
	}

	t.Run("S14 Hijack", func(t *testing.T) {
		b := newBrowser(m)
		b.login(t, "u1")
		hijackErr := make(chan error, 1)
		srv := serve(t, m, false, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" { // the raw response could not carry the cookie
				login(w, r)
				_, _, err := w.(http.Hijacker).Hijack()
				hijackErr <- err
				return
			}
			require.NoError(t, m.Update(r.Context(), increment))
			var conn net.Conn
			var err error
			if r.URL.Path == "/101" {
				w.WriteHeader(http.StatusSwitchingProtocols)
			}
			conn, _, err = http.NewResponseController(w).Hijack()
			hijackErr <- err
			if err == nil {
				_, _ = io.WriteString(conn, "raw")
				_ = conn.Close()
			}
		})
		for _, path := range []string{"/raw", "/101"} {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			tlsConn := tlsClient(srv, conn)
			_, err = io.WriteString(tlsConn, "GET "+path+" HTTP/1.1\r\nHost: app.example\r\nCookie: "+cookieName+"="+b.cookie()+"\r\n\r\n")
			require.NoError(t, err)
			got, err := io.ReadAll(bufio.NewReader(tlsConn))
			require.NoError(t, err)
			require.True(t, strings.HasSuffix(string(got), "raw"), "%q", got)
			require.NoError(t, <-hijackErr)
			require.NoError(t, conn.Close())
		}
		s, err := b.who()
		require.NoError(t, err)
		require.Equal(t, 2, s.Data().N, "what was written before a hijack is saved")

		w := httptest.NewRecorder()
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Renew(w, r))
			w.WriteHeader(http.StatusSwitchingProtocols)
			require.NotEmpty(t, w.Header().Get("Set-Cookie"), "101 is a final response, and carries the cookie")
		})).ServeHTTP(w, b.request())
		b.keep(w.Result())

		resp, err := srv.Client().Get(srv.URL + "/login")
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
		require.Error(t, <-hijackErr)
	})

	t.Run("S14 only the interfaces that are there", func(t *testing.T) {
		type plain struct{ http.ResponseWriter }
		for name, w := range map[string]http.ResponseWriter{"plain": plain{httptest.NewRecorder()}, "flusher": httptest.NewRecorder()} {
			m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, flush := w.(http.Flusher)
				require.Equal(t, name == "flusher", flush)
				_, hijack := w.(http.Hijacker)
				require.False(t, hijack)
				require.ErrorIs(t, hijackError(w), http.ErrNotSupported)
			})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		}
	})

	t.Run("S14 inside a TimeoutHandler", func(t *testing.T) {
		b := newBrowser(m)
		w := httptest.NewRecorder()
		h := m.Handler(http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			login(w, r)
			_, _ = io.WriteString(w, "in time")
		}), time.Minute, "late"))
		h.ServeHTTP(w, b.request())
		b.keep(w.Result())
		_, err := b.who()
		require.NoError(t, err)
	})
}

func hijackError(w http.ResponseWriter) error {
	_, _, err := http.NewResponseController(w).Hijack()
	return err
}

func TestS15_WriteAfterHeaders(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	begin := map[string]func(w http.ResponseWriter){
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"Write":       func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
	}
	for how, begin := range begin {
		t.Run("S15 after "+how, func(t *testing.T) {
			b := newBrowser(m)
			id := b.login(t, "u1").ID()
			resp := b.do(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				require.ErrorIs(t, m.Update(r.Context(), increment), session.ErrHeadersSent)
				require.ErrorIs(t, m.Login(w, r, "u2"), session.ErrHeadersSent)
				require.ErrorIs(t, m.Renew(w, r), session.ErrHeadersSent)
				s, err := m.Authenticate(r)
				require.NoError(t, err)
				require.Equal(t, "u1", s.UserID())
			})
			require.Empty(t, resp.Header["Set-Cookie"])
			b.do(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				require.ErrorIs(t, m.Logout(w, r), session.ErrHeadersSent, "the cookie stays, and one is told")
				_, err := m.Authenticate(r)
				require.ErrorIs(t, err, session.ErrInvalid, "but the session ended; what was read before is not shown again")
			})
			alive, err := m.Alive(t.Context(), id)
			require.NoError(t, err)
			require.False(t, alive)
		})
	}
	t.Run("S15 after the handler", func(t *testing.T) {
		b := newBrowser(m)
		var kept *http.Request
		b.do(func(_ http.ResponseWriter, r *http.Request) { kept = r })
		require.ErrorIs(t, m.Update(kept.Context(), increment), session.ErrHeadersSent)
	})
	t.Run("S15 while the change is made", func(t *testing.T) {
		newBrowser(m).do(func(w http.ResponseWriter, r *http.Request) {
			require.ErrorIs(t, m.Update(r.Context(), func(d *data) error {
				w.WriteHeader(http.StatusOK)
				return increment(d)
			}), session.ErrHeadersSent)
		})
	})
	t.Run("S15 a change that makes another, whenever it is run", func(t *testing.T) {
		newBrowser(m).do(func(w http.ResponseWriter, r *http.Request) {
			runs := 0
			err := m.Update(r.Context(), func(*data) error {
				if runs++; runs == 10000 {
					return errors.New("for ever")
				}
				return m.Update(r.Context(), increment)
			})
			require.ErrorContains(t, err, "itself")
			require.Equal(t, http.StatusInternalServerError, session.StatusOf(err))
		})
	})
	t.Run("S15 after a panic", func(t *testing.T) {
		var kept *http.Request
		require.Panics(t, func() {
			newBrowser(m).do(func(_ http.ResponseWriter, r *http.Request) { kept = r; panic("boom") })
		})
		require.ErrorIs(t, m.Update(kept.Context(), increment), session.ErrHeadersSent)
	})
	require.ErrorIs(t, m.Update(t.Context(), increment), session.ErrNoHandler)
	_, err := m.Get(t.Context())
	require.ErrorIs(t, err, session.ErrNoHandler)
}

func TestS16_Panic(t *testing.T) {
	store := session.NewMemoryStore(nil)
	m := newManager(t, store, session.Options{})
	b := newBrowser(m)
	b.login(t, "u1")
	for _, value := range []any{"boom", http.ErrAbortHandler} {
		require.PanicsWithValue(t, value, func() {
			b.do(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Update(r.Context(), increment))
				panic(value)
			})
		})
		s, err := b.who()
		require.NoError(t, err)
		require.Zero(t, s.Data().N)
	}
	require.Panics(t, func() {
		newBrowser(m).do(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Login(w, r, "u3"))
			panic("after a sign-in")
		})
	})
	list, err := m.List(t.Context(), "u3")
	require.NoError(t, err)
	require.Empty(t, list, "nobody has the token")
	t.Run("S16 in a change that is run again", func(t *testing.T) {
		require.Panics(t, func() {
			newBrowser(m).do(func(w http.ResponseWriter, r *http.Request) {
				s, err := m.Begin(w, r, session.Start{UserID: "u3"})
				require.NoError(t, err)
				runs := 0
				require.NoError(t, m.Update(r.Context(), func(d *data) error {
					if runs++; runs > 1 {
						panic("again")
					}
					return increment(d)
				}))
				rec, _, err := store.ByID(r.Context(), s.ID())
				require.NoError(t, err)
				require.NoError(t, store.Replace(r.Context(), rec.Key, rec, rec.Rev))
			})
		})
		list, err := m.List(t.Context(), "u3")
		require.NoError(t, err)
		require.Empty(t, list, "nobody has the token")
	})
	t.Run("S16 recovered inside, it is an answer", func(t *testing.T) {
		b := newBrowser(m)
		b.login(t, "u4")
		resp := b.do(recovered(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Update(r.Context(), increment))
			panic("after a change")
		})).ServeHTTP)
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
		s, err := b.who()
		require.NoError(t, err)
		require.Equal(t, 1, s.Data().N)
	})
	require.Panics(t, func() {
		b.do(func(_ http.ResponseWriter, r *http.Request) {
			_ = m.Update(r.Context(), func(*data) error { panic("in the change") })
		})
	})
	_, err = b.who()
	require.NoError(t, err)
}

func TestS17_StoreDown(t *testing.T) {
	store := newFaulty()
	m := newManager(t, store, session.Options{})
	b := newBrowser(m)
	id := b.login(t, "u1").ID()
	cookie := b.cookie()

	t.Run("S17 on load", func(t *testing.T) {
		store.set("Load", true)
		defer store.set("Load", false)
		_, err := b.who()
		require.ErrorIs(t, err, errDown)
		require.Equal(t, "unavailable", authError(err))
		require.Equal(t, http.StatusServiceUnavailable, session.StatusOf(err))

		resp := b.do(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Secret", "of the page")
			_, _ = m.Get(r.Context()) // and ignores the error
			_, _ = io.WriteString(w, "welcome, whoever you are")
		})
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "Service Unavailable\n", body(t, resp))
		require.Empty(t, resp.Header.Get("X-Secret"))
		require.Empty(t, resp.Header["Set-Cookie"])

		resp = b.do(func(w http.ResponseWriter, r *http.Request) {
			_, err := m.Authenticate(r)
			http.Error(w, "a page of our own", session.StatusOf(err))
		})
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "a page of our own\n", body(t, resp))
		require.Equal(t, http.StatusOK, b.do(func(http.ResponseWriter, *http.Request) {}).StatusCode, "who doesn't ask is not refused")

		w := httptest.NewRecorder()
		require.ErrorIs(t, m.Login(w, b.request(), "u1"), errDown)
		require.Empty(t, w.Header())
	})
	t.Run("S17 on save", func(t *testing.T) {
		store.set("Replace", true)
		defer store.set("Replace", false)
		resp := b.do(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Update(r.Context(), increment))
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Length", "6")
			w.Header().Set("ETag", `"x"`)
			http.SetCookie(w, &http.Cookie{Name: "other", Value: "x"})
			n, err := io.WriteString(w, "saved!")
			require.Error(t, err)
			require.Zero(t, n)
			_, err = w.Write([]byte("more"))
			require.Error(t, err)
			require.Error(t, http.NewResponseController(w).Flush())
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		})
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "Service Unavailable\n", body(t, resp))
		for _, name := range []string{"ETag", "Set-Cookie", "Content-Length"} {
			require.Empty(t, resp.Header.Get(name), name)
		}
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		store.set("Replace", false)
		s, err := b.who()
		require.NoError(t, err)
		require.Zero(t, s.Data().N)
	})
	t.Run("S17 creating", func(t *testing.T) {
		store.set("Create", true)
		defer store.set("Create", false)
		visitor := newBrowser(m)
		resp := visitor.update(t, increment)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, visitor.cookie())
		w := httptest.NewRecorder()
		require.ErrorIs(t, m.Login(w, visitor.request(), "u1"), errDown)
		require.Empty(t, w.Header())
	})
	t.Run("S17 asked by id", func(t *testing.T) {
		store.set("ByID", true)
		defer store.set("ByID", false)
		alive, err := m.Alive(t.Context(), id)
		require.ErrorIs(t, err, errDown)
		require.False(t, alive)
		_, err = m.Session(t.Context(), id)
		require.ErrorIs(t, err, errDown)
		require.NotErrorIs(t, err, session.ErrNotFound)
	})
	t.Run("S17 on sign-out", func(t *testing.T) {
		for _, method := range []string{"Load", "End"} {
			for _, honest := range []bool{true, false} {
				store.set(method, true)
				out := b.with(cookie)
				resp := out.do(func(w http.ResponseWriter, r *http.Request) {
					err := m.Logout(w, r)
					require.ErrorIs(t, err, errDown)
					if honest {
						w.WriteHeader(session.StatusOf(err))
						return
					}
					w.WriteHeader(http.StatusNoContent) // and ignores the error
				})
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
				require.Empty(t, out.cookie(), "the cookie is cleared all the same")
				require.Len(t, resp.Header["Set-Cookie"], 1)

				w := httptest.NewRecorder()
				require.ErrorIs(t, m.Logout(w, b.with(cookie).request()), errDown)
				require.Contains(t, w.Header().Get("Set-Cookie"), "Max-Age=0")
				store.set(method, false)
			}
		}
		alive, err := m.Alive(t.Context(), id)
		require.NoError(t, err)
		require.True(t, alive)
	})
	t.Run("S17 another user's session that can't be ended", func(t *testing.T) {
		store.set("End", true)
		defer store.set("End", false)
		w := httptest.NewRecorder()
		require.ErrorIs(t, m.Login(w, b.with(cookie).request(), "u2"), errDown)
		require.Empty(t, w.Header()["Set-Cookie"])
		resp := b.with(cookie).do(func(w http.ResponseWriter, r *http.Request) {
			require.ErrorIs(t, m.Login(w, r, "u2"), errDown)
			w.WriteHeader(http.StatusBadGateway)
		})
		require.Empty(t, resp.Cookies(), "nobody new is signed in")
	})
}

func TestErrorHandler(t *testing.T) {
	var got error
	m := newManager(t, nil, session.Options{
		TrustedOrigins: []string{"https://app.example"},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			got = err
			w.WriteHeader(http.StatusTeapot)
		},
		InsecureSkipCSRF: func(r *http.Request) bool { return r.URL.Path == "/callback" },
	})
	for path, status := range map[string]int{"/": http.StatusTeapot, "/callback": http.StatusOK} {
		r := httptest.NewRequest("POST", path, nil)
		r.Header.Set("Origin", "https://evil.example")
		w := httptest.NewRecorder()
		m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		require.Equal(t, status, w.Code)
	}
	require.True(t, errors.Is(got, session.ErrCrossOrigin))
}

func TestErrorHandlerThatWritesNothing(t *testing.T) {
	store := newFaulty()
	m := newManager(t, store, session.Options{ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}})
	b := newBrowser(m)
	b.login(t, "u1")
	store.set("", true)
	resp := b.do(func(_ http.ResponseWriter, r *http.Request) { _, _ = m.Authenticate(r) })
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

// asking is a log handler that adds the user to every line, as many do.
type asking struct {
	slog.Handler
	m *manager
}

func (h *asking) Handle(ctx context.Context, line slog.Record) error {
	_, _ = h.m.Get(ctx)
	return h.Handler.Handle(ctx, line)
}

func (*asking) Enabled(context.Context, slog.Level) bool { return true }

// What runs while the session is locked would otherwise wait for itself.
func TestS17_StoreLoggerAndEventsMayAskForTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaulty()
		log := &asking{Handler: slog.DiscardHandler}
		events := 0
		m := newManager(t, store, session.Options{Logger: slog.New(log), Events: func(ctx context.Context, _ session.Event) {
			_, err := log.m.Get(ctx)
			require.ErrorIs(t, err, session.ErrNoHandler)
			events++
		}})
		log.m = m
		store.before = func(ctx context.Context) { _, _ = m.Get(ctx) }
		b := newBrowser(m)
		b.login(t, "u1")
		time.Sleep(5 * time.Minute)
		store.set("Touch", true)
		b.do(func(w http.ResponseWriter, r *http.Request) {
			_, err := m.Get(r.Context())
			require.NoError(t, err)
			require.NoError(t, m.Renew(w, r))
			require.NoError(t, m.Logout(w, r))
		})
		require.Equal(t, 3, events)
		require.Equal(t, http.StatusOK, b.update(t, increment).StatusCode)
	})
}

func TestCSRF(t *testing.T) {
	cases := []struct {
		name    string
		trusted []string
		method  string
		origin  []string
		site    string
		ok      bool
	}{
		{"safe", []string{"https://app.example"}, "GET", []string{"https://evil.example"}, "cross-site", true},
		{"trusted", []string{"https://app.example"}, "POST", []string{"https://app.example"}, "same-origin", true},
		{"trusted, another", []string{"https://app.example", "https://spa.example"}, "POST", []string{"https://spa.example"}, "cross-site", true},
		{"foreign", []string{"https://app.example"}, "POST", []string{"https://evil.example"}, "cross-site", false},
		{"foreign, old browser", []string{"https://app.example"}, "POST", []string{"https://evil.example"}, "", false},
		{"equals Host, not trusted", []string{"https://app.example"}, "POST", []string{"https://host.example"}, "same-origin", false},
		{"equals Host, no Fetch metadata", []string{"https://app.example"}, "POST", []string{"https://host.example"}, "", false},
		{"http of a trusted https", []string{"https://app.example"}, "POST", []string{"http://app.example"}, "", false},
		{"null", []string{"https://app.example"}, "POST", []string{"null"}, "same-origin", false},
		{"empty", []string{"https://app.example"}, "POST", []string{""}, "", false},
		{"two", []string{"https://app.example"}, "POST", []string{"https://app.example", "https://evil.example"}, "same-origin", false},
		{"no Origin, cross-site", []string{"https://app.example"}, "DELETE", nil, "cross-site", false},
		{"no Origin, same-site", []string{"https://app.example"}, "DELETE", nil, "same-site", false},
		{"no Origin, same-origin", []string{"https://app.example"}, "DELETE", nil, "same-origin", true},
		{"no browser", []string{"https://app.example"}, "POST", nil, "", true},
		{"none trusted, equals Host", nil, "POST", []string{"https://host.example"}, "", true},
		{"none trusted, foreign", nil, "POST", []string{"https://evil.example"}, "", false},
		{"none trusted, two", nil, "POST", []string{"https://host.example", "https://evil.example"}, "", false},
		{"unknown method", []string{"https://app.example"}, "BREW", []string{"https://evil.example"}, "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := newManager(t, nil, session.Options{TrustedOrigins: c.trusted})
			r := httptest.NewRequest(c.method, "https://host.example/", nil)
			if c.origin != nil {
				r.Header["Origin"] = c.origin
			}
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			w := httptest.NewRecorder()
			m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			if err := m.CheckOrigin(r); c.ok {
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, w.Code)
			} else {
				require.ErrorIs(t, err, session.ErrCrossOrigin)
				require.Equal(t, http.StatusForbidden, w.Code)
			}
		})
	}
}

// TestAuthenticateGoesByTheRequestAtHand: what is read once is read for these
// cookies, and not for those that stand there later.
func TestAuthenticateGoesByTheRequestAtHand(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	one, other := newBrowser(m), newBrowser(m)
	one.login(t, "u1")
	other.login(t, "u2")
	one.do(func(_ http.ResponseWriter, r *http.Request) {
		who := func() string {
			s, err := m.Authenticate(r)
			require.NoError(t, err)
			return s.UserID()
		}
		require.Equal(t, "u1", who())
		line := r.Header.Get("Cookie")
		r.Header["Cookie"][0] = other.request().Header.Get("Cookie")
		require.Equal(t, "u2", who())
		r.Header["Cookie"][0] = line
		require.Equal(t, "u1", who())
		r.Header["Cookie"] = append(r.Header["Cookie"], other.request().Header.Get("Cookie"))
		_, err := m.Authenticate(r)
		require.ErrorIs(t, err, session.ErrInvalid, "two sessions are none")
		r.Header.Set("Cookie", line)
		require.Equal(t, "u1", who())
	})
}
