package session

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

var (
	errWithheld = errors.New("session: the response was replaced by an error, because the session could not be loaded or saved")
	// errPanicked is what a commit has come to that did not return.
	errPanicked = fmt.Errorf("%w: a panic while the session was saved", errHost)
)

// writer is the ResponseWriter that Handler passes on. Whatever sends the
// first byte of a final response commits the session before: WriteHeader,
// Write, WriteString, ReadFrom, Flush or Hijack. Informational responses (1xx)
// pass without. When the commit fails it has answered the request with the
// error, and everything the handler writes is dropped.
type writer struct {
	http.ResponseWriter
	// commit saves the session and adds the headers. hijack says that the
	// headers will not be sent.
	commit func(status int, hijack bool) error
	http1  bool // where 101 is a final status; RFC 9113 section 8.6: HTTP/2 has none
	begun  bool // commit was called
	failed error

	answered http.Header // of the error answer, once it is written
}

// wrap returns w as an http.ResponseWriter that is an http.Flusher and an
// http.Hijacker where its underlying one is. ReadFrom, WriteString and
// CloseNotify work on any.
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
		// Nothing goes out that is written by what commit runs, or by what
		// recovers from a panic of it.
		w.begun, w.failed = true, errPanicked
		w.failed = w.commit(status, hijack)
	}
	return w.failed
}

func (w *writer) WriteHeader(status int) {
	// What is no status makes net/http panic: then nothing has been saved.
	if status >= 200 && status <= 999 || status == http.StatusSwitchingProtocols && w.http1 {
		_ = w.begin(status, false)
	}
	if w.failed == nil {
		w.ResponseWriter.WriteHeader(status)
	}
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

// CloseNotify is for frameworks that call it without asking whether it is
// there (gin's Context.Stream). It returns nil when nothing below tells.
func (w *writer) CloseNotify() <-chan bool {
	if n, ok := find[interface{ CloseNotify() <-chan bool }](w.ResponseWriter); ok {
		return n.CloseNotify()
	}
	return nil
}

type flusher struct{ to *writer }

func (f flusher) Flush() { _ = f.FlushError() }

func (f flusher) FlushError() error {
	out := http.NewResponseController(f.to.ResponseWriter)
	if err := f.to.begin(http.StatusOK, false); err != nil {
		if f.to.answered != nil {
			// Whoever streams may go on for hours, and Flush tells them nothing:
			// the client is not to wait so long for the error answer.
			replaceAll(f.to.Header(), f.to.answered)
			_ = out.Flush()
		}
		return errWithheld
	}
	return out.Flush()
}

type hijacker struct{ to *writer }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	begun := h.to.begun
	if err := h.to.begin(http.StatusSwitchingProtocols, true); err != nil {
		return nil, nil, errWithheld
	}
	conn, rw, err := http.NewResponseController(h.to.ResponseWriter).Hijack()
	if err != nil {
		h.to.begun = begun // the response is still to come, and is judged by its own status
	}
	return conn, rw, err
}
