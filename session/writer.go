package session

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
)

var errWithheld = errors.New("session: the response was replaced by an error, because the session could not be loaded or saved")

// writer is the ResponseWriter that Handler passes on. Whatever sends the
// first byte of a final response commits the session before: WriteHeader,
// Write, WriteString, ReadFrom, Flush or Hijack. Informational responses (1xx)
// pass without. When the commit fails it has answered the request with the
// error, and everything the handler writes is dropped.
type writer struct {
	http.ResponseWriter
	committer
	begun  bool // commit was called
	failed error
}

// committer saves the session and adds the headers. hijack says that the headers
// will not be sent.
type committer interface {
	commit(status int, hijack bool) error
}

// wrap returns w as an http.ResponseWriter with the optional interfaces its
// underlying one has. ReadFrom and WriteString work on any.
func (w *writer) wrap() http.ResponseWriter {
	_, canFlush := find[http.Flusher](w.ResponseWriter)
	_, canFlushError := find[interface{ FlushError() error }](w.ResponseWriter)
	_, canHijack := find[http.Hijacker](w.ResponseWriter)
	canFlush = canFlush || canFlushError
	switch {
	case canFlush && canHijack:
		return struct {
			*writer
			flusher
			hijacker
		}{w, flusher{w}, hijacker{w}}
	case canFlush:
		return struct {
			*writer
			flusher
		}{w, flusher{w}}
	case canHijack:
		return struct {
			*writer
			hijacker
		}{w, hijacker{w}}
	}
	return w
}

// find looks for an optional interface as http.ResponseController does.
func find[T any](w http.ResponseWriter) (T, bool) {
	for {
		if t, ok := w.(T); ok {
			return t, true
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			var none T
			return none, false
		}
		w = u.Unwrap()
	}
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin commits once.
func (w *writer) begin(status int, hijack bool) error {
	if !w.begun {
		w.begun = true
		if w.committer != nil {
			w.failed = w.commit(status, hijack)
		}
	}
	return w.failed
}

func (w *writer) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if informational && w.begun && w.failed != nil {
		return
	}
	if !informational && w.begin(status, false) != nil {
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if err := w.begin(http.StatusOK, false); err != nil {
		return 0, errWithheld
	}
	return w.ResponseWriter.Write(b)
}

func (w *writer) WriteString(s string) (int, error) {
	if err := w.begin(http.StatusOK, false); err != nil {
		return 0, errWithheld
	}
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom keeps sendfile working.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	if err := w.begin(http.StatusOK, false); err != nil {
		return 0, errWithheld
	}
	if rf, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		return rf.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{w.ResponseWriter}, src)
}

type flusher struct{ to *writer }

func (f flusher) Flush() { _ = f.FlushError() }

func (f flusher) FlushError() error {
	if err := f.to.begin(http.StatusOK, false); err != nil {
		return errWithheld
	}
	return http.NewResponseController(f.to.ResponseWriter).Flush()
}

type hijacker struct{ to *writer }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := h.to.begin(http.StatusSwitchingProtocols, true); err != nil {
		return nil, nil, errWithheld
	}
	return http.NewResponseController(h.to.ResponseWriter).Hijack()
}
