package realtime_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// lazy keeps a status back until it is told to send it, as gin's writer does.
type lazy struct {
	http.ResponseWriter
	status int
}

func (w *lazy) WriteHeader(status int)      { w.status = status }
func (w *lazy) WriteHeaderNow()             { w.ResponseWriter.WriteHeader(w.status) }
func (w *lazy) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// outer is somebody's middleware around it.
type outer struct{ http.ResponseWriter }

func (w outer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// mute is what many middlewares make of a writer: nothing but the writer.
type mute struct{ http.ResponseWriter }

// Behind a writer that keeps the connection to itself the handshake isn't
// answered with 101, which no connection would follow.
func TestHandshakeThroughAWriterThatHidesTheConnection(t *testing.T) {
	var log strings.Builder
	s := open(t, func(o *realtime.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"a middleware's": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(mute{w}, r) })
		},
		"a middleware's, wrapped": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(outer{mute{w}}, r) })
		},
		"TimeoutHandler's": func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "") },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(wrap(s))
			defer srv.Close()
			_, res, err := websocket.Dial(t.Context(), srv.URL, nil)
			require.Error(t, err)
			require.Equal(t, http.StatusInternalServerError, res.StatusCode)
		})
	}
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), "can't be taken over")
	require.Contains(t, log.String(), "_test.mute")
}

// The handshake is answered through a writer that keeps statuses back, also one
// that another wraps.
func TestHandshakeThroughGinsWriter(t *testing.T) {
	s := open(t, nil)
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"itself":  func(w http.ResponseWriter) http.ResponseWriter { return &lazy{ResponseWriter: w} },
		"wrapped": func(w http.ResponseWriter) http.ResponseWriter { return outer{&lazy{ResponseWriter: w}} },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(wrap(w), r) }))
			defer srv.Close()
			conn, res, err := websocket.Dial(t.Context(), srv.URL, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
			require.NoError(t, conn.CloseNow())
		})
	}
}
