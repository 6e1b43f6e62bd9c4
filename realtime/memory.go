package realtime

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"
)

// MemoryOptions bound what a [MemoryBroker] keeps. Zero means the default.
type MemoryOptions struct {
	MaxChannels int // with a history; the one longest unused goes first. Defaults to 100,000.
	MaxBytes    int // of all histories; one channel's may be a thirty-second of it. Defaults to 256 MiB.
}

// MemoryBroker is a [Broker], [History], [Presence] and [Control] in this process's
// memory. Several hubs of one process may share one. What it keeps ends with
// the process: clients that come back afterwards find another epoch and are
// told that they were not recovered.
type MemoryBroker struct {
	shards   [16]memoryShard
	presence memoryPresence

	mu    sync.Mutex // held while control messages are handed out, for their order
	links map[*memoryLink]struct{}
}

// NewMemoryBroker makes a broker. nil options are the defaults.
func NewMemoryBroker(o *MemoryOptions) *MemoryBroker {
	if o == nil {
		o = &MemoryOptions{}
	}
	b := &MemoryBroker{links: map[*memoryLink]struct{}{}}
	for i := range b.shards {
		s := &b.shards[i]
		s.channels = map[string]*memoryChannel{}
		s.maxStreams = max(cmp.Or(o.MaxChannels, 100_000)/len(b.shards), 1)
		s.maxBytes = max(cmp.Or(o.MaxBytes, 256<<20)/len(b.shards), 1)
	}
	b.presence.channels = map[string]map[string]present{}
	b.presence.nodes = map[string]time.Time{}
	return b
}

// memoryShard holds some of the channels. Its lock is held while events are
// handed out, which is what keeps a channel's in order.
type memoryShard struct {
	mu         sync.Mutex
	channels   map[string]*memoryChannel
	used       list.List // channels with a stream, the one used last in front
	blank      list.List // likewise those in which nothing was ever published
	bytes      int
	maxStreams int
	maxBytes   int
}

type memoryChannel struct {
	name   string
	links  map[*memoryLink]struct{}
	stream *stream
}

// stream is a channel's history.
type stream struct {
	epoch string
	top   uint64
	pubs  []Publication // oldest first, without gaps, the last being top
	bytes int
	ttl   time.Duration
	place *list.Element
	at    time.Time // last use
}

// streamMemory is how long a stream whose publications have all expired is
// remembered, so that clients in it can still be told that they missed nothing.
const streamMemory = time.Hour

func (b *MemoryBroker) shard(channel string) *memoryShard {
	return &b.shards[maphash.String(seed, channel)%uint64(len(b.shards))]
}

type memoryLink struct {
	broker  *MemoryBroker
	handler Handler

	mu       sync.Mutex
	channels map[string]struct{}
	closed   bool
}

// Attach joins a hub.
func (b *MemoryBroker) Attach(h Handler) (Link, error) {
	l := &memoryLink{broker: b, handler: h, channels: map[string]struct{}{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.links[l] = struct{}{}
	return l, nil
}

// Broadcast hands a message to every hub.
func (b *MemoryBroker) Broadcast(_ context.Context, message []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.links {
		l.handler.Control(message)
	}
	return nil
}

func (l *memoryLink) Subscribe(_ context.Context, channel string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("realtime: the link is closed")
	}
	l.channels[channel] = struct{}{}
	s := l.broker.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(channel)
	if c.links == nil {
		c.links = map[*memoryLink]struct{}{}
	}
	c.links[l] = struct{}{}
	return nil
}

func (l *memoryLink) Unsubscribe(_ context.Context, channel string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsubscribe(channel)
	return nil
}

func (l *memoryLink) unsubscribe(channel string) {
	delete(l.channels, channel)
	s := l.broker.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[channel]; c != nil {
		delete(c.links, l)
		s.tidy(c)
	}
}

func (l *memoryLink) Close() error {
	l.broker.mu.Lock()
	delete(l.broker.links, l)
	l.broker.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for channel := range maps.Clone(l.channels) {
		l.unsubscribe(channel)
	}
	return nil
}

func (s *memoryShard) channel(name string) *memoryChannel {
	c := s.channels[name]
	if c == nil {
		c = &memoryChannel{name: name}
		s.channels[name] = c
	}
	return c
}

// tidy forgets a channel that holds nothing.
func (s *memoryShard) tidy(c *memoryChannel) {
	if len(c.links) == 0 && c.stream == nil {
		delete(s.channels, c.name)
	}
}

// Publish hands an event to every hub subscribed to the channel.
func (b *MemoryBroker) Publish(_ context.Context, channel string, e Event) error {
	s := b.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[channel]; c != nil {
		c.deliver(e)
	}
	return nil
}

func (c *memoryChannel) deliver(e Event) {
	for l := range c.links {
		l.handler.Deliver(c.name, e)
	}
}

// Append stores a publication and hands it out.
func (b *MemoryBroker) Append(_ context.Context, channel string, p Publication, keep Keep) (Position, error) {
	now := time.Now()
	s := b.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(channel)
	st := s.touch(c, keep, now)
	if st.top == 0 {
		s.blank.Remove(st.place)
		st.place = s.used.PushFront(c)
	}
	st.top++
	p.Offset, p.Epoch = st.top, st.epoch
	st.pubs = append(st.pubs, p)
	n := p.size()
	st.bytes += n
	s.bytes += n
	s.trim(st, keep, now)
	s.shorten(st)
	s.evict(c, now)
	c.deliver(Event{Kind: EventPublication, Publication: p})
	return Position{Offset: p.Offset, Epoch: p.Epoch}, nil
}

// Read returns publications and the top.
func (b *MemoryBroker) Read(_ context.Context, channel string, f ReadFilter) ([]Publication, Position, error) {
	now := time.Now()
	s := b.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(channel)
	st := s.touch(c, f.Keep, now)
	s.trim(st, f.Keep, now)
	s.evict(c, now)
	top := Position{Offset: st.top, Epoch: st.epoch}
	if f.Limit <= 0 || f.Since != nil && f.Since.Epoch != "" && f.Since.Epoch != st.epoch {
		return nil, top, nil
	}
	pubs := st.pubs
	if f.Since != nil {
		// The first that comes after the position, or is it.
		i, at := slices.BinarySearchFunc(pubs, f.Since.Offset, func(p Publication, o uint64) int { return cmp.Compare(p.Offset, o) })
		switch {
		case f.Reverse:
			pubs = pubs[:i]
		case at:
			pubs = pubs[i+1:]
		default:
			pubs = pubs[i:]
		}
	}
	if f.Reverse {
		pubs = slices.Clone(pubs[max(0, len(pubs)-f.Limit):])
		slices.Reverse(pubs)
		return pubs, top, nil
	}
	return slices.Clone(pubs[:min(len(pubs), f.Limit)]), top, nil
}

// touch returns the channel's stream, made if need be, as used now.
func (s *memoryShard) touch(c *memoryChannel, keep Keep, now time.Time) *stream {
	st := c.stream
	if st == nil {
		st = &stream{epoch: randomID()[:10]}
		st.place = s.blank.PushFront(c)
		c.stream = st
	} else {
		s.listed(st).MoveToFront(st.place)
	}
	st.at, st.ttl = now, keep.TTL
	return st
}

// trim drops what is too old or too much of a stream.
func (s *memoryShard) trim(st *stream, keep Keep, now time.Time) {
	n := max(0, len(st.pubs)-keep.Size)
	for n < len(st.pubs) && now.Sub(st.pubs[n].Time) >= keep.TTL {
		n++
	}
	s.cut(st, n)
}

// shorten keeps one channel from taking more than half of what a shard may
// hold: it would drive out everybody else's.
func (s *memoryShard) shorten(st *stream) {
	n := 0
	for bytes := st.bytes; bytes > s.maxBytes/2 && n < len(st.pubs); n++ {
		bytes -= st.pubs[n].size()
	}
	s.cut(st, n)
}

// cut drops the n oldest publications of a stream.
func (s *memoryShard) cut(st *stream, n int) {
	freed := publications(st.pubs[:n]).size()
	clear(st.pubs[:n])
	st.pubs = st.pubs[n:]
	st.bytes -= freed
	s.bytes -= freed
}

// listed is the list that a stream is in.
func (s *memoryShard) listed(st *stream) *list.List {
	if st.top == 0 {
		return &s.blank
	}
	return &s.used
}

// evict forgets streams that nobody has used for long and, while there are too
// many or they are too large, the least recently used, but never keep's. Blank
// ones go first: whoever may enter any channel makes one with every name.
func (s *memoryShard) evict(keep *memoryChannel, now time.Time) {
	many := func() bool { return s.blank.Len()+s.used.Len() > s.maxStreams }
	for s.forget(&s.blank, many(), keep, now) {
	}
	for s.forget(&s.used, many() || s.bytes > s.maxBytes, keep, now) {
	}
}

// forget forgets the least recently used stream of a list, if it must or that was
// long ago. It returns false when it has not.
func (s *memoryShard) forget(l *list.List, must bool, keep *memoryChannel, now time.Time) bool {
	e := l.Back()
	if e == nil || e.Value == any(keep) {
		return false
	}
	c, _ := e.Value.(*memoryChannel)
	old := now.Sub(c.stream.at) > c.stream.ttl+streamMemory && len(c.links) == 0
	if !old && !must {
		return false
	}
	l.Remove(e)
	s.bytes -= c.stream.bytes
	c.stream = nil
	s.tidy(c)
	return true
}

// memoryPresence is who is in which channel.
type memoryPresence struct {
	mu       sync.Mutex
	channels map[string]map[string]present
	nodes    map[string]time.Time // until when each node's word counts
}

type present struct {
	node string
	info ClientInfo
}

// Enter lists a client under a channel.
func (b *MemoryBroker) Enter(_ context.Context, node, channel string, c ClientInfo, ttl time.Duration) error {
	p := &b.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.channels[channel] == nil {
		p.channels[channel] = map[string]present{}
	}
	p.channels[channel][c.Client] = present{node, c}
	p.nodes[node] = time.Now().Add(ttl)
	return nil
}

// Leave takes a client off a channel's list.
func (b *MemoryBroker) Leave(_ context.Context, node, channel, client string) error {
	p := &b.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.channels[channel][client].node != node {
		return nil
	}
	delete(p.channels[channel], client)
	if len(p.channels[channel]) == 0 {
		delete(p.channels, channel)
	}
	return nil
}

// Beat keeps what node has entered for ttl from now, and forgets what nodes
// that stopped beating had.
func (b *MemoryBroker) Beat(_ context.Context, node string, ttl time.Duration) error {
	now := time.Now()
	p := &b.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[node] = now.Add(ttl)
	dead := false
	for n, until := range p.nodes {
		if now.After(until) {
			delete(p.nodes, n)
			dead = true
		}
	}
	if !dead {
		return nil
	}
	for channel, clients := range p.channels {
		maps.DeleteFunc(clients, func(_ string, e present) bool { _, lives := p.nodes[e.node]; return !lives })
		if len(clients) == 0 {
			delete(p.channels, channel)
		}
	}
	return nil
}

// List returns at most limit clients of a channel.
func (b *MemoryBroker) List(_ context.Context, channel string, limit int) ([]ClientInfo, error) {
	now := time.Now()
	p := &b.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	clients := make([]ClientInfo, 0, min(limit, len(p.channels[channel])))
	for _, e := range p.channels[channel] {
		if len(clients) == limit {
			break
		}
		if now.Before(p.nodes[e.node]) {
			clients = append(clients, e.info)
		}
	}
	return clients, nil
}

// Stats counts the clients of a channel and the users they are.
func (b *MemoryBroker) Stats(_ context.Context, channel string) (clients, users int, err error) {
	now := time.Now()
	p := &b.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]struct{}{}
	for _, e := range p.channels[channel] {
		if now.Before(p.nodes[e.node]) {
			clients++
			seen[e.info.User] = struct{}{}
		}
	}
	return clients, len(seen), nil
}
