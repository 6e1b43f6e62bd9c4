package realtime

import (
	"context"
	"errors"
	"sync"
	"time"
)

// watch asks the sessions what ended. It is what a socket's life hangs on when
// no push arrives: its cost is that of sessions that end, not of connections.
type watch struct {
	hub   *Hub
	ready chan struct{} // closed at the first cursor: what ends later is found

	ended func(ctx context.Context, cursor string) (ids, reasons []string, next string, err error)

	mu       sync.Mutex
	cursor   string
	answered time.Time // when the sessions last answered about all
	unhook   func()

	doubted []string  // sessions to be asked about one by one; run's alone
	asked   time.Time // when the log was last followed to its end: what it brings ended later; run's alone
}

func (w *watch) init(h *Hub) {
	w.hub, w.ready, w.answered = h, make(chan struct{}), time.Now()
	w.ended = func(ctx context.Context, cursor string) (ids, reasons []string, next string, err error) {
		ids, next, err = h.sessions.EndedSince(ctx, cursor)
		return ids, nil, next, err
	}
	if s, ok := h.sessions.(interface {
		EndedReasons(ctx context.Context, cursor string) (ids, reasons []string, next string, err error)
	}); ok {
		w.ended = s.EndedReasons
	}
	if s, ok := h.sessions.(interface {
		OnEnd(func(sessionID, userID, reason string)) (cancel func())
	}); ok {
		w.unhook = s.OnEnd(func(sessionID, _, reason string) {
			now := time.Now()
			h.disconnectAll(bySession, sessionID, reason, now)
			h.pushEnd(ending{Session: sessionID, Reason: reason, At: now.UnixMilli()})
		})
	}
}

// complainEvery is how often the log says that the sessions don't answer.
const complainEvery = 10 * time.Second

func (w *watch) run() {
	defer w.hub.wg.Done()
	if w.unhook != nil {
		defer w.unhook()
	}
	ticker := time.NewTicker(w.hub.o.WatchInterval)
	defer ticker.Stop()
	var said time.Time // of the last complaint; zero while they answer
	for {
		err := w.ask()
		switch {
		case w.hub.ctx.Err() != nil:
		case err != nil && time.Since(said) >= complainEvery:
			said = time.Now()
			w.hub.o.Logger.Warn("realtime: can't learn which sessions ended", "error", err)
		case err == nil && !said.IsZero():
			said = time.Time{}
			w.hub.o.Logger.Info("realtime: learns again which sessions ended")
		}
		select {
		case <-w.hub.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// ask learns what ended since it last asked.
func (w *watch) ask() error {
	ctx, cancel := context.WithTimeout(w.hub.ctx, 5*time.Second)
	defer cancel()
	if err := w.follow(ctx); err != nil {
		return err
	}
	return w.settle(ctx)
}

// follow reads the log of ended sessions up to its end.
func (w *watch) follow(ctx context.Context) error {
	started, begun := w.current(), time.Now()
	for {
		cursor := w.current()
		ids, reasons, next, err := w.ended(ctx, cursor)
		if cursorLost(err) {
			return w.restart(ctx)
		}
		if err != nil {
			return err
		}
		if next == "" {
			return errNoCursor
		}
		for i, id := range ids {
			reason := ""
			if i < len(reasons) {
				reason = reasons[i]
			}
			w.hub.disconnectAll(bySession, id, reason, w.asked)
		}
		w.answer(next)
		if len(ids) == 0 || next == cursor || started == "" {
			w.asked = begun
			return nil
		}
	}
}

var errNoCursor = errors.New("realtime: EndedSince returned no cursor")

// restart takes a new cursor and doubts each session that has sockets: what
// ended before the cursor is found by asking, what ends after it by the cursor.
func (w *watch) restart(ctx context.Context) error {
	_, _, next, err := w.ended(ctx, "")
	if err != nil {
		return err
	}
	if next == "" {
		return errNoCursor
	}
	w.doubted = w.hub.sessionIDs()
	w.answer(next)
	return nil
}

// settle asks about sessions in doubt, some at a time, and leaves off when it is
// time to follow the log again. Until none is left the hub counts as unanswered.
func (w *watch) settle(ctx context.Context) error {
	const together = 16
	for end := time.Now().Add(w.hub.o.WatchInterval); len(w.doubted) > 0 && time.Now().Before(end); {
		n := min(len(w.doubted), together)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i, id := range w.doubted[:n] {
			wg.Go(func() {
				alive, err := w.hub.sessions.Alive(ctx, id)
				if err == nil && !alive {
					w.hub.disconnectAll(bySession, id, "", time.Time{})
				}
				errs[i] = err
			})
		}
		wg.Wait()
		for i, id := range w.doubted[:n] {
			if errs[i] != nil {
				w.doubted = append(w.doubted, id)
			}
		}
		w.doubted = w.doubted[n:]
		if err := errors.Join(errs...); err != nil {
			return err
		}
		w.answer(w.current())
	}
	return nil
}

func (w *watch) current() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cursor
}

func (w *watch) answer(cursor string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cursor == "" {
		close(w.ready)
	}
	w.cursor = cursor
	if len(w.doubted) == 0 {
		w.answered = time.Now()
	}
}

// check closes everything when the sessions have been silent for too long: a
// socket whose session can't be asked about must not outlive it unnoticed.
func (w *watch) check(now time.Time) {
	if !w.blind(now) {
		return
	}
	for _, c := range w.hub.everyone() {
		c.disconnect(closeUnknown)
	}
}

func (w *watch) blind(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Sub(w.answered) >= w.hub.o.UnknownAfter
}

// wait returns once what ends from now on will be found; an error means that
// the hub can't tell.
func (w *watch) wait(ctx context.Context) error {
	select {
	case <-w.ready:
	default:
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		select {
		case <-w.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if w.blind(time.Now()) {
		return errors.New("realtime: the sessions don't answer")
	}
	return nil
}

func cursorLost(err error) bool {
	var lost interface{ CursorLost() bool }
	return errors.As(err, &lost) && lost.CursorLost()
}
