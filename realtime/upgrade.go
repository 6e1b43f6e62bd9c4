package realtime

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/coder/websocket"
)

const subprotocol = "centrifuge-json"

// ServeHTTP takes a WebSocket handshake, and returns once the connection is made.
// What is wrong with the request itself is answered as HTTP: another origin 403,
// a subprotocol that isn't spoken 400, no upgrade 426, HTTP/2 505, draining 503.
// What is wrong with who sends it is a coded close on the open socket, as
// browsers show pages nothing of a refused handshake.
//
// A middleware around it that wraps the ResponseWriter must let it be hijacked:
// by a method Unwrap, as for [http.ResponseController], or Hijack. Where one
// doesn't, as [http.TimeoutHandler], the answer is 500 and the log names it.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.ProtoMajor != 1:
		http.Error(w, "realtime: a WebSocket needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	case !h.originAllowed(r):
		h.warn("realtime: origin refused", "origin", cutTo(strings.ToValidUTF8(r.Header.Get("Origin"), "?"), 200), "addr", h.address(r))
		http.Error(w, "realtime: origin not allowed", http.StatusForbidden)
		return
	case !subprotocolSpoken(r):
		http.Error(w, "realtime: the subprotocol spoken is "+subprotocol, http.StatusBadRequest)
		return
	}
	inner := innermost(w)
	if _, ok := inner.(http.Hijacker); !ok {
		h.fault("realtime: a connection can't be taken over: a middleware's ResponseWriter has no method Unwrap", "type", fmt.Sprintf("%T", inner))
		http.Error(w, "realtime: the connection can't be taken over", http.StatusInternalServerError)
		return
	}
	addr := h.address(r)
	place := h.reserve(addr)
	switch place {
	case placeDraining:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "realtime: shutting down", http.StatusServiceUnavailable)
		return
	case placeNone:
		w.Header().Set("Retry-After", "60")
		http.Error(w, "realtime: too many connections", http.StatusTooManyRequests)
		return
	}
	c := newConn(h, addr)
	ws, err := websocket.Accept(&hijackWriter{ResponseWriter: w, wire: &c.wire, limit: h.o.MaxQueue}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // originAllowed is stricter: it doesn't believe Host
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		h.release(addr)
		h.wg.Done() // reserve added it
		return
	}
	ws.SetReadLimit(-1) // the reader has its own, with our close
	c.ws = ws
	// The credential is judged when connect comes: with its token, if it has one.
	c.request = detach(r)
	h.admit(c)
	if place == placeOver {
		c.disconnect(closeConnections)
	}
	go c.read()
}

// innermost is the writer that others are wrapped around, as far as they tell.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

// originAllowed reports whether a page of the request's origin may connect.
// Without an Origin it is no browser, and no page's cookies are with it.
func (h *Hub) originAllowed(r *http.Request) bool {
	switch origins := r.Header["Origin"]; len(origins) {
	case 0:
		return true
	case 1:
		_, ok := h.origins[strings.ToLower(origins[0])]
		return ok
	default:
		return false
	}
}

// subprotocolSpoken reports whether the client offers no subprotocol, or the
// one spoken here among others.
func subprotocolSpoken(r *http.Request) bool {
	offered := r.Header.Values("Sec-WebSocket-Protocol")
	for _, line := range offered {
		for p := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), subprotocol) {
				return true
			}
		}
	}
	return len(offered) == 0
}

// address is what a connection's address counts for: an IPv6 network of 64 bits
// is one subscriber's.
func (h *Hub) address(r *http.Request) string {
	s := h.o.ClientIP(r)
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap().WithZone("")
		if ip.Is6() {
			if p, err := ip.Prefix(64); err == nil {
				return p.String()
			}
		}
		return ip.String()
	}
	return s
}

func peerIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// detach copies the request for the time after its handler has returned: what
// its context held belongs to handlers that are gone, and its header is theirs
// to change.
func detach(r *http.Request) *http.Request {
	c := r.WithContext(context.Background())
	c.Header = r.Header.Clone()
	c.Body, c.ContentLength = http.NoBody, 0
	return c
}

// hijackWriter hands the WebSocket library our connection and buffers that are
// small: it keeps what Hijack returns for as long as the connection lives.
type hijackWriter struct {
	http.ResponseWriter
	wire  *wire
	limit int
}

// WriteHeaderNow passes on what gin's writer needs to hear: it keeps a status
// back until then, and without this the answer to the handshake with it.
func (w *hijackWriter) WriteHeaderNow() {
	for inner := w.ResponseWriter; ; {
		if lazy, ok := inner.(interface{ WriteHeaderNow() }); ok {
			lazy.WriteHeaderNow()
			return
		}
		wrapped, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		inner = wrapped.Unwrap()
	}
}

func (w *hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var early []byte
	if n := brw.Reader.Buffered(); n > 0 {
		peeked, _ := brw.Reader.Peek(n)
		early = append(early, peeked...) // the server may use its buffer again
	}
	w.wire.init(c, early, w.limit)
	return w.wire, bufio.NewReadWriter(
		w.wire.ahead,
		// A control frame is at most 127 bytes (RFC 6455 section 5.5) and must
		// come out in one piece.
		bufio.NewWriterSize(w.wire, 128)), nil
}
