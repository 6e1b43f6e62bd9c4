package model_test

import (
	"context"
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatewire/gatewire/internal/liar"
	"github.com/gatewire/gatewire/session"
)

// lies are stores that each break one promise. Where clients is set, the
// clients of the nodes notice, with the store's own answers not compared.
var lies = []struct {
	name    string
	clients bool
	tell    func(l *liar.Store)
}{
	{"Create overlooks the epoch", true, liar.CreateOverlooksTheEpoch},
	{"Replace inserts", true, liar.ReplaceInserts},
	{"Replace does not compare", true, liar.ReplaceDoesNotCompare},
	{"Replace leaves the old key", true, liar.ReplaceLeavesTheOldKey},
	{"Replace drops the data", true, func(l *liar.Store) {
		l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			rec.Data = nil
			return l.Store.Replace(ctx, old, rec, ifRev)
		}
	}},
	{"Touch inserts", false, func(l *liar.Store) {
		put := l.Resurrect()
		read, seenBefore := l.OnLoad, make(map[session.Key]session.Record)
		l.OnLoad = func(rec session.Record, found bool) (session.Record, bool) {
			if found {
				seenBefore[rec.Key] = rec
			}
			return read(rec, found)
		}
		l.OnTouch = func(ctx context.Context, key session.Key, seen, idle time.Time) error {
			if _, found, _ := l.Store.Load(ctx, key); !found {
				put(seenBefore[key])
			}
			return l.Store.Touch(ctx, key, seen, idle)
		}
	}},
	{"Touch raises Rev", false, liar.TouchRaisesRev},
	{"Touch does nothing", true, func(l *liar.Store) {
		l.OnTouch = func(context.Context, session.Key, time.Time, time.Time) error { return nil }
	}},
	{"End does nothing", true, func(l *liar.Store) {
		l.OnEnd = func(context.Context, string, session.Reason, time.Time) (bool, error) { return true, nil }
	}},
	{"End always says true", false, liar.EndAlwaysSaysTrue},
	{"EndUser spares nobody", true, liar.EndUserSparesNobody},
	{"EndUser spares one more", true, func(l *liar.Store) {
		l.OnEndUser = func(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
			if recs, _ := l.Store.ListUser(ctx, userID); exceptID == "" && len(recs) > 1 {
				exceptID = recs[0].ID
			}
			return l.Store.EndUser(ctx, userID, exceptID, reason, at)
		}
	}},
	{"Epoch stands still", true, liar.EpochStandsStill},
	{"EndedSince skips", true, func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			if len(ended) > 1 {
				ended = ended[1:]
			}
			return ended, next, err
		}
	}},
	{"EndedSince repeats", true, func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			if cursor != "" && len(ended) > 1 {
				next = cursor
			}
			return ended, next, err
		}
	}},
	{"EndedSince reverses", false, func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			for i, j := 0, len(ended)-1; i < j; i, j = i+1, j-1 {
				ended[i], ended[j] = ended[j], ended[i]
			}
			return ended, next, err
		}
	}},
	{"ListUser forgets one", true, func(l *liar.Store) {
		l.OnListUser = func(recs []session.Record) []session.Record { return recs[:max(len(recs)-1, 0)] }
	}},
	{"Reap takes the living", false, func(l *liar.Store) {
		l.OnReap = func(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
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
			l := &liar.Store{Store: session.NewMemoryStore(nil)}
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
