package realtime

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Metrics takes what a monitoring system counts. Its methods are called
// concurrently, but none for a single delivery, and must return at once.
type Metrics interface {
	Gauges(connections, subscriptions, queueBytes int) // what there is, every second
	Delivered(messages int)                            // of channels and groups, times who got them
	Gap()                                              // a reader lost messages of one; what Latest leaves out is no loss
	Closed(code int)                                   // a connection ended; 1006 is without a close, 0 one of too many that clients chose
	Revoked(latency time.Duration)                     // from a session's end, as pushed or else since it was last asked for, to a connection's close
}

// counts is what a hub counts for itself.
type counts struct {
	messages atomic.Uint64
	gaps     atomic.Uint64

	mu      sync.Mutex
	closes  map[int]uint64
	notices map[string]*notices // by kind
}

func (h *Hub) delivered(n int) {
	if n == 0 {
		return
	}
	h.counts.messages.Add(uint64(n))
	if m := h.o.Metrics; m != nil {
		m.Delivered(n)
	}
}

// lost counts a gap.
func (h *Hub) lost() {
	h.counts.gaps.Add(1)
	if m := h.o.Metrics; m != nil {
		m.Gap()
	}
}

// closed counts the end of a connection. ours says that the code is not the
// client's choice.
func (h *Hub) closed(d disconnect, ours bool) {
	h.counts.mu.Lock()
	if h.counts.closes == nil {
		h.counts.closes = map[int]uint64{}
	}
	code := int(d.code)
	if _, known := h.counts.closes[code]; !known && !ours && len(h.counts.closes) >= maxCodes {
		code = 0
	}
	h.counts.closes[code]++
	h.counts.mu.Unlock()
	if m := h.o.Metrics; m != nil {
		m.Closed(code)
	}
}

// maxCodes is from how many codes on those of clients' choice are not told apart
// any more; 0 stands for them.
const maxCodes = 100

// revoked counts a connection closed because of what ended at a moment.
func (h *Hub) revoked(ended time.Time) {
	if m := h.o.Metrics; m != nil && !ended.IsZero() {
		m.Revoked(max(time.Since(ended), 0)) // another node's clock may be ahead
	}
}

// Kinds of lines that aren't told apart by their text.
const (
	noticeInvalid = "closed: invalid"
	noticeSlow    = "closed: slow"
)

// notices bounds the lines of one kind to one a second.
type notices struct {
	last    time.Time
	skipped int
}

// warn and fault write lines that clients can cause, and must not flood a log
// with. There are as many texts as there are calls and the host has methods.
func (h *Hub) warn(text string, args ...any)  { h.notice(text, slog.LevelWarn, text, args...) }
func (h *Hub) fault(text string, args ...any) { h.notice(text, slog.LevelError, text, args...) }

func (h *Hub) notice(kind string, level slog.Level, text string, args ...any) {
	now := time.Now()
	h.counts.mu.Lock()
	n := h.counts.notices[kind]
	if n == nil {
		n = &notices{}
		if h.counts.notices == nil {
			h.counts.notices = map[string]*notices{}
		}
		h.counts.notices[kind] = n
	}
	if now.Sub(n.last) < time.Second {
		n.skipped++
		h.counts.mu.Unlock()
		return
	}
	skipped := n.skipped
	n.last, n.skipped = now, 0
	h.counts.mu.Unlock()
	if skipped > 0 {
		args = append(args, "others_before", skipped)
	}
	h.o.Logger.Log(context.Background(), level, text, args...)
}
