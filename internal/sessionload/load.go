// Package sessionload drives all of session as browsers and apps do, over HTTP
// through several nodes on one store, while a test breaks the store beneath. It
// knows what was acknowledged, and so what every later answer may be.
package sessionload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/session"
)

const (
	// slack is what a request may take beyond its deadline: a second for what a
	// cancelled request must not lose, the rest for a busy machine.
	slack = 3 * time.Second
	// graceful is how long a client repeats a refresh, well within the grace.
	graceful = 7 * time.Second
)

// Options of a [Load]. Zero fields mean the defaults.
type Options struct {
	// Clients is how many there are. Defaults to 6.
	Clients int
	// Deadline is that of every request, set by the node. Defaults to 1 second.
	Deadline time.Duration
	// Impatience is when every second client gives up waiting for an answer.
	// Defaults to never.
	Impatience time.Duration
	// Session is what the nodes' managers are made with.
	Session session.Options
	// LogMayBeLost says that the log of ended sessions need not reach back to
	// the beginning of the load.
	LogMayBeLost bool
}

// Load is a load on several nodes. Its methods are for one goroutine.
type Load struct {
	o       Options
	nodes   []*node
	clients []*client
	http    *http.Client
	cursor  string // of the log, at the beginning
	stop    chan struct{}
	running sync.WaitGroup

	longest atomic.Int64 // request, nanoseconds
	mu      sync.Mutex
	wrong   []error
}

// Start makes a node on each store, all of which are one, and sets the clients
// to work.
func Start(ctx context.Context, stores []session.Store, o Options) (*Load, error) {
	if o.Clients == 0 {
		o.Clients = 6
	}
	if o.Deadline == 0 {
		o.Deadline = time.Second
	}
	if o.Session.Logger == nil {
		o.Session.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Load{o: o, stop: make(chan struct{}), http: &http.Client{
		// Whoever is not answered by then is not at all.
		Timeout:   o.Deadline + 2*slack,
		Transport: &http.Transport{MaxIdleConnsPerHost: o.Clients},
	}}
	for _, s := range stores {
		n, err := l.newNode(s, o.Session)
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.nodes = append(l.nodes, n)
	}
	var err error
	if _, l.cursor, err = l.nodes[0].sessions.EndedSince(ctx, ""); err != nil {
		return nil, errors.Join(err, l.close())
	}
	for i := range o.Clients {
		c := &client{l: l, name: fmt.Sprintf("user-%d", i), sessions: map[string]fate{}}
		if i%2 == 1 {
			c.patience = o.Impatience
		}
		l.clients = append(l.clients, c)
		l.running.Go(c.run)
	}
	return l, nil
}

// Healed waits until every client has gone through all it does once more, with
// an answer each time, and returns how long that took.
func (l *Load) Healed(limit time.Duration) (time.Duration, error) {
	start := time.Now()
	before := make([]int64, len(l.clients))
	for i, c := range l.clients {
		before[i] = c.whole.Load()
	}
	for {
		waiting := 0
		for i, c := range l.clients {
			if c.whole.Load() == before[i] {
				waiting++
			}
		}
		took := time.Since(start)
		switch {
		case l.violations() != nil:
			return took, l.violations()
		case waiting == 0:
			return took, nil
		case took > limit:
			return took, fmt.Errorf("after %v %d of %d clients are not served again", took, waiting, len(l.clients))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Unanswered is how many requests so far had no answer, or that of a store that
// could not tell.
func (l *Load) Unanswered() (n int) {
	for _, c := range l.clients {
		n += int(c.unknown.Load())
	}
	return n
}

// Requests is how many requests were sent so far.
func (l *Load) Requests() (n int) {
	for _, c := range l.clients {
		n += int(c.asked.Load())
	}
	return n
}

// Running is how many requests the nodes are handling.
func (l *Load) Running() (n int) {
	for _, node := range l.nodes {
		n += int(node.running.Load())
	}
	return n
}

// Longest is the longest that a node has handled one request for.
func (l *Load) Longest() time.Duration { return time.Duration(l.longest.Load()) }

// Stop ends the load, compares what is there with what was acknowledged, and
// closes the nodes. The store must answer. It returns all that was wrong since
// Start.
func (l *Load) Stop(ctx context.Context) error {
	close(l.stop)
	l.running.Wait()
	for _, c := range l.clients {
		c.patience = 0
		c.compare()
	}
	if err := l.compareLog(ctx); err != nil {
		l.violated("%w", err)
	}
	return errors.Join(l.close(), l.violations())
}

// compareLog checks that each session is either there or in the log, once.
func (l *Load) compareLog(ctx context.Context) error {
	m := l.nodes[0].sessions
	logged := map[string]int{}
	lost := false
	for cursor := l.cursor; ; {
		ids, next, err := m.EndedSince(ctx, cursor)
		if l.o.LogMayBeLost && errors.Is(err, session.ErrCursorLost) {
			lost = true
			break
		}
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		for _, id := range ids {
			logged[id]++
		}
		cursor = next
	}
	var errs []error
	for _, c := range l.clients {
		for id, fate := range c.sessions {
			alive, err := m.Alive(ctx, id)
			switch {
			case err != nil:
				return err
			case alive && fate == ended:
				errs = append(errs, fmt.Errorf("the end of %s was acknowledged, and it is there", id))
			case !alive && fate == live:
				errs = append(errs, fmt.Errorf("%s was acknowledged, and is not there", id))
			case lost:
			case alive != (logged[id] == 0), logged[id] > 1:
				errs = append(errs, fmt.Errorf("%s is there: %v, and in the log %d times", id, alive, logged[id]))
			}
		}
	}
	return errors.Join(errs...)
}

// close closes what Start has made.
func (l *Load) close() error {
	var errs []error
	for _, n := range l.nodes {
		n.server.Close()
		errs = append(errs, n.sessions.Close())
	}
	l.http.CloseIdleConnections()
	return errors.Join(errs...)
}

// violated notes what must not be. The first few tell enough.
func (l *Load) violated(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < 10 {
		l.wrong = append(l.wrong, fmt.Errorf(format, args...))
	}
}

func (l *Load) violations() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.wrong...)
}

func (l *Load) note(took time.Duration) {
	for {
		old := l.longest.Load()
		if int64(took) <= old || l.longest.CompareAndSwap(old, int64(took)) {
			return
		}
	}
}
