package accounts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Limit allows Burst tries at once and one more every Every.
type Limit struct {
	Burst int
	Every time.Duration
}

func (l Limit) window() time.Duration { return time.Duration(l.Burst) * l.Every }

// Limits are how often one may try. Networks are single IPv4 addresses and IPv6
// /64s. Only failed sign-ins count; a try whose password is right is given back.
//
// Nobody can lock somebody else out: what counts against an account counts per
// network. PerAccount, over all networks, only slows: while it is used up, a
// network is refused that has used up PerAccountSlow for that account as well,
// so that one which was not there before has a try.
type Limits struct {
	PerAccountNetwork Limit // failed sign-ins to one account from one network; 30 at once, then one a minute
	PerAccount        Limit // failed sign-ins to one account, all networks together; 35, then one a minute
	PerAccountSlow    Limit // what PerAccount, used up, leaves each network for that account; 2, then one every 5 minutes
	PerNetwork        Limit // failed sign-ins from one network, all accounts together; 200, then 10 every 3 seconds
	SignUps           Limit // accounts made from one network; 300, then 5 a second
}

// DefaultLimits are for zero fields of [Limits].
func DefaultLimits() Limits {
	return Limits{
		PerAccountNetwork: Limit{Burst: 30, Every: time.Minute},
		PerAccount:        Limit{Burst: 35, Every: time.Minute},
		PerAccountSlow:    Limit{Burst: 2, Every: 5 * time.Minute},
		PerNetwork:        Limit{Burst: 200, Every: 300 * time.Millisecond},
		SignUps:           Limit{Burst: 300, Every: 200 * time.Millisecond},
	}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	for _, f := range [...]struct{ field, or *Limit }{
		{&l.PerAccountNetwork, &d.PerAccountNetwork}, {&l.PerAccount, &d.PerAccount},
		{&l.PerAccountSlow, &d.PerAccountSlow}, {&l.PerNetwork, &d.PerNetwork}, {&l.SignUps, &d.SignUps},
	} {
		if *f.field == (Limit{}) {
			*f.field = *f.or
		}
	}
	return l
}

func (l Limits) check() error {
	var errs []error
	for name, limit := range map[string]Limit{
		"PerAccountNetwork": l.PerAccountNetwork, "PerAccount": l.PerAccount,
		"PerAccountSlow": l.PerAccountSlow, "PerNetwork": l.PerNetwork, "SignUps": l.SignUps,
	} {
		if limit.Burst < 1 || limit.Burst > 1e6 || limit.Every < time.Millisecond || limit.Every > 24*time.Hour {
			errs = append(errs, fmt.Errorf("accounts: Limits.%s: want a Burst of 1 to 1000000 and an Every of a millisecond to a day", name))
		}
	}
	return errors.Join(errs...)
}

// A Limiter counts tries by key. Its methods may be called concurrently, also by
// several nodes; each is one atomic step. Keys are short and hold no secret and
// no address of mail. One key is always used with one limit.
//
//   - L1. Take takes one try from the key and returns 0, or takes nothing and returns how long until there is one. Of N concurrent calls no more succeed than there are tries.
//   - L2. Give gives one try back, never beyond the limit's burst.
//   - L3. A key that was not used for Burst×Every is as new.
//
// An error means that it could not tell; the request is then refused with 503.
type Limiter interface {
	Take(ctx context.Context, key string, l Limit) (wait time.Duration, err error)
	Give(ctx context.Context, key string, l Limit) error
}

// maxKeys bounds the memory of a MemoryLimiter to some 30 MB.
const maxKeys = 1 << 18

// MemoryLimiter is a [Limiter] for one process. It keeps at most 262,144 keys;
// beyond them it forgets those that have used the least.
type MemoryLimiter struct {
	mu sync.Mutex
	// full is when a key has all its tries again (the generic cell rate
	// algorithm): a try moves it on by Every.
	full map[string]time.Time
}

// NewMemoryLimiter returns an empty limiter.
func NewMemoryLimiter() *MemoryLimiter { return &MemoryLimiter{full: make(map[string]time.Time)} }

// Take implements [Limiter].
func (m *MemoryLimiter) Take(_ context.Context, key string, l Limit) (time.Duration, error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	full, known := m.full[key]
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.Every)
	if wait := full.Sub(now) - l.window(); wait > 0 {
		return wait, nil
	}
	if !known {
		m.makeRoom(now)
	}
	m.full[key] = full
	return 0, nil
}

// Give implements [Limiter].
func (m *MemoryLimiter) Give(_ context.Context, key string, l Limit) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if full, known := m.full[key]; known {
		if full = full.Add(-l.Every); full.After(time.Now()) {
			m.full[key] = full
		} else {
			delete(m.full, key)
		}
	}
	return nil
}

// Len is how many keys are kept.
func (m *MemoryLimiter) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.full)
}

// makeRoom looks at a few keys, in the map's random order: those that are as new
// go, and when the map is full the one of them that is nearest to it.
func (m *MemoryLimiter) makeRoom(now time.Time) {
	var victim string
	var least time.Time
	looked := 0
	for key, full := range m.full {
		if !full.After(now) {
			delete(m.full, key)
		} else if victim == "" || full.Before(least) {
			victim, least = key, full
		}
		if looked++; looked == 8 {
			break
		}
	}
	if len(m.full) >= maxKeys {
		delete(m.full, victim)
	}
}
