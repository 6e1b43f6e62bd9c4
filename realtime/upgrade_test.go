package realtime_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
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
