package model_test

import (
	"context"
	"errors"
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/session"
)

// liar is a store that breaks a rule where a function is set.
type liar struct {
	session.Store
	create  func(ctx context.Context, rec session.Record, epoch uint64) error
	read    func(rec session.Record, found bool) (session.Record, bool)
	replace func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error
	touch   func(ctx context.Context, key session.Key, seen, idle time.Time) error
	end     func(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error)
	endUser func(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error)
	since   func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error)
	list    func(recs []session.Record) []session.Record
	epoch   func(epoch uint64) uint64
	reap    func(ctx context.Context, now time.Time, limit int) ([]session.Ended, error)
}

func (l *liar) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	if l.create != nil {
		return l.create(ctx, rec, epoch)
	}
	return l.Store.Create(ctx, rec, epoch)
}

func (l *liar) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	rec, found, err := l.Store.Load(ctx, key)
	if l.read != nil {
		if !found {
			rec.Key = key
		}
		rec, found = l.read(rec, found)
	}
	return rec, found, err
}

func (l *liar) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	if l.replace != nil {
		return l.replace(ctx, old, rec, ifRev)
	}
	return l.Store.Replace(ctx, old, rec, ifRev)
}

func (l *liar) Touch(ctx context.Context, key session.Key, seen, idle time.Time) error {
	if l.touch != nil {
		return l.touch(ctx, key, seen, idle)
	}
	return l.Store.Touch(ctx, key, seen, idle)
}

func (l *liar) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	if l.end != nil {
		return l.end(ctx, id, reason, at)
	}
	return l.Store.End(ctx, id, reason, at)
}

func (l *liar) EndUser(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if l.endUser != nil {
		return l.endUser(ctx, userID, exceptID, reason, at)
	}
	return l.Store.EndUser(ctx, userID, exceptID, reason, at)
}

func (l *liar) EndedSince(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
	if l.since != nil {
		return l.since(ctx, cursor, limit)
	}
	return l.Store.EndedSince(ctx, cursor, limit)
}

func (l *liar) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	recs, err := l.Store.ListUser(ctx, userID)
	if l.list != nil {
		recs = l.list(recs)
	}
	return recs, err
}

func (l *liar) Epoch(ctx context.Context, userID string) (uint64, error) {
	epoch, err := l.Store.Epoch(ctx, userID)
	if l.epoch != nil {
		epoch = l.epoch(epoch)
	}
	return epoch, err
}

func (l *liar) Reap(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
	if l.reap != nil {
		return l.reap(ctx, now, limit)
	}
	return l.Store.Reap(ctx, now, limit)
}

// resurrect makes records that are gone come back, for Load alone.
func (l *liar) resurrect() (put func(session.Record)) {
	back := make(map[session.Key]session.Record)
	l.read = func(rec session.Record, found bool) (session.Record, bool) {
		if other, ok := back[rec.Key]; !found && ok {
			return other, true
		}
		return rec, found
	}
	return func(rec session.Record) { back[rec.Key] = rec }
}

// lies are stores that each break one promise. Where clients is set, the
// clients of the nodes notice, with the store's own answers not compared.
var lies = []struct {
	name    string
	clients bool
	tell    func(l *liar)
}{
	{"Create overlooks the epoch", true, func(l *liar) {
		l.create = func(ctx context.Context, rec session.Record, _ uint64) error {
			return l.Store.Create(ctx, rec, session.AnyEpoch)
		}
	}},
	{"Replace inserts", true, func(l *liar) {
		put := l.resurrect()
		l.replace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			err := l.Store.Replace(ctx, old, rec, ifRev)
			if errors.Is(err, session.ErrNotFound) {
				put(rec)
				return nil
			}
			return err
		}
	}},
	{"Replace does not compare", true, func(l *liar) {
		l.replace = func(ctx context.Context, old session.Key, rec session.Record, _ uint64) error {
			now, found, err := l.Store.Load(ctx, old)
			if err != nil || !found {
				return errors.Join(err, session.ErrNotFound)
			}
			return l.Store.Replace(ctx, old, rec, now.Rev)
		}
	}},
	{"Replace leaves the old key", true, func(l *liar) {
		put := l.resurrect()
		l.replace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			before, _, _ := l.Store.Load(ctx, old)
			err := l.Store.Replace(ctx, old, rec, ifRev)
			if err == nil && old != rec.Key {
				put(before)
			}
			return err
		}
	}},
	{"Replace drops the data", true, func(l *liar) {
		l.replace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			rec.Data = nil
			return l.Store.Replace(ctx, old, rec, ifRev)
		}
	}},
	{"Touch inserts", false, func(l *liar) {
		put := l.resurrect()
		read, seenBefore := l.read, make(map[session.Key]session.Record)
		l.read = func(rec session.Record, found bool) (session.Record, bool) {
			if found {
				seenBefore[rec.Key] = rec
			}
			return read(rec, found)
		}
		l.touch = func(ctx context.Context, key session.Key, seen, idle time.Time) error {
			if _, found, _ := l.Store.Load(ctx, key); !found {
				put(seenBefore[key])
			}
			return l.Store.Touch(ctx, key, seen, idle)
		}
	}},
	{"Touch raises Rev", false, func(l *liar) {
		l.touch = func(ctx context.Context, key session.Key, seen, idle time.Time) error {
			if err := l.Store.Touch(ctx, key, seen, idle); err != nil {
				return err
			}
			rec, found, err := l.Store.Load(ctx, key)
			if err != nil || !found {
				return err
			}
			return l.Store.Replace(ctx, key, rec, rec.Rev)
		}
	}},
	{"Touch does nothing", true, func(l *liar) {
		l.touch = func(context.Context, session.Key, time.Time, time.Time) error { return nil }
	}},
	{"End does nothing", true, func(l *liar) {
		l.end = func(context.Context, string, session.Reason, time.Time) (bool, error) { return true, nil }
	}},
	{"End always says true", false, func(l *liar) {
		l.end = func(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
			_, err := l.Store.End(ctx, id, reason, at)
			return true, err
		}
	}},
	{"EndUser spares nobody", true, func(l *liar) {
		l.endUser = func(ctx context.Context, userID, _ string, reason session.Reason, at time.Time) ([]session.Ended, error) {
			return l.Store.EndUser(ctx, userID, "", reason, at)
		}
	}},
	{"EndUser spares one more", true, func(l *liar) {
		l.endUser = func(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
			if recs, _ := l.Store.ListUser(ctx, userID); exceptID == "" && len(recs) > 1 {
				exceptID = recs[0].ID
			}
			return l.Store.EndUser(ctx, userID, exceptID, reason, at)
		}
	}},
	{"Epoch stands still", true, func(l *liar) { l.epoch = func(uint64) uint64 { return 0 } }},
	{"EndedSince skips", true, func(l *liar) {
		l.since = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			if len(ended) > 1 {
				ended = ended[1:]
			}
			return ended, next, err
		}
	}},
	{"EndedSince repeats", true, func(l *liar) {
		l.since = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			if cursor != "" && len(ended) > 1 {
				next = cursor
			}
			return ended, next, err
		}
	}},
	{"EndedSince reverses", false, func(l *liar) {
		l.since = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			for i, j := 0, len(ended)-1; i < j; i, j = i+1, j-1 {
				ended[i], ended[j] = ended[j], ended[i]
			}
			return ended, next, err
		}
	}},
	{"ListUser forgets one", true, func(l *liar) {
		l.list = func(recs []session.Record) []session.Record { return recs[:max(len(recs)-1, 0)] }
	}},
	{"Reap takes the living", false, func(l *liar) {
		l.reap = func(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
			return l.Store.Reap(ctx, now.Add(10*time.Minute), limit)
		}
	}},
}

// lieRuns is within how many runs a lie is to be found at the latest. Most take a
// few, and the rest some hundred.
const lieRuns = 6000

// The model finds each of these stores.
func TestEveryLieIsFound(t *testing.T) {
	for _, lie := range lies {
		open := func() session.Store {
			l := &liar{Store: session.NewMemoryStore(nil)}
			lie.tell(l)
			return l
		}
		t.Run(lie.name+"/store", func(t *testing.T) { find(t, open, true) })
		if lie.clients {
			t.Run(lie.name+"/clients", func(t *testing.T) { find(t, open, false) })
		}
	}
}

func find(t *testing.T, open func() session.Store, strict bool) {
	t.Helper()
	require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(lieRuns)))
	n, broken := 0, ""
	rapid.Check(t, func(t *rapid.T) {
		if broken != "" {
			return
		}
		n++
		rapid.SyncTest(t, func(t *rapid.T) {
			simulate(t, open(), true, strict, func(what string) { broken = what })
		})
	})
	require.NotEmpty(t, broken, "%d runs do not find it", lieRuns)
	t.Logf("found in run %d: %s", n, broken)
}
