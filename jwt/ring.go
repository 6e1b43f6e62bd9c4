package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// RingOptions say how keys are made and rotated. The zero value is right for
// most programs. Nodes on one store should have the same options.
type RingOptions struct {
	// Algorithm of the keys that are made from now on: "ES256" or "EdDSA"
	// (Ed25519). Defaults to "ES256".
	Algorithm string

	// Rotate is how long a key signs, at least twice Publish. Defaults to 30 days.
	Rotate time.Duration

	// Publish is how long before it signs a key is in the JWKS: at least twice
	// MaxAge + MaxStale, so that everybody who verifies has it in time. Defaults
	// to 24 hours.
	Publish time.Duration

	// Retire is how long after it has signed for the last time a key stays in the
	// JWKS, at least 20 minutes: longer than any token lives. Defaults to 1 hour.
	Retire time.Duration

	// MaxAge is how long others may cache the JWKS. Defaults to 15 minutes.
	MaxAge time.Duration

	// Reread is how old keys read from the store may get before they are read
	// again, and so how soon a key removed from the store stops verifying.
	// Defaults to 30 seconds.
	Reread time.Duration

	// MaxStale is how long the keys last read go on signing and verifying while
	// the store is down, at least Reread. Defaults to 1 hour.
	MaxStale time.Duration

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// A Ring is the signing keys of one issuer, kept in a [KeyStore] and shared by
// all its nodes. Each key is published, then signs, then retires, then is gone,
// by the clock; a call that finds the next key due makes it. There is nothing to
// start or close: a Ring reads its store in the course of its calls, in the
// background where the keys at hand will do.
//
// Only keys whose private half opens under the sealing keys are used, and their
// public half is derived from it. So who can read the store can't sign, and who
// can write to it can't plant a key of their own.
//
// To withdraw a key that has leaked, remove it from the store: within twice Reread
// no node that reaches the store signs with it or verifies it. A Ring is safe for concurrent use.
type Ring struct {
	store   KeyStore
	sealing SealingKeys
	o       RingOptions

	keys atomic.Pointer[keySet]

	mu      sync.Mutex
	reading *reading // in progress, or nil
	last    *reading // the one before
	failing bool     // whether that failed
}

// reading is one look into the store; many callers may wait for it.
type reading struct {
	began time.Time
	done  chan struct{}
	err   error // valid after done
}

const (
	// rereadAtMost is how often the store is asked at most: one flood of unknown
	// key ids is one read a second.
	rereadAtMost = time.Second

	// readTimeout bounds a read of the store. Who waits for it waits storeTimeout
	// at most: a store that ignores its context must not hold requests.
	readTimeout  = 5 * time.Second
	storeTimeout = readTimeout + time.Second

	keyIDLen = 43 // SHA-256 in base64url
)

var errStuck = errors.New("the key store does not answer")

// NewRing returns the ring of the keys in store. It doesn't touch the store: the
// first key is made, and signs at once, when it is first needed.
func NewRing(store KeyStore, sealing SealingKeys, o *RingOptions) (*Ring, error) {
	r := &Ring{store: store, sealing: sealing}
	if o != nil {
		r.o = *o
	}
	var errs []error
	if store == nil {
		errs = append(errs, errors.New("a key store is needed: NewMemoryKeyStore for one process without a database"))
	}
	if sealing.IsZero() {
		errs = append(errs, errors.New("sealing keys are needed: ParseSealingKeys or GenerateSealingKeys"))
	}
	if err := r.o.complete(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("jwt: NewRing: %w", errors.Join(errs...))
	}
	return r, nil
}

func (o *RingOptions) complete() error {
	if o.Algorithm == "" {
		o.Algorithm = algES256
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	for _, d := range []struct {
		of    *time.Duration
		value time.Duration
	}{
		{&o.Rotate, 30 * 24 * time.Hour}, {&o.Publish, 24 * time.Hour}, {&o.Retire, time.Hour},
		{&o.MaxAge, 15 * time.Minute}, {&o.Reread, 30 * time.Second}, {&o.MaxStale, time.Hour},
	} {
		if *d.of == 0 {
			*d.of = d.value
		}
	}
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	check(o.Algorithm == algES256 || o.Algorithm == algEdDSA, "Algorithm is %q: use ES256 or EdDSA", o.Algorithm)
	check(o.MaxAge >= time.Second, "MaxAge is %v: use at least 1s", o.MaxAge)
	check(o.Reread >= time.Second, "Reread is %v: use at least 1s", o.Reread)
	check(o.MaxStale >= o.Reread, "MaxStale is %v: use at least Reread, %v", o.MaxStale, o.Reread)
	check(o.Publish >= 2*(o.MaxAge+o.MaxStale), "Publish is %v: use at least twice MaxAge + MaxStale, %v", o.Publish, 2*(o.MaxAge+o.MaxStale))
	check(o.Rotate >= 2*o.Publish, "Rotate is %v: use at least twice Publish, %v", o.Rotate, 2*o.Publish)
	check(o.Retire >= 20*time.Minute, "Retire is %v: use at least 20m", o.Retire)
	return errors.Join(errs...)
}

// Key implements [KeySource]. A key that is known costs no I/O; an unknown id
// has the store read again, at most once a second, and never by those who know
// their key.
func (r *Ring) Key(ctx context.Context, id string) (Key, error) {
	if k := r.current(ctx).find(id, time.Now()); k != nil {
		return k.Key, nil
	}
	if len(id) != keyIDLen { // not one of ours: nothing to look for
		return Key{}, ErrUnknownKey
	}
	if err := r.reread(ctx); err != nil {
		return Key{}, err
	}
	if k := r.current(ctx).find(id, time.Now()); k != nil {
		return k.Key, nil
	}
	return Key{}, ErrUnknownKey
}

// signing returns keys of which one signs, and that one, or an [*Error].
func (r *Ring) signing(ctx context.Context) (*keySet, *ringKey, error) {
	set := r.current(ctx)
	if k := set.signer(time.Now()); k != nil {
		return set, k, nil
	}
	if err := r.reread(ctx); err != nil {
		return nil, nil, unavailable(err)
	}
	set = r.current(ctx)
	if k := set.signer(time.Now()); k != nil {
		return set, k, nil
	}
	return nil, nil, unavailable(errors.New("no key could be added to the store"))
}

// current returns the keys at hand, nil if there are none or they are older than
// MaxStale. When they are older than Reread it has them read again: in the
// background, so that a busy node never waits; but a node that has been idle
// waits, lest it trust a key that was withdrawn meanwhile, unless the store is
// known to be down.
func (r *Ring) current(ctx context.Context) *keySet {
	s := r.keys.Load()
	if s == nil {
		return nil
	}
	age := time.Since(s.read)
	if age < r.o.Reread {
		return s
	}
	in, down := r.start()
	if age >= 2*r.o.Reread && !down {
		if in.wait(ctx) != nil && ctx.Err() != nil {
			return nil // who is in a hurry gets no older keys than others
		}
		s = r.keys.Load()
	}
	if time.Since(s.read) > r.o.MaxStale {
		return nil
	}
	return s
}

// reread reads the store, or waits for who is reading it. When it was read less
// than rereadAtMost ago it returns what came of that.
func (r *Ring) reread(ctx context.Context) error {
	in, _ := r.start()
	return in.wait(ctx)
}

func (in *reading) wait(ctx context.Context) error {
	stuck := time.NewTimer(storeTimeout - time.Since(in.began))
	defer stuck.Stop()
	select {
	case <-in.done:
		return in.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-stuck.C:
		return errStuck
	}
}

// start returns the reading in progress, else the last one if it is recent, else
// a new one, and whether the store was down a moment ago or is stuck. The goroutine of a
// reading ends by itself, at the latest when the store obeys its context after
// readTimeout; there is never a second one.
func (r *Ring) start() (in *reading, down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	down = r.failing && r.last != nil && time.Since(r.last.began) < 3*readTimeout
	if r.reading != nil {
		if time.Since(r.reading.began) >= storeTimeout {
			r.tell(errStuck)
			down = true
		}
		return r.reading, down
	}
	if r.last != nil && time.Since(r.last.began) < rereadAtMost {
		return r.last, down
	}
	in = &reading{began: time.Now(), done: make(chan struct{})}
	r.reading = in
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		keys, err := r.load(ctx)
		if err == nil {
			r.keys.Store(keys)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tell(err)
		in.err = err
		r.reading, r.last = nil, in
		close(in.done)
	}()
	return in, down
}

// Format prints nothing of what the ring holds, which others may be writing.
func (*Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "jwt.Ring") }

// tell logs that the store went down or came back, once each.
func (r *Ring) tell(err error) {
	if failing := err != nil; failing != r.failing {
		r.failing = failing
		if failing {
			r.o.Logger.Warn("jwt: the key store can't be read; going on with the keys at hand", "error", err, "for", r.o.MaxStale)
		} else {
			r.o.Logger.Info("jwt: the key store can be read again")
		}
	}
}
