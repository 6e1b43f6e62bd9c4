package realtimetest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
)

// all is what a MemoryBroker can.
type all interface {
	realtime.Broker
	realtime.History
	realtime.Presence
	realtime.Control
}

// memory is a system of nodes in one process. Losing what it keeps is another
// memory behind the same brokers.
func memory(*testing.T) realtimetest.System {
	l := newLiar()
	return realtimetest.System{Open: func() realtime.Broker { return l }, Lose: l.forget}
}

func TestMemoryBroker(t *testing.T) {
	t.Run("fake time", func(t *testing.T) {
		realtimetest.Run(t, memory, &realtimetest.Options{FakeTime: true})
	})
	t.Run("real time", func(t *testing.T) {
		realtimetest.Run(t, func(*testing.T) realtimetest.System {
			b := realtime.NewMemoryBroker(nil)
			return realtimetest.System{Open: func() realtime.Broker { return b }}
		}, &realtimetest.Options{TTL: 500 * time.Millisecond})
	})
}

// plain has no ability but that of a Broker.
type plain struct{ realtime.Broker }

func TestAbilities(t *testing.T) {
	s := realtimetest.System{Open: func() realtime.Broker { return plain{realtime.NewMemoryBroker(nil)} }}
	for id, want := range map[string]string{"H1": "no such ability", "P1": "no such ability", "C1": "no such ability", "B2": ""} {
		if want == "" {
			// One value: its nodes share it.
			b := s.Open()
			s.Open = func() realtime.Broker { return b }
			require.Empty(t, realtimetest.Try(t.Context(), id, s))
			continue
		}
		require.Contains(t, realtimetest.Try(t.Context(), id, s), want)
	}
	b := realtime.NewMemoryBroker(nil)
	require.Contains(t, realtimetest.Try(t.Context(), "H9", realtimetest.System{Open: func() realtime.Broker { return b }}), "can't lose")
}

func TestTheRulesAreDocumented(t *testing.T) {
	require.Empty(t, realtimetest.Undocumented())
}

// liar is a memory broker with lies told in between.
type liar struct {
	mu sync.Mutex
	all
	links []realtime.Link

	channel   func(name string) string
	attach    func(h realtime.Handler) realtime.Handler
	link      func(l realtime.Link) realtime.Link
	publish   func(ctx context.Context, channel string, e realtime.Event) error
	append    func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error)
	read      func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error)
	enter     func(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error
	leave     func(ctx context.Context, node, channel, client string) error
	beat      func(ctx context.Context, node string, ttl time.Duration) error
	list      func(ctx context.Context, channel string, limit int) ([]realtime.ClientInfo, error)
	stats     func(ctx context.Context, channel string) (int, int, error)
	broadcast func(ctx context.Context, message []byte) error
	lose      func()
}

func newLiar() *liar {
	m := realtime.NewMemoryBroker(nil)
	l := &liar{all: m}
	l.channel = func(name string) string { return name }
	l.attach = func(h realtime.Handler) realtime.Handler { return h }
	l.link = func(l realtime.Link) realtime.Link { return l }
	l.publish, l.append, l.read = m.Publish, m.Append, m.Read
	l.enter, l.leave, l.beat, l.list, l.stats = m.Enter, m.Leave, m.Beat, m.List, m.Stats
	l.broadcast = m.Broadcast
	l.lose = func() {
		m := realtime.NewMemoryBroker(nil)
		l.append, l.read = m.Append, m.Read
	}
	return l
}

func (l *liar) forget() { l.lose() }

func (l *liar) Attach(h realtime.Handler) (realtime.Link, error) {
	link, err := l.all.Attach(l.attach(h))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.links = append(l.links, link)
	return renamed{l.link(link), l}, err
}

// renamed is a link of a liar that names channels otherwise.
type renamed struct {
	realtime.Link
	l *liar
}

func (r renamed) Subscribe(ctx context.Context, channel string) error {
	return r.Link.Subscribe(ctx, r.l.channel(channel))
}

func (r renamed) Unsubscribe(ctx context.Context, channel string) error {
	return r.Link.Unsubscribe(ctx, r.l.channel(channel))
}

func (l *liar) Publish(ctx context.Context, channel string, e realtime.Event) error {
	return l.publish(ctx, l.channel(channel), e)
}

func (l *liar) Append(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
	return l.append(ctx, l.channel(channel), p, k)
}

func (l *liar) Read(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
	return l.read(ctx, l.channel(channel), f)
}

func (l *liar) Enter(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
	return l.enter(ctx, node, channel, c, ttl)
}
func (l *liar) Leave(ctx context.Context, node, channel, client string) error {
	return l.leave(ctx, node, channel, client)
}
func (l *liar) Beat(ctx context.Context, node string, ttl time.Duration) error {
	return l.beat(ctx, node, ttl)
}
func (l *liar) List(ctx context.Context, channel string, limit int) ([]realtime.ClientInfo, error) {
	return l.list(ctx, channel, limit)
}
func (l *liar) Stats(ctx context.Context, channel string) (int, int, error) {
	return l.stats(ctx, channel)
}
func (l *liar) Broadcast(ctx context.Context, message []byte) error { return l.broadcast(ctx, message) }

// filter is a handler that sees every event before the real one.
type filter struct {
	realtime.Handler
	mu      sync.Mutex
	deliver func(next realtime.Handler, channel string, e realtime.Event)
	control func(next realtime.Handler, message []byte)
}

func (f *filter) Deliver(channel string, e realtime.Event) {
	if f.deliver == nil {
		f.Handler.Deliver(channel, e)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deliver(f.Handler, channel, e)
}

func (f *filter) Control(message []byte) {
	if f.control == nil {
		f.Handler.Control(message)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.control(f.Handler, message)
}

// delivers lies about every event.
func (l *liar) delivers(lie func() func(next realtime.Handler, channel string, e realtime.Event)) {
	l.attach = func(h realtime.Handler) realtime.Handler { return &filter{Handler: h, deliver: lie()} }
}

func (l *liar) controls(lie func() func(next realtime.Handler, message []byte)) {
	l.attach = func(h realtime.Handler) realtime.Handler { return &filter{Handler: h, control: lie()} }
}

// lying is a link with lies.
type lying struct {
	realtime.Link
	subscribe   func(ctx context.Context, channel string) error
	unsubscribe func(ctx context.Context, channel string) error
	close       func() error
}

func (l lying) Subscribe(ctx context.Context, channel string) error {
	if l.subscribe == nil {
		return l.Link.Subscribe(ctx, channel)
	}
	return l.subscribe(ctx, channel)
}

func (l lying) Unsubscribe(ctx context.Context, channel string) error {
	if l.unsubscribe == nil {
		return l.Link.Unsubscribe(ctx, channel)
	}
	return l.unsubscribe(ctx, channel)
}

func (l lying) Close() error {
	if l.close == nil {
		return l.Link.Close()
	}
	return l.close()
}

// swapped delivers the second of a channel's events before the first.
func swapped() func(realtime.Handler, string, realtime.Event) {
	held := map[string]*realtime.Event{}
	count := map[string]int{}
	// The rules name what a publisher says and count it: of two publishers' events
	// either may come first.
	publisher := func(e *realtime.Event) string {
		return strings.TrimRight(string(e.Publication.Data), `0123456789"`)
	}
	return func(next realtime.Handler, channel string, e realtime.Event) {
		if count[channel]++; count[channel] == 10 {
			held[channel] = &e
			return
		}
		next.Deliver(channel, e)
		if h := held[channel]; h != nil && publisher(h) == publisher(&e) {
			next.Deliver(channel, *h)
			held[channel] = nil
		}
	}
}

func nth(n int, f func(next realtime.Handler, channel string, e realtime.Event)) func() func(realtime.Handler, string, realtime.Event) {
	return func() func(realtime.Handler, string, realtime.Event) {
		count := map[string]int{}
		return func(next realtime.Handler, channel string, e realtime.Event) {
			if count[channel]++; count[channel] == n {
				f(next, channel, e)
				return
			}
			next.Deliver(channel, e)
		}
	}
}

func lost(realtime.Handler, string, realtime.Event) {}

func twice(next realtime.Handler, channel string, e realtime.Event) {
	next.Deliver(channel, e)
	next.Deliver(channel, e)
}

func changed(change func(e *realtime.Event)) func() func(realtime.Handler, string, realtime.Event) {
	return func() func(realtime.Handler, string, realtime.Event) {
		return func(next realtime.Handler, channel string, e realtime.Event) {
			change(&e)
			next.Deliver(channel, e)
		}
	}
}

// names lies about which channel is meant.
func names(f func(string) string) func(l *liar) {
	return func(l *liar) { l.channel = f }
}

// lies are told each in one way, whatever the timing, and must be noticed by the
// rules named.
var lies = []struct {
	name  string
	tell  func(l *liar)
	rules []string
}{
	{"the first event after a Subscribe is missed", func(l *liar) { l.delivers(nth(1, lost)) }, []string{"B1", "B3", "B4", "B6"}},
	{"a second Subscribe doubles", func(l *liar) {
		seen := map[string]int{}
		l.link = func(link realtime.Link) realtime.Link {
			return lying{Link: link, subscribe: func(ctx context.Context, channel string) error {
				l.mu.Lock()
				defer l.mu.Unlock()
				seen[channel]++
				return link.Subscribe(ctx, channel)
			}}
		}
		l.delivers(func() func(realtime.Handler, string, realtime.Event) {
			return func(next realtime.Handler, channel string, e realtime.Event) {
				l.mu.Lock()
				n := seen[channel]
				l.mu.Unlock()
				for range max(n-1, 1) {
					next.Deliver(channel, e)
				}
			}
		})
	}, []string{"B1"}},
	{"two events change places", func(l *liar) { l.delivers(swapped) }, []string{"B2", "B7", "B8", "H3"}},
	{"an event is lost", func(l *liar) { l.delivers(nth(20, lost)) }, []string{"B2", "B7", "B8", "H3"}},
	{"an event comes twice", func(l *liar) { l.delivers(nth(20, twice)) }, []string{"B2", "B7", "B8", "H3"}},
	{"Unsubscribe does nothing", func(l *liar) {
		l.link = func(link realtime.Link) realtime.Link {
			return lying{Link: link, unsubscribe: func(context.Context, string) error { return nil }}
		}
	}, []string{"B3"}},
	{"Unsubscribe is for all", func(l *liar) {
		l.link = func(link realtime.Link) realtime.Link {
			return lying{Link: link, unsubscribe: func(ctx context.Context, channel string) error {
				l.mu.Lock()
				defer l.mu.Unlock()
				for _, other := range l.links {
					_ = other.Unsubscribe(ctx, channel)
				}
				return nil
			}}
		}
	}, []string{"B3"}},
	{"names in lower case", names(strings.ToLower), []string{"B4"}},
	{"names trimmed", names(strings.TrimSpace), []string{"B4"}},
	{"names cut at NUL", names(func(s string) string { s, _, _ = strings.Cut(s, "\x00"); return s }), []string{"B4"}},
	{"names cut at 254 bytes", names(func(s string) string { return s[:min(len(s), 254)] }), []string{"B4"}},
	{"names as UTF-8", names(func(s string) string { return strings.ToValidUTF8(s, "?") }), []string{"B4"}},
	{"what is in braces counts alone", names(func(s string) string {
		if _, in, ok := strings.Cut(s, "{"); ok {
			if in, _, ok := strings.Cut(in, "}"); ok && in != "" {
				return "{" + in + "}"
			}
		}
		return s
	}), []string{"B4"}},
	{"a link goes on after Close", func(l *liar) {
		l.link = func(link realtime.Link) realtime.Link {
			return lying{Link: link, close: func() error { return nil }}
		}
	}, []string{"B5", "C3"}},
	{"a second Close is an error", func(l *liar) {
		l.link = func(link realtime.Link) realtime.Link {
			closed := false
			return lying{Link: link, close: func() error {
				if closed {
					return errors.New("closed")
				}
				closed = true
				return link.Close()
			}}
		}
	}, []string{"B5"}},
	{"a closed link subscribes", func(l *liar) {
		l.link = func(link realtime.Link) realtime.Link {
			return lying{Link: link, subscribe: func(ctx context.Context, channel string) error {
				_ = link.Subscribe(ctx, channel)
				return nil
			}}
		}
	}, []string{"B5"}},
	{"Close leaves a goroutine", func(l *liar) {
		l.link = func(link realtime.Link) realtime.Link {
			go time.Sleep(time.Hour)
			return link
		}
	}, []string{"B5"}},
	{"Data is lost", func(l *liar) { l.delivers(changed(func(e *realtime.Event) { e.Publication.Data = nil })) }, []string{"B6", "H1"}},
	{"Info is lost", func(l *liar) { l.delivers(changed(func(e *realtime.Event) { e.Publication.Info = nil })) }, []string{"B6"}},
	{"Time is cut", func(l *liar) {
		l.delivers(changed(func(e *realtime.Event) { e.Publication.Time = e.Publication.Time.Truncate(time.Microsecond) }))
	}, []string{"B6"}},
	{"Epoch is lost", func(l *liar) { l.delivers(changed(func(e *realtime.Event) { e.Publication.Epoch = "" })) }, []string{"B6", "H1"}},
	{"Offset is lost", func(l *liar) { l.delivers(changed(func(e *realtime.Event) { e.Publication.Offset = 0 })) }, []string{"B6", "H1"}},
	{"Client is lost", func(l *liar) { l.delivers(changed(func(e *realtime.Event) { e.Client = realtime.ClientInfo{} })) }, []string{"B6"}},
	{"joins come as leaves", func(l *liar) {
		l.delivers(changed(func(e *realtime.Event) {
			if e.Kind == realtime.EventJoin {
				e.Kind = realtime.EventLeave
			}
		}))
	}, []string{"B6"}},
	{"the history loses Info", func(l *liar) {
		read := l.read
		l.read = func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
			pubs, top, err := read(ctx, channel, f)
			for i := range pubs {
				pubs[i].Info = nil
			}
			return pubs, top, err
		}
	}, []string{"B6"}},
	{"a channel's events are handed out at once", func(l *liar) {
		l.attach = func(h realtime.Handler) realtime.Handler { return atOnce{h} }
	}, []string{"B8"}},
	{"Publish outlives its context", func(l *liar) {
		publish := l.publish
		l.publish = func(ctx context.Context, channel string, e realtime.Event) error {
			if ctx.Err() != nil {
				time.Sleep(time.Hour)
			}
			return publish(ctx, channel, e)
		}
	}, []string{"B9"}},
	{"offsets begin at 2", func(l *liar) {
		appendTo := l.append
		begun := map[string]bool{}
		l.append = func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
			l.mu.Lock()
			first := !begun[channel]
			begun[channel] = true
			l.mu.Unlock()
			if first {
				if _, err := appendTo(ctx, channel, p, k); err != nil {
					return realtime.Position{}, err
				}
			}
			return appendTo(ctx, channel, p, k)
		}
	}, []string{"H1", "H3", "H5"}},
	{"Append returns the place before", func(l *liar) {
		appendTo := l.append
		l.append = func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
			at, err := appendTo(ctx, channel, p, k)
			at.Offset--
			return at, err
		}
	}, []string{"H1", "H3", "H5"}},
	{"Append stores later than it hands out", func(l *liar) {
		// The newest can't be read until somebody has tried to.
		appendTo, read := l.append, l.read
		hidden := map[string]uint64{}
		l.append = func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			at, err := appendTo(ctx, channel, p, k)
			hidden[channel] = at.Offset
			return at, err
		}
		l.read = func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			pubs, top, err := read(ctx, channel, f)
			if h := hidden[channel]; h > 0 {
				hidden[channel] = 0
				if len(pubs) > 0 && pubs[len(pubs)-1].Offset == h {
					pubs = pubs[:len(pubs)-1]
				}
				top.Offset = h - 1
			}
			return pubs, top, err
		}
	}, []string{"H2"}},
	{"Read overlooks the limit", reads(func(f *realtime.ReadFilter) {
		if f.Limit > 0 {
			f.Limit = 1000
		}
	}), []string{"H4"}},
	{"Read takes no limit for none", reads(func(f *realtime.ReadFilter) {
		if f.Limit == 0 {
			f.Limit = 1000
		}
	}), []string{"H4"}},
	{"Read overlooks Since", reads(func(f *realtime.ReadFilter) { f.Since = nil }), []string{"H4"}},
	{"Read overlooks Reverse", reads(func(f *realtime.ReadFilter) { f.Reverse = false }), []string{"H4"}},
	{"Since is included", reads(func(f *realtime.ReadFilter) {
		if f.Since != nil && f.Since.Offset > 0 {
			f.Since = &realtime.Position{Offset: f.Since.Offset - 1, Epoch: f.Since.Epoch}
		}
	}), []string{"H4"}},
	{"Read overlooks the epoch", reads(func(f *realtime.ReadFilter) {
		if f.Since != nil {
			f.Since = &realtime.Position{Offset: f.Since.Offset}
		}
	}), []string{"H7"}},
	{"a history keeps one too many", keeps(func(k *realtime.Keep) { k.Size++ }), []string{"H5"}},
	{"a history keeps for ever", keeps(func(k *realtime.Keep) { k.TTL = 1000 * time.Hour }), []string{"H6"}},
	{"a history forgets early", keeps(func(k *realtime.Keep) { k.TTL /= 4 }), []string{"H6"}},
	{"every Append begins a history anew", func(l *liar) {
		l.append = func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			m := realtime.NewMemoryBroker(nil)
			l.read = m.Read
			return m.Append(ctx, channel, p, k)
		}
	}, []string{"H1", "H7", "H8"}},
	{"the top goes with the publications", func(l *liar) {
		read := l.read
		l.read = func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
			limit := f.Limit
			f.Limit = 1000
			f.Since = nil
			pubs, top, err := read(ctx, channel, f)
			if len(pubs) == 0 {
				top.Offset = 0
			}
			return pubs[:min(limit, len(pubs))], top, err
		}
	}, []string{"H8"}},
	{"a lost history keeps its epoch", func(l *liar) {
		epoch := map[string]string{}
		l.lose = func() {
			m := realtime.NewMemoryBroker(nil)
			l.read = func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
				pubs, top, err := m.Read(ctx, channel, f)
				top.Epoch = epoch[channel]
				return pubs, top, err
			}
		}
		appendTo := l.append
		l.append = func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
			at, err := appendTo(ctx, channel, p, k)
			epoch[channel] = at.Epoch
			return at, err
		}
	}, []string{"H9"}},
	{"nothing is lost", func(l *liar) { l.lose = func() {} }, []string{"H9"}},
	{"Enter forgets Info", enters(func(_ *string, c *realtime.ClientInfo, _ *time.Duration) { c.Info = nil }), []string{"P1"}},
	{"Enter forgets User", enters(func(_ *string, c *realtime.ClientInfo, _ *time.Duration) { c.User = "" }), []string{"P1"}},
	{"Leave does nothing", func(l *liar) {
		l.leave = func(context.Context, string, string, string) error { return nil }
	}, []string{"P1", "P2", "P6"}},
	{"Leave is for any node", func(l *liar) {
		leave := l.leave
		l.leave = func(ctx context.Context, _, channel, client string) error {
			for _, node := range []string{"n1", "n2", "n12", "node 1", "node:2"} {
				if err := leave(ctx, node, channel, client); err != nil {
					return err
				}
			}
			return nil
		}
	}, []string{"P2", "P6"}},
	{"Stats counts users as clients", func(l *liar) {
		stats := l.stats
		l.stats = func(ctx context.Context, channel string) (int, int, error) {
			clients, _, err := stats(ctx, channel)
			return clients, clients, err
		}
	}, []string{"P1", "P5"}},
	{"the dead stay", enters(func(_ *string, _ *realtime.ClientInfo, ttl *time.Duration) { *ttl *= 2 }), []string{"P3"}},
	{"the living go early", enters(func(_ *string, _ *realtime.ClientInfo, ttl *time.Duration) { *ttl /= 2 }), []string{"P3"}},
	{"Beat does nothing", func(l *liar) {
		l.beat = func(context.Context, string, time.Duration) error { return nil }
	}, []string{"P4"}},
	{"Beat keeps longer", func(l *liar) {
		beat := l.beat
		l.beat = func(ctx context.Context, node string, ttl time.Duration) error { return beat(ctx, node, 2*ttl) }
	}, []string{"P4"}},
	{"Beat is for everyone", func(l *liar) {
		beat := l.beat
		l.beat = func(ctx context.Context, node string, ttl time.Duration) error {
			return errors.Join(beat(ctx, node, ttl), beat(ctx, "silent", ttl))
		}
	}, []string{"P4"}},
	{"List overlooks the limit", func(l *liar) {
		list := l.list
		l.list = func(ctx context.Context, channel string, _ int) ([]realtime.ClientInfo, error) {
			return list(ctx, channel, 1000)
		}
	}, []string{"P5"}},
	{"who enters again is listed twice", func(l *liar) {
		list, enter := l.list, l.enter
		again := map[string]int{}
		l.enter = func(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
			l.mu.Lock()
			again[channel+" "+c.Client]++
			l.mu.Unlock()
			return enter(ctx, node, channel, c, ttl)
		}
		l.list = func(ctx context.Context, channel string, limit int) ([]realtime.ClientInfo, error) {
			clients, err := list(ctx, channel, limit)
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, c := range clients {
				if again[channel+" "+c.Client] > 1 {
					clients = append(clients, c)
				}
			}
			return clients, err
		}
	}, []string{"P6"}},
	{"Broadcast forgets who sent", func(l *liar) {
		l.controls(func() func(realtime.Handler, []byte) {
			return func(next realtime.Handler, message []byte) {
				if string(message) != "m2" {
					next.Control(message)
				}
			}
		})
	}, []string{"C1"}},
	{"control messages come twice", func(l *liar) {
		l.controls(func() func(realtime.Handler, []byte) {
			return func(next realtime.Handler, message []byte) {
				next.Control(message)
				next.Control(message)
			}
		})
	}, []string{"C1", "C2"}},
	{"control messages change places", func(l *liar) {
		l.controls(func() func(realtime.Handler, []byte) {
			var held []byte
			return func(next realtime.Handler, message []byte) {
				if string(message) == "a5" {
					held = message
					return
				}
				next.Control(message)
				if string(message) == "a6" { // of the same sender
					next.Control(held)
				}
			}
		})
	}, []string{"C2"}},
	{"control needs a subscription", func(l *liar) {
		var mu sync.Mutex
		subscribed := false
		l.link = func(link realtime.Link) realtime.Link {
			return lying{Link: link, subscribe: func(ctx context.Context, channel string) error {
				mu.Lock()
				subscribed = true
				mu.Unlock()
				return link.Subscribe(ctx, channel)
			}}
		}
		broadcast := l.broadcast
		l.broadcast = func(ctx context.Context, message []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if !subscribed {
				return nil
			}
			return broadcast(ctx, message)
		}
	}, []string{"C3"}},
}

// atOnce hands out each event in a goroutine.
type atOnce struct{ realtime.Handler }

func (a atOnce) Deliver(channel string, e realtime.Event) { go a.Handler.Deliver(channel, e) }

func reads(lie func(f *realtime.ReadFilter)) func(l *liar) {
	return func(l *liar) {
		read := l.read
		l.read = func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
			lie(&f)
			return read(ctx, channel, f)
		}
	}
}

func keeps(lie func(k *realtime.Keep)) func(l *liar) {
	return func(l *liar) {
		read, appendTo := l.read, l.append
		l.read = func(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
			lie(&f.Keep)
			return read(ctx, channel, f)
		}
		l.append = func(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
			lie(&k)
			return appendTo(ctx, channel, p, k)
		}
	}
}

func enters(lie func(node *string, c *realtime.ClientInfo, ttl *time.Duration)) func(l *liar) {
	return func(l *liar) {
		enter := l.enter
		l.enter = func(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
			lie(&node, &c, &ttl)
			return enter(ctx, node, channel, c, ttl)
		}
	}
}

func TestTheRulesBite(t *testing.T) {
	bitten := make(map[string]bool)
	for _, lie := range lies {
		for _, id := range lie.rules {
			bitten[id] = true
			t.Run(lie.name+"/"+id, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLiar()
					lie.tell(l)
					failure := realtimetest.Try(t.Context(), id, realtimetest.System{Open: func() realtime.Broker { return l }, Lose: l.forget})
					time.Sleep(10 * time.Hour) // what a lie has left ends
					require.NotEmpty(t, failure, "rule %s does not notice", id)
					require.Contains(t, failure, "rule "+id+". ")
				})
			})
		}
	}
	for _, id := range realtimetest.Rules() {
		require.True(t, bitten[id], "no lie for rule %s", id)
		synctest.Test(t, func(t *testing.T) { require.Empty(t, realtimetest.Try(t.Context(), id, memory(t))) })
	}
}
