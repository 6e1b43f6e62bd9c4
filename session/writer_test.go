package session_test

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// protocols are what net/http speaks: its HTTP/2 has another ResponseWriter.
var protocols = []string{"HTTP/1.1", "HTTP/2", "h2c"}

// site is a real server with a client that speaks one protocol to it.
type site struct {
	*httptest.Server
	client *http.Client
	log    serverLog
}

// serverLog is what net/http logs: of HTTP/2 also after Close.
type serverLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *serverLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func newSite(t *testing.T, protocol string, h http.Handler, listen func(net.Listener) net.Listener) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(h)}
	s.Config.ErrorLog = log.New(&s.log, "", 0)
	if listen != nil {
		s.Listener = listen(s.Listener)
	}
	switch protocol {
	case "h2c":
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		s.client = s.Client()
		s.client.Transport.(*http.Transport).Protocols = s.Config.Protocols
	case "plain":
		s.Start()
		s.client = s.Client()
	default:
		s.EnableHTTP2 = protocol == "HTTP/2"
		s.StartTLS()
		s.client = s.Client()
	}
	s.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(s.Close)
	return s
}

// answer is what a client got.
type answer struct {
	*http.Response
	body  string
	cut   error // the body ended with it
	hints []int // informational statuses
}

func (s *site) do(t *testing.T, method, cookie string, body io.Reader, header ...string) (*answer, error) {
	t.Helper()
	a := &answer{}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			require.Empty(t, h["Set-Cookie"], "%d", code)
			a.hints = append(a.hints, code)
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, method, s.URL, body)
	require.NoError(t, err)
	if cookie != "" {
		req.Header.Set("Cookie", cookieName+"="+cookie)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if a.Response, err = s.client.Do(req); err != nil {
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	a.body, a.cut = string(b), err
	return a, nil
}

// get is do for an answer that is whole.
func (s *site) get(t *testing.T, cookie string) *answer {
	t.Helper()
	a, err := s.do(t, "GET", cookie, nil)
	require.NoError(t, err)
	require.NoError(t, a.cut)
	return a
}

// isError requires the error answer, and nothing of the handler's.
func (a *answer) isError(t *testing.T) {
	t.Helper()
	require.NoError(t, a.cut)
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	text := "Service Unavailable\n"
	if a.Request.Method != http.MethodHead {
		require.Equal(t, text, a.body)
	}
	if a.Header.Get("Content-Length") != "" {
		require.Equal(t, strconv.Itoa(len(text)), a.Header.Get("Content-Length"))
	}
	a.Header.Del("Content-Length")
	a.Header.Del("Date")
	require.Equal(t, http.Header{
		"Cache-Control":          {"no-store"},
		"Content-Type":           {"text/plain; charset=utf-8"},
		"Vary":                   {"Cookie"},
		"X-Content-Type-Options": {"nosniff"},
	}, a.Header)
	require.Empty(t, a.Trailer)
}

func (a *answer) sessionCookie() string {
	for _, c := range a.Cookies() {
		if c.Name == cookieName {
			return c.Value
		}
	}
	return ""
}

// passing is a wrapper as middleware has them, with Unwrap alone.
type passing struct{ http.ResponseWriter }

func (p passing) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// gzipped is the middleware that everybody has written once.
func gzipped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := &gzipWriter{w, gzip.NewWriter(w)}
		next.ServeHTTP(z, r)
		_ = z.z.Close()
	})
}

type gzipWriter struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (g *gzipWriter) Write(b []byte) (int, error) { return g.z.Write(b) }
func (g *gzipWriter) Flush()                      { _ = g.z.Flush(); g.ResponseWriter.(http.Flusher).Flush() }

// lazily is a middleware that sends nothing before a flush or the end, as those
// do that compress what is long enough.
func lazily(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := &lazyWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(l, r)
		l.Flush()
	})
}

type lazyWriter struct {
	http.ResponseWriter
	status int
	sent   bool
	body   bytes.Buffer
}

func (l *lazyWriter) WriteHeader(status int)      { l.status = status }
func (l *lazyWriter) Write(b []byte) (int, error) { return l.body.Write(b) }
func (l *lazyWriter) Flush() {
	if !l.sent {
		l.sent = true
		l.ResponseWriter.WriteHeader(l.status)
	}
	_, _ = l.body.WriteTo(l.ResponseWriter)
	l.ResponseWriter.(http.Flusher).Flush()
}

type middleware = func(http.Handler) http.Handler

// Whatever begins the response carries the cookie of the sign-in before it.
func TestS14_CookieOnEveryProtocol(t *testing.T) {
	m := newManager(t, nil, session.Options{})
	long := strings.Repeat("0123456789", 2000)
	file := filepath.Join(t.TempDir(), "file.txt")
	require.NoError(t, os.WriteFile(file, []byte(long), 0o600))
	ok := func(err error) { require.NoError(t, err) }
	write := func(w io.Writer, s string) { _, err := io.WriteString(w, s); ok(err) }

	cases := []struct {
		name   string
		method string // GET
		header []string
		send   string
		around middleware // Handler
		inside middleware // of Handler
		h      http.HandlerFunc
		status int // 200
		body   string
		hints  []int
		check  func(t *testing.T, a *answer)
	}{
		{name: "several 1xx first", h: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusEarlyHints)
			write(w, "final")
		}, body: "final", hints: []int{103, 102, 103}},
		{name: "100-continue", method: "POST", header: []string{"Expect", "100-continue"}, send: "sent", h: func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			ok(err)
			write(w, string(b)+" and read")
		}, body: "sent and read"},
		{name: "100 by hand", method: "POST", header: []string{"Expect", "100-continue"}, send: "sent", h: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusContinue)
			b, err := io.ReadAll(r.Body)
			ok(err)
			write(w, string(b)+" and read")
		}, body: "sent and read"},
		{name: "WriteHeader twice", h: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusTeapot)
			write(w, "first")
		}, status: 202, body: "first"},
		{name: "1xx after the final status", h: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusEarlyHints)
		}, status: 202},
		{name: "empty Write", h: func(w http.ResponseWriter, r *http.Request) {
			n, err := w.Write(nil)
			ok(err)
			require.Zero(t, n)
			require.ErrorIs(t, m.Update(r.Context(), increment), session.ErrHeadersSent)
		}},
		{name: "Content-Length", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			write(w, "exact")
		}, body: "exact"},
		{name: "trailers declared", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			write(w, "summed")
			w.Header().Set("X-Sum", "7")
		}, body: "summed", check: func(t *testing.T, a *answer) { require.Equal(t, "7", a.Trailer.Get("X-Sum")) }},
		{name: "trailers undeclared", h: func(w http.ResponseWriter, r *http.Request) {
			write(w, long)
			w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
		}, body: long, check: func(t *testing.T, a *answer) { require.Equal(t, "7", a.Trailer.Get("X-Sum")) }},
		{name: "a part of a file", header: []string{"Range", "bytes=3-12"}, h: func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, file)
		}, status: 206, body: "3456789012"},
		{name: "empty ReadFrom", h: func(w http.ResponseWriter, r *http.Request) {
			n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(""))
			ok(err)
			require.Zero(t, n)
			write(w, "later")
		}, body: "later"},
		{name: "ReadFrom between writes", h: func(w http.ResponseWriter, r *http.Request) {
			write(w, "<")
			_, err := w.(io.ReaderFrom).ReadFrom(io.MultiReader(strings.NewReader("a"), strings.NewReader("b")))
			ok(err)
			write(w, ">")
		}, body: "<ab>"},
		{name: "full duplex and deadlines", method: "POST", send: "in", h: func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			ok(c.EnableFullDuplex())
			ok(c.SetReadDeadline(time.Now().Add(time.Minute)))
			ok(c.SetWriteDeadline(time.Now().Add(time.Minute)))
			write(w, "out, ")
			ok(c.Flush())
			_, err := io.Copy(w, r.Body)
			ok(err)
		}, body: "out, in"},
		{name: "ResponseController through a wrapper inside", inside: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(passing{passing{w}}, r) })
		}, h: func(w http.ResponseWriter, r *http.Request) {
			ok(http.NewResponseController(w).Flush())
			require.ErrorIs(t, m.Update(r.Context(), increment), session.ErrHeadersSent)
			write(w, "flushed")
		}, body: "flushed"},
		{name: "ResponseController through a wrapper around", around: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(passing{passing{w}}, r) })
		}, h: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			ok(http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)))
			write(w, "flushed")
		}, body: "flushed"},
		{name: "gzip inside", inside: gzipped, h: func(w http.ResponseWriter, r *http.Request) { write(w, long) }, body: long},
		{name: "gzip around", around: gzipped, h: func(w http.ResponseWriter, r *http.Request) { write(w, long) }, body: long},
		{name: "gzip inside, Flush first", inside: gzipped, h: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			write(w, long)
		}, body: long},
		{name: "TimeoutHandler inside", inside: func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "late") },
			h: func(w http.ResponseWriter, r *http.Request) { write(w, "in time") }, body: "in time"},
		{name: "TimeoutHandler around", around: func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "late") },
			h: func(w http.ResponseWriter, r *http.Request) { write(w, "in time") }, body: "in time"},
		{name: "TimeoutHandler inside, too late", inside: func(next http.Handler) http.Handler {
			return http.TimeoutHandler(next, 50*time.Millisecond, "late")
		}, h: func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			for !errors.Is(m.Update(r.Context(), increment), session.ErrHeadersSent) { // until the answer has begun
				time.Sleep(time.Millisecond)
			}
		}, status: 503, body: "late"},
		{name: "MaxBytesHandler inside", method: "POST", send: long, inside: func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, 10) }, h: func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			require.Error(t, err)
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		}, status: 413, body: "too much\n"},
		{name: "MaxBytesHandler around", method: "POST", send: long, around: func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, 10) }, h: func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			require.Error(t, err)
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		}, status: 413, body: "too much\n"},
		{name: "HEAD of a file", method: "HEAD", h: func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) },
			check: func(t *testing.T, a *answer) { require.EqualValues(t, len(long), a.ContentLength) }},
	}
	for _, protocol := range protocols {
		for _, c := range cases {
			t.Run("S14 "+protocol+" "+c.name, func(t *testing.T) {
				var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ok(m.Login(w, r, "u1"))
					c.h(w, r)
				})
				if c.inside != nil {
					h = c.inside(h)
				}
				if h = m.Handler(h); c.around != nil {
					h = c.around(h)
				}
				s := newSite(t, protocol, h, nil)
				var send io.Reader
				if c.send != "" {
					send = strings.NewReader(c.send)
				}
				method := cmp.Or(c.method, "GET")
				a, err := s.do(t, method, "", send, c.header...)
				require.NoError(t, err)
				require.NoError(t, a.cut)
				status := c.status
				if status == 0 {
					status = 200
				}
				require.Equal(t, status, a.StatusCode)
				require.Equal(t, c.body, a.body)
				a.hints = slices.DeleteFunc(a.hints, func(code int) bool { return code == http.StatusContinue })
				require.Equal(t, fmt.Sprint(c.hints), fmt.Sprint(a.hints))
				require.Len(t, a.Header["Set-Cookie"], 1)
				session, err := newBrowser(m).with(a.sessionCookie()).who()
				require.NoError(t, err)
				require.Equal(t, "u1", session.UserID())
				if c.check != nil {
					c.check(t, a)
				}
			})
		}
	}
}

// failing returns a manager whose sessions can't be saved, and the cookie of
// one that is signed in.
func failing(t *testing.T, o session.Options) (*manager, *faulty, string) {
	store := newFaulty()
	m := newManager(t, store, o)
	b := newBrowser(m)
	b.login(t, "u1")
	store.set("Replace", true)
	return m, store, b.cookie()
}

// When the session can't be saved the client gets the error answer, well formed
// and with nothing of the handler's, however that goes on.
func TestS17_OnlyTheErrorOnEveryProtocol(t *testing.T) {
	long := strings.Repeat("secret ", 2000)
	file := filepath.Join(t.TempDir(), "file.html")
	require.NoError(t, os.WriteFile(file, []byte(long), 0o600))
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", "secret")
		_, _ = io.WriteString(w, long)
	}))
	t.Cleanup(back.Close)
	backURL, err := url.Parse(back.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(backURL) },
		ErrorLog: log.New(io.Discard, "", 0),
	}
	cases := []struct {
		name   string
		method string
		around middleware
		inside middleware
		h      http.HandlerFunc
	}{
		{name: "nothing written", h: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Secret", "1") }},
		{name: "headers of a page", h: func(w http.ResponseWriter, r *http.Request) {
			for name, value := range map[string]string{
				"Content-Length": "14", "Content-Encoding": "gzip", "Etag": `"x"`, "Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT",
				"Trailer": "X-Sum", "Set-Cookie": "other=1", "Content-Type": "text/html", "Location": "/secret", "Link": "</secret.css>", "Connection": "close",
			} {
				w.Header().Set(name, value)
			}
			w.WriteHeader(http.StatusSeeOther)
			_, _ = io.WriteString(w, "a whole secret")
			w.Header().Set("X-Sum", "7")
		}},
		{name: "HEAD", method: "HEAD", h: func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }},
		{name: "204", h: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		{name: "304", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		}},
		{name: "a file", h: func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }},
		{name: "Flush first", h: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, long)
			w.(http.Flusher).Flush()
		}},
		{name: "1xx before and after", h: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
			w.Header().Set("Link", "</secret.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusSwitchingProtocols)
		}},
		{name: "an invalid status after", h: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.WriteHeader(-1)
		}},
		{name: "trailers after, by name", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, long)
			w.Header().Set("X-Sum", "7")
			w.Header().Set("Trailer", "X-Sum")
		}},
		{name: "trailers after, by prefix", h: func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			_, _ = io.WriteString(w, long)
			h.Set(http.TrailerPrefix+"X-Sum", "7")
			w.Header().Set(http.TrailerPrefix+"X-Other", "8")
		}},
		{name: "gzip inside", inside: gzipped, h: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, long) }},
		{name: "TimeoutHandler around", around: func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "late") },
			h: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, long) }},
		{name: "TimeoutHandler inside", inside: func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "late") },
			h: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, long) }},
		{name: "a reverse proxy", h: proxy.ServeHTTP},
		{name: "ErrAbortHandler after", h: func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.WriteString(w, long); err != nil {
				panic(http.ErrAbortHandler)
			}
		}},
		{name: "a panic after, recovered inside", inside: recovered, h: func(w http.ResponseWriter, r *http.Request) {
			_, err := io.WriteString(w, long)
			panic(err)
		}},
	}
	for _, protocol := range protocols {
		for _, c := range cases {
			t.Run("S17 "+protocol+" "+c.name, func(t *testing.T) {
				m, _, cookie := failing(t, session.Options{})
				var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, m.Update(r.Context(), increment))
					c.h(w, r)
				})
				if c.inside != nil {
					h = c.inside(h)
				}
				if h = m.Handler(h); c.around != nil {
					h = c.around(h)
				}
				s := newSite(t, protocol, h, nil)
				method := cmp.Or(c.method, "GET")
				for range 2 { // the second finds the connection in order
					a, err := s.do(t, method, cookie, nil)
					require.NoError(t, err)
					a.isError(t)
				}
			})
		}
	}

	// A stream goes on for as long as the client stays, and many don't look at
	// what comes of a flush.
	t.Run("S17 a handler that flushes and goes on doesn't keep the error to itself", func(t *testing.T) {
		for _, protocol := range protocols {
			for name, page := range map[string]func(http.ResponseWriter, *http.Request, error){
				"the default": nil,
				"no body":     func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(session.StatusOf(err)) },
			} {
				m, _, cookie := failing(t, session.Options{ErrorHandler: page})
				s := newSite(t, protocol, lazily(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, m.Update(r.Context(), increment))
					for n := range 2 {
						_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
						w.Header().Set("X-Secret", "1")
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done()
				}))), nil)
				ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
				req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
				require.NoError(t, err)
				req.Header.Set("Cookie", cookieName+"="+cookie)
				resp, err := s.client.Do(req)
				require.NoError(t, err, "%s, %s", protocol, name)
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
				require.Empty(t, resp.Header.Get("X-Secret"))
				if page == nil {
					line, err := bufio.NewReader(resp.Body).ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, "Service Unavailable\n", line)
				}
				leave()
				_ = resp.Body.Close()
			}
		}
	})

	t.Run("S17 what a middleware around had set stays", func(t *testing.T) {
		for _, protocol := range protocols {
			m, _, cookie := failing(t, session.Options{})
			s := newSite(t, protocol, gzipped(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Request-Id", "7")
				m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Request-Id", "of the handler")
					w.Header().Del("Content-Encoding")
					require.NoError(t, m.Update(r.Context(), increment))
					_, _ = io.WriteString(w, long)
				})).ServeHTTP(w, r)
			})), nil)
			a := s.get(t, cookie)
			require.Equal(t, "7", a.Header.Get("X-Request-Id"), protocol)
			a.Header.Del("X-Request-Id")
			a.isError(t)
		}
	})

	t.Run("S17 a sign-in that can't end another user's session is not ignored", func(t *testing.T) {
		for _, protocol := range protocols {
			m, store, cookie := failing(t, session.Options{})
			store.set("End", true)
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Error(t, m.Login(w, r, "u2"))
				require.Error(t, m.Update(r.Context(), increment), "it would begin an anonymous session in place of one that lives")
				_, _ = io.WriteString(w, "welcome, whoever you are")
			})), nil)
			s.get(t, cookie).isError(t)
		}
	})

	t.Run("S17 a sign-out that is tried again after a sign-in", func(t *testing.T) {
		for _, back := range []bool{false, true} { // the store is, by then
			store := newFaulty()
			m := newManager(t, store, session.Options{})
			s := newSite(t, "HTTP/1.1", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Login(w, r, "u1"))
				store.set("End", true)
				require.ErrorIs(t, m.Logout(w, r), errDown)
				store.set("End", !back)
				require.Equal(t, back, m.Logout(w, r) == nil, "the cookies that came with the request know nothing of this session")
			})), nil)
			a := s.get(t, "")
			list, err := m.List(t.Context(), "u1")
			require.NoError(t, err)
			if back {
				require.Equal(t, http.StatusOK, a.StatusCode)
				require.Empty(t, list)
				continue
			}
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
			require.Len(t, list, 1)
		}
	})

	t.Run("S17 a sign-out after a sign-in that failed", func(t *testing.T) {
		store := newFaulty()
		m := newManager(t, store, session.Options{})
		b := newBrowser(m)
		b.login(t, "u1")
		s := newSite(t, "HTTP/1.1", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, m.Renew(w, r)) // the cookie that came with the request is dead
			store.set("End", true)
			require.ErrorIs(t, m.Login(w, r, "u2"), errDown)
			require.ErrorIs(t, m.Logout(w, r), errDown)
			store.set("End", false)
			require.NoError(t, m.Logout(w, r))
		})), nil)
		require.Equal(t, http.StatusOK, s.get(t, b.cookie()).StatusCode)
		list, err := m.List(t.Context(), "u1")
		require.NoError(t, err)
		require.Empty(t, list)
	})

	t.Run("S17 trailers of a long error page are its own", func(t *testing.T) {
		for _, protocol := range protocols {
			m, _, cookie := failing(t, session.Options{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				w.WriteHeader(session.StatusOf(err))
				_, _ = io.WriteString(w, strings.Repeat("sorry ", 1000))
				w.Header().Set(http.TrailerPrefix+"X-Of-The-Page", "1")
			}})
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Update(r.Context(), increment))
				_, _ = io.WriteString(w, "saved")
				w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
				w.Header().Set(http.TrailerPrefix+"X-Of-The-Page", "2")
			})), nil)
			a := s.get(t, cookie)
			require.Equal(t, strings.Repeat("sorry ", 1000), a.body)
			require.Equal(t, http.Header{"X-Of-The-Page": {"1"}}, a.Trailer, protocol)
		}
	})
}

// recovered is a middleware that makes an error page of a panic, unless it can't.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "recovered", http.StatusBadGateway)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// A middleware between the handler and Handler that recovers panics must not
// get its answer out when it was the save, or the error page, that panicked.
func TestS16_PanicWhileSavingRecoveredInside(t *testing.T) {
	for _, protocol := range protocols {
		t.Run("S16 "+protocol+" in a change", func(t *testing.T) {
			store := session.NewMemoryStore(nil)
			m := newManager(t, store, session.Options{})
			b := newBrowser(m)
			id := b.login(t, "u1").ID()
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				runs := 0
				require.NoError(t, m.Update(r.Context(), func(d *data) error {
					if runs++; runs > 1 {
						_, err := io.WriteString(w, "out of turn")
						require.Error(t, err)
						panic("again")
					}
					return increment(d)
				}))
				rec, _, err := store.ByID(r.Context(), id)
				require.NoError(t, err)
				require.NoError(t, store.Replace(r.Context(), rec.Key, rec, rec.Rev))
				w.Header().Set("X-Secret", "1")
				func() {
					defer func() { require.Equal(t, "again", recover()) }()
					_, _ = io.WriteString(w, "saved")
				}()
				_, _ = io.WriteString(w, "saved!")
			})), nil)
			a := s.get(t, b.cookie())
			require.Equal(t, http.StatusInternalServerError, a.StatusCode)
			require.Equal(t, "Internal Server Error\n", a.body)
			require.Empty(t, a.Header.Get("X-Secret"))
		})
		t.Run("S16 "+protocol+" in the error page", func(t *testing.T) {
			calls := 0
			m, _, cookie := failing(t, session.Options{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				if calls++; calls == 1 {
					panic("no template")
				}
				w.WriteHeader(session.StatusOf(err))
				_, _ = io.WriteString(w, "sorry")
			}})
			s := newSite(t, protocol, m.Handler(recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Update(r.Context(), increment))
				_, _ = io.WriteString(w, "saved")
			}))), nil)
			a := s.get(t, cookie)
			require.Equal(t, http.StatusInternalServerError, a.StatusCode)
			require.Equal(t, "sorry", a.body)
		})
	}
}

// A panic saves nothing when it comes before the first byte, and after it the
// client sees that the answer is not whole.
func TestS16_PanicOnEveryProtocol(t *testing.T) {
	for _, protocol := range protocols {
		for _, value := range []any{"boom", http.ErrAbortHandler} {
			t.Run(fmt.Sprintf("S16 %s %v", protocol, value), func(t *testing.T) {
				m := newManager(t, nil, session.Options{})
				b := newBrowser(m)
				b.login(t, "u1")
				late := false
				s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, m.Update(r.Context(), increment))
					if late {
						_, _ = io.WriteString(w, "half")
						w.(http.Flusher).Flush()
					} else {
						w.WriteHeader(http.StatusEarlyHints)
					}
					panic(value)
				})), nil)
				_, err := s.do(t, "GET", b.cookie(), nil)
				require.Error(t, err)
				who, err := b.who()
				require.NoError(t, err)
				require.Zero(t, who.Data().N)

				late = true
				a, err := s.do(t, "GET", b.cookie(), nil)
				require.NoError(t, err)
				require.Equal(t, "half", a.body)
				require.Error(t, a.cut)
				who, err = b.who()
				require.NoError(t, err)
				require.Equal(t, 1, who.Data().N)

				s.Close()
				if value == "boom" {
					require.Eventually(t, func() bool { return s.log.has("boom") }, 20*time.Second, time.Millisecond)
				} else {
					require.False(t, s.log.has("panic"), "net/http logs no ErrAbortHandler")
				}
			})
		}
		for _, status := range []int{-1, 0, 99, 1000} {
			t.Run(fmt.Sprintf("S16 %s status %d", protocol, status), func(t *testing.T) {
				m := newManager(t, nil, session.Options{})
				s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, m.Login(w, r, "u1"))
					w.WriteHeader(status)
				})), nil)
				_, err := s.do(t, "GET", "", nil)
				require.Error(t, err)
				list, err := m.List(t.Context(), "u1")
				require.NoError(t, err)
				require.Empty(t, list, "net/http panics, so nobody has the token")
			})
		}
	}
}

func TestS14_HijackOnEveryProtocol(t *testing.T) {
	for _, protocol := range protocols {
		t.Run("S14 "+protocol+" not there on HTTP/2", func(t *testing.T) {
			m := newManager(t, nil, session.Options{})
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Login(w, r, "u1"))
				_, can := w.(http.Hijacker)
				require.Equal(t, protocol == "HTTP/1.1", can)
				if can {
					return
				}
				_, _, err := http.NewResponseController(w).Hijack()
				require.ErrorIs(t, err, http.ErrNotSupported)
				_, _ = io.WriteString(w, "by other means")
			})), nil)
			a := s.get(t, "")
			_, err := newBrowser(m).with(a.sessionCookie()).who()
			require.NoError(t, err, "the cookie is not lost")
		})
		t.Run("S14 "+protocol+" that fails", func(t *testing.T) {
			store := newFaulty()
			m := newManager(t, store, session.Options{})
			b := newBrowser(m)
			b.login(t, "u1")
			h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := m.Authenticate(r)
				require.Equal(t, r.Header.Get("Down") != "", err != nil)
				if err == nil {
					require.NoError(t, m.Update(r.Context(), increment))
				}
				_, _, err = w.(http.Hijacker).Hijack()
				require.ErrorIs(t, err, http.ErrNotSupported)
				_, _ = io.WriteString(w, "by other means")
			}))
			s := newSite(t, protocol, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(unhijackable{w}, r)
			}), nil)
			a := s.get(t, b.cookie())
			require.Equal(t, "by other means", a.body)
			require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			require.Equal(t, []string{"Cookie"}, a.Header["Vary"])
			who, err := b.who()
			require.NoError(t, err)
			require.Equal(t, 1, who.Data().N)
			require.Equal(t, 1, store.count("Replace"), "saved once")

			store.set("Load", true)
			a, err = s.do(t, "GET", b.cookie(), nil, "Down", "1")
			require.NoError(t, err)
			a.isError(t)
		})
		t.Run("S17 "+protocol+" 101 is final on HTTP/1.1 alone", func(t *testing.T) {
			if protocol == "HTTP/1.1" {
				return // TestS14_ResponseWriter
			}
			store := newFaulty()
			m := newManager(t, store, session.Options{})
			b := newBrowser(m)
			b.login(t, "u1")
			store.set("Load", true)
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = m.Authenticate(r)
				w.WriteHeader(http.StatusSwitchingProtocols)
				_, _ = io.WriteString(w, "a page")
			})), nil)
			s.get(t, b.cookie()).isError(t)
		})
	}
}

// unhijackable has the method all the same, as many wrappers do on HTTP/2.
type unhijackable struct{ http.ResponseWriter }

func (u unhijackable) Flush() { u.ResponseWriter.(http.Flusher).Flush() }
func (u unhijackable) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	return nil, nil, http.ErrNotSupported
}

// counting counts what goes out over a connection: written by the process, or
// handed to the kernel with the file it is in.
type counting struct {
	*net.TCPConn
	written, files *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

func (c counting) ReadFrom(src io.Reader) (int64, error) {
	inner := src
	if limited, ok := src.(*io.LimitedReader); ok {
		inner = limited.R
	}
	_, isFile := inner.(interface { // what net.TCPConn needs for sendfile(2)
		fs.File
		io.Seeker
		syscall.Conn
	})
	n, err := c.TCPConn.ReadFrom(src)
	if isFile {
		c.files.Add(n)
	}
	return n, err
}

type countingListener struct {
	net.Listener
	written, files atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return counting{c.(*net.TCPConn), &l.written, &l.files}, nil
}

func TestS14_ReadFromReachesTheConnection(t *testing.T) {
	const size = 4 << 20
	file := filepath.Join(t.TempDir(), "file.bin")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("0123456789abcdef"), size/16), 0o600))
	m := newManager(t, nil, session.Options{})
	open := func(t *testing.T) *os.File {
		f, err := os.Open(file)
		require.NoError(t, err)
		return f
	}
	for name, h := range map[string]http.HandlerFunc{
		"ServeFile": func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) },
		"io.Copy of no file": func(w http.ResponseWriter, r *http.Request) {
			f := open(t)
			defer f.Close()
			w.Header().Set("Content-Length", strconv.Itoa(size))
			n, err := io.Copy(w, struct{ io.Reader }{f})
			require.NoError(t, err)
			require.EqualValues(t, size, n)
		},
		"io.Copy of a file": func(w http.ResponseWriter, r *http.Request) {
			f := open(t)
			defer f.Close()
			w.Header().Set("Content-Length", strconv.Itoa(size))
			n, err := io.Copy(w, f)
			require.NoError(t, err)
			require.EqualValues(t, size, n)
		},
	} {
		t.Run("S14 "+name, func(t *testing.T) {
			var l *countingListener
			s := newSite(t, "plain", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Login(w, r, "u1"))
				h(w, r)
			})), func(inner net.Listener) net.Listener {
				l = &countingListener{Listener: inner}
				return l
			})
			a := s.get(t, "")
			require.Len(t, a.body, size)
			require.NotEmpty(t, a.sessionCookie())
			if name == "io.Copy of no file" { // the counting counts
				require.Zero(t, l.files.Load())
				return
			}
			require.Greater(t, l.files.Load(), int64(size-1024), "all but what net/http reads to tell the type")
			require.Less(t, l.written.Load(), int64(2048))
		})
	}
}

// A stream carries the cookie with its first byte, may ask again who is there,
// and sees the client leave.
func TestS14_Streaming(t *testing.T) {
	for _, protocol := range protocols {
		t.Run("S14 "+protocol, func(t *testing.T) {
			m := newManager(t, nil, session.Options{})
			over := make(chan error, 1)
			next := make(chan struct{}, 1)
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Login(w, r, "u1"))
				who, err := m.Get(r.Context())
				require.NoError(t, err)
				w.Header().Set("Content-Type", "text/event-stream")
				c := http.NewResponseController(w)
				fmt.Fprintf(w, "data: %s\n\n", who.ID())
				for n := 0; ; n++ {
					if err := c.Flush(); err != nil {
						over <- err
						return
					}
					select {
					case <-r.Context().Done():
						over <- r.Context().Err()
						return
					case <-next:
					}
					if alive, err := m.Alive(r.Context(), who.ID()); err != nil || !alive {
						fmt.Fprint(w, "event: ended\n\n")
						over <- nil
						return
					}
					fmt.Fprintf(w, "data: %d\n\n", n)
				}
			})), nil)

			stream := func(ctx context.Context) (*http.Response, func() string) {
				req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
				require.NoError(t, err)
				resp, err := s.client.Do(req)
				require.NoError(t, err)
				require.Len(t, resp.Cookies(), 1, "with the first byte, while the handler runs")
				lines := bufio.NewReader(resp.Body)
				return resp, func() string {
					line, err := lines.ReadString('\n')
					require.NoError(t, err)
					_, err = lines.ReadString('\n')
					require.NoError(t, err)
					return strings.TrimSpace(line)
				}
			}
			resp, event := stream(t.Context())
			id := strings.TrimPrefix(event(), "data: ")
			for n := range 3 {
				next <- struct{}{}
				require.Equal(t, fmt.Sprintf("data: %d", n), event())
			}
			ended, err := m.Revoke(t.Context(), "u1", id, session.ReasonRevoked)
			require.NoError(t, err)
			require.True(t, ended)
			next <- struct{}{}
			require.Equal(t, "event: ended", event())
			require.NoError(t, <-over)
			require.NoError(t, resp.Body.Close())

			ctx, leave := context.WithCancel(t.Context())
			resp, event = stream(ctx)
			event()
			leave()
			require.Error(t, <-over)
			_ = resp.Body.Close()
		})
		t.Run("S15 "+protocol+" writes say that the client left", func(t *testing.T) {
			m := newManager(t, nil, session.Options{})
			over := make(chan error, 1)
			s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, m.Login(w, r, "u1"))
				for {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						over <- err
						return
					}
				}
			})), nil)
			req, err := http.NewRequest("GET", s.URL, nil)
			require.NoError(t, err)
			resp, err := s.client.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Error(t, <-over)
		})
	}
}

// gin's Context.Stream asks for it without looking whether it is there.
func TestS14_CloseNotify(t *testing.T) {
	type notifier interface{ CloseNotify() <-chan bool }
	for _, protocol := range protocols {
		m := newManager(t, nil, session.Options{})
		left := make(chan struct{})
		s := newSite(t, protocol, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gone := w.(notifier).CloseNotify()
			w.(http.Flusher).Flush()
			<-gone
			close(left)
		})), nil)
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
		require.NoError(t, err)
		resp, err := s.client.Do(req)
		require.NoError(t, err, protocol)
		leave()
		<-left
		_ = resp.Body.Close()
	}
	newBrowser(newManager(t, nil, session.Options{})).do(func(w http.ResponseWriter, r *http.Request) {
		require.Nil(t, w.(notifier).CloseNotify(), "nothing to tell")
	})
}
