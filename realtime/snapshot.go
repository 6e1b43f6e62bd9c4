package realtime

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Snapshot is what a hub holds at a moment, for people who look after it.
// Numbers are of this hub alone.
type Snapshot struct {
	Connections   int // sockets, those that haven't said connect included
	Users         int
	Sessions      int
	Channels      int // with subscribers
	Subscriptions int // of connections to channels
	QueueBytes    int // waiting for all readers

	// Since the hub was made:
	Messages uint64         // of channels and groups, times who got them
	Gaps     uint64         // readers that lost messages, each time
	Closes   map[int]uint64 // ended connections by code, as [Metrics] counts them

	Largest []ChannelSize  // channels with the most subscribers
	Slowest []ReaderStatus // readers for whom the most bytes wait
}

// ChannelSize is a channel's number of subscribers.
type ChannelSize struct {
	Channel     string
	Subscribers int
}

// ReaderStatus is what waits for a connection's reader.
type ReaderStatus struct {
	Conn, User string
	Bytes      int
	Stalled    time.Duration // since it last took anything
}

// Snapshot looks at everything, and lists at most top channels and readers. With
// 10,000 connections it takes some milliseconds and holds up nobody.
func (h *Hub) Snapshot(top int) Snapshot {
	now := time.Now()
	s := Snapshot{Messages: h.counts.messages.Load(), Gaps: h.counts.gaps.Load()}
	h.counts.mu.Lock()
	s.Closes = maps.Clone(h.counts.closes)
	h.counts.mu.Unlock()

	h.mu.Lock()
	s.Users, s.Sessions = len(h.kin[byUser]), len(h.kin[bySession])
	h.mu.Unlock()
	all := h.everyone()
	s.Connections = len(all)
	slowest := leaders[ReaderStatus]{top: top, less: func(a, b ReaderStatus) int { return cmp.Compare(b.Bytes, a.Bytes) }}
	for _, c := range all {
		bytes, stalled := c.wire.waiting(now)
		if bytes == 0 {
			continue
		}
		s.QueueBytes += bytes
		slowest.add(ReaderStatus{Conn: c.id, User: c.user(), Bytes: bytes, Stalled: stalled})
	}
	s.Slowest = slowest.list

	largest := leaders[ChannelSize]{top: top, less: func(a, b ChannelSize) int {
		return cmp.Or(cmp.Compare(b.Subscribers, a.Subscribers), cmp.Compare(a.Channel, b.Channel))
	}}
	for i := range h.topics {
		sh := &h.topics[i]
		sh.mu.Lock()
		for name, t := range sh.m {
			s.Channels++
			s.Subscriptions += t.refs
			largest.add(ChannelSize{name, t.refs})
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
