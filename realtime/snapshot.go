package realtime

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Snapshot is what one hub holds, for people who look after it.
type Snapshot struct {
	Connections     int // sockets, those that haven't said connect included
	Users, Sessions int
	Channels        int // with subscribers
	Subscriptions   int // of connections to channels
	QueueBytes      int // waiting for all readers

	// Since the hub was made, as [Metrics] counts them.
	Delivered, Gaps uint64
	Closes          map[int]uint64 // by code

	Largest []struct { // channels with the most subscribers
		Channel     string
		Subscribers int
	}
	Slowest []struct { // readers for whom the most bytes wait
		Conn, User string
		Bytes      int
		Stalled    time.Duration // since it last took anything
	}
}

// Snapshot takes one that lists at most top channels and readers. Of 10,000
// connections it takes about one millisecond.
func (h *Hub) Snapshot(top int) Snapshot {
	type (
		size = struct {
			Channel     string
			Subscribers int
		}
		reader = struct {
			Conn, User string
			Bytes      int
			Stalled    time.Duration
		}
	)
	now := time.Now()
	s := Snapshot{Delivered: h.counts.messages.Load(), Gaps: h.counts.gaps.Load()}
	h.counts.mu.Lock()
	s.Closes = maps.Clone(h.counts.closes)
	h.counts.mu.Unlock()

	h.mu.Lock()
	s.Users, s.Sessions = len(h.kin[byUser]), len(h.kin[bySession])
	h.mu.Unlock()
	all := h.everyone()
	s.Connections = len(all)
	slowest := leaders[reader]{top: top, less: func(a, b reader) int { return cmp.Compare(b.Bytes, a.Bytes) }}
	for _, c := range all {
		bytes, stalled := c.wire.waiting(now)
		if bytes == 0 {
			continue
		}
		s.QueueBytes += bytes
		slowest.add(reader{Conn: c.id, User: c.user(), Bytes: bytes, Stalled: stalled})
	}
	s.Slowest = slowest.list

	largest := leaders[size]{top: top, less: func(a, b size) int {
		return cmp.Or(cmp.Compare(b.Subscribers, a.Subscribers), cmp.Compare(a.Channel, b.Channel))
	}}
	for i := range h.topics {
		sh := &h.topics[i]
		sh.mu.Lock()
		for name, t := range sh.m {
			s.Channels++
			s.Subscriptions += t.refs
			largest.add(size{name, t.refs})
		}
		sh.mu.Unlock()
	}
	s.Largest = largest.list
	return s
}

// leaders are the first few of many by an order.
type leaders[T any] struct {
	top  int
	less func(a, b T) int
	list []T
}

func (l *leaders[T]) add(v T) {
	if len(l.list) >= l.top && (l.top <= 0 || l.less(v, l.list[len(l.list)-1]) >= 0) {
		return
	}
	at, _ := slices.BinarySearchFunc(l.list, v, l.less)
	l.list = slices.Insert(l.list, at, v)
	l.list = l.list[:min(len(l.list), l.top)]
}
