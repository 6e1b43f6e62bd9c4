package realtime

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"
)

// Hub is the realtime endpoint: an http.Handler that takes WebSocket
// connections, and the methods that reach them. Its methods may be called
// concurrently.
type Hub struct {
	auth     Authenticator
	sessions Sessions
	rules    Rules
	o        Options // with defaults filled in
	origins  map[string]struct{}
	node     string // this hub among others on one broker

	link     Link
	history  History  // nil: the broker keeps none
	presence Presence // nil: the broker knows of none
	control  Control  // nil: this hub is the only one, or the others aren't reached

	ctx     context.Context // of what runs for connections
	cancel  context.CancelFunc
	stop    chan struct{} // closed when the sweeper may end
	wg      sync.WaitGroup
	work    work
	workers workers
	methods map[string]string // names of RPC methods, by themselves
	counts  counts
	wheel   wheel
	watch   watch
	push    push
	ghosts  ghosts
	topics  [64]topicShard

	mu       sync.Mutex
	draining bool
	closing  bool
	empty    chan struct{}       // closed once no socket is left; nil when nobody waits
	conns    map[string]*conn    // by id
	kin      [2]map[string]*conn // connections by user and by session
	places   map[string]int      // sockets by address, until they are really closed
}

// New makes a hub for the site at origin, as "https://app.example". Nil rules
// are no channels. It starts the goroutines that watch the sessions, until
// [Hub.Close]. While sessions or broker can't be reached, clients are told to
// come back.
func New(origin string, a Authenticator, s Sessions, rules Rules, o *Options) (*Hub, error) {
	h := &Hub{
		auth: a, sessions: s, node: randomID(),
		stop:   make(chan struct{}),
		conns:  map[string]*conn{},
		places: map[string]int{},
	}
	for i := range h.kin {
		h.kin[i] = map[string]*conn{}
	}
	if err := h.configure(origin, rules, o); err != nil {
		return nil, err
	}
	link, err := h.o.Broker.Attach((*receiver)(h))
	if err != nil {
		return nil, fmt.Errorf("realtime: attach to the broker: %w", err)
	}
	h.link = link
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.watch.init(h)
	h.wg.Add(2)
	go h.sweep()
	go h.watch.run()
	if h.presence != nil {
		h.wg.Add(1)
		go h.beat()
	}
	return h, nil
}

// Publish sends data, which must be JSON, to everyone in channel, and keeps it
// if the channel is kept. It waits while the channel's subscribers on this hub
// can't be served as fast as it is called; ctx bounds that.
func (h *Hub) Publish(ctx context.Context, channel string, data json.RawMessage) error {
	if _, ok := longest(h.rules, channel); !ok {
		return ErrUnknownChannel
	}
	data, err := compact(data)
	if err != nil {
		return err
	}
	return h.publish(ctx, channel, Publication{Data: data})
}

// disconnectAll closes the connections of a session or user that ended at a
// moment, which may be unknown: zero.
func (h *Hub) disconnectAll(by kinship, key, reason string, ended time.Time) {
	d := closeSessionEnded
	if reason != "" {
		d.reason = reason
	}
	n := 0
	for _, c := range h.of(by, key) {
		if c.disconnect(d) {
			n++
			h.revoked(ended)
		}
	}
	if n > 0 {
		h.notice("realtime: session ended", slog.LevelInfo, "realtime: session ended", kinships[by], key, "reason", d.reason, "connections", n)
	}
}

// publish stores and fans out.
func (h *Hub) publish(ctx context.Context, channel string, p Publication) error {
	if len(p.Data) > h.o.MaxQueue/2 {
		return errTooLarge
	}
	if err := h.awaitRound(ctx, channel); err != nil {
		return fmt.Errorf("realtime: publish: %w", err)
	}
	p.Time = time.Now()
	if ch, _ := longest(h.o.Channels, channel); ch.HistorySize > 0 {
		_, err := h.history.Append(ctx, channel, p, Keep{Size: ch.HistorySize, TTL: ch.HistoryTTL})
		return err
	}
	return h.o.Broker.Publish(ctx, channel, Event{Kind: EventPublication, Publication: p})
}

// beat keeps what this hub has entered into presence alive.
func (h *Hub) beat() {
	defer h.wg.Done()
	ticker := time.NewTicker(presenceBeat)
	defer ticker.Stop()
	for {
		ctx, cancel := context.WithTimeout(h.ctx, presenceBeat)
		err := h.presence.Beat(ctx, h.node, 3*presenceBeat)
		if err == nil {
			err = h.expel(ctx)
		}
		cancel()
		if err != nil && h.ctx.Err() == nil {
			h.o.Logger.Warn("realtime: presence", "error", err)
		}
		select {
		case <-h.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// presenceBeat is how often a hub says that it lives; after three silent ones
// its clients are gone.
const presenceBeat = 10 * time.Second

// randomID names a connection or a hub: 128 random bits.
func randomID() string { return rand.Text() }

// errTooLarge refuses what would fill most of a connection's queue by itself.
var errTooLarge = errors.New("realtime: data is larger than half of Options.MaxQueue")

// maxDepth is how deep data may be nested. What goes out is nested deeper by
// some levels, and the parsers of SDKs give up at a thousand (Python) or ten
// thousand (Go): one message must not end everybody's connection.
const maxDepth = 500

// compact checks JSON from the host or a client and makes it one line, as the
// protocol separates objects by newlines. What it returns is a copy.
func compact(data json.RawMessage) (json.RawMessage, error) {
	line, err := oneLine(data)
	if err == nil && &line[0] == &data[0] {
		line = bytes.Clone(line)
	}
	return line, err
}

// oneLine is compact, without a copy of what is one line as it is.
func oneLine(data json.RawMessage) (json.RawMessage, error) {
	s := scanner{b: data, deep: maxDepth}
	if s.valueEnd(0) == len(data) && !s.spaced && utf8.Valid(data) {
		return data, nil
	}
	if !utf8.Valid(data) {
		return nil, errors.New("realtime: data is not valid UTF-8")
	}
	if depth(data) > maxDepth {
		return nil, fmt.Errorf("realtime: data is nested deeper than %d levels", maxDepth)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil, fmt.Errorf("realtime: data is not JSON: %w", err)
	}
	return b.Bytes(), nil
}

// depth is how deep JSON is nested. Of what isn't JSON it says nothing.
func depth(data []byte) (deepest int) {
	level, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch b := data[i]; {
		case quoted:
			if b == '\\' {
				i++
			} else if b == '"' {
				quoted = false
			}
		case b == '"':
			quoted = true
		case b == '[' || b == '{':
			level++
			deepest = max(deepest, level)
		case b == ']' || b == '}':
			level--
		}
	}
	return deepest
}

// work starts goroutines that Close waits for.
type work struct {
	mu   sync.Mutex
	over bool
}

// spawn runs f in a goroutine, unless the hub is closed.
func (h *Hub) spawn(f func()) {
	h.work.mu.Lock()
	defer h.work.mu.Unlock()
	if !h.work.over {
		h.wg.Go(f)
	}
}
