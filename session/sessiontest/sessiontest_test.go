package sessiontest_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/liar"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/sessiontest"
)

// lies are stores that each break one promise, with the rules that must tell.
var lies = []struct {
	name  string
	tell  func(l *liar.Store)
	rules []string
}{
	{"Create overlooks what is there", func(l *liar.Store) {
		l.OnCreate = func(ctx context.Context, rec session.Record, epoch uint64) error {
			if err := l.Store.Create(ctx, rec, epoch); !errors.Is(err, session.ErrExists) {
				return err
			}
			return nil
		}
	}, []string{"C1"}},
	{"Create overlooks the epoch", liar.CreateOverlooksTheEpoch, []string{"C2", "S22"}},
	{"Load drops a field", func(l *liar.Store) {
		l.OnLoad = func(rec session.Record, found bool) (session.Record, bool) { rec.Scopes = nil; return rec, found }
	}, []string{"L1"}},
	{"Load shares memory", func(l *liar.Store) {
		shared := make(map[session.Key][]byte)
		l.OnLoad = func(rec session.Record, found bool) (session.Record, bool) {
			if shared[rec.Key] == nil {
				shared[rec.Key] = rec.Data
			}
			rec.Data = shared[rec.Key]
			return rec, found
		}
	}, []string{"L1"}},
	{"Replace drops a field", func(l *liar.Store) {
		l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			rec.UserID = ""
			return l.Store.Replace(ctx, old, rec, ifRev)
		}
	}, []string{"U1"}},
	{"Replace inserts", liar.ReplaceInserts, []string{"U2", "U3", "S3", "S4", "J14"}},
	{"Replace does not compare", liar.ReplaceDoesNotCompare, []string{"U2", "S5", "J14"}},
	{"Replace leaves the old key", liar.ReplaceLeavesTheOldKey, []string{"U3", "S4"}},
	{"Replace moves Seen back", func(l *liar.Store) {
		var last session.Record
		l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			last = rec
			return l.Store.Replace(ctx, old, rec, ifRev)
		}
		l.OnLoad = func(rec session.Record, found bool) (session.Record, bool) {
			if rec.Key == last.Key {
				rec.Seen, rec.IdleExpires = last.Seen, last.IdleExpires
			}
			return rec, found
		}
	}, []string{"U4"}},
	{"Touch raises Rev", liar.TouchRaisesRev, []string{"T1"}},
	{"Touch inserts", func(l *liar.Store) {
		put := l.Resurrect()
		read := l.OnLoad
		var last session.Record
		l.OnLoad = func(rec session.Record, found bool) (session.Record, bool) {
			if found {
				last = rec
			}
			return read(rec, found)
		}
		l.OnTouch = func(ctx context.Context, key session.Key, seen, idle time.Time) error {
			if _, found, _ := l.Store.Load(ctx, key); !found {
				last.Key, last.Kind, last.UserID = key, session.KindCookie, "u1"
				last.IdleExpires, last.Expires = idle, idle
				put(last)
			}
			return l.Store.Touch(ctx, key, seen, idle)
		}
	}, []string{"T2", "S8"}},
	{"End does not log", func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, _ string, limit int) ([]session.Ended, string, error) {
			return l.Store.EndedSince(ctx, "", limit)
		}
	}, []string{"E1", "E2", "E4", "W1", "W2", "R1", "S3"}},
	{"End always says true", liar.EndAlwaysSaysTrue, []string{"E1"}},
	{"EndUser spares nobody", liar.EndUserSparesNobody, []string{"E2"}},
	{"Epoch stands still", liar.EpochStandsStill, []string{"C2", "E2", "E3", "S22"}},
	{"Epoch returns", func(l *liar.Store) {
		l.OnEpoch = func(epoch uint64) uint64 { return epoch % 2 }
	}, []string{"E3"}},
	{"EndUserAt overlooks the epoch", func(l *liar.Store) {
		l.OnEndUserAt = func(ctx context.Context, userID, exceptID string, _ uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
			return l.Store.EndUser(ctx, userID, exceptID, reason, at)
		}
	}, []string{"E5"}},
	{"EndUserAt spares nobody", func(l *liar.Store) {
		l.OnEndUserAt = func(ctx context.Context, userID, _ string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
			return l.Store.EndUserAt(ctx, userID, "", epoch, reason, at)
		}
	}, []string{"E5"}},
	{"EndUserAt compares first and raises later", func(l *liar.Store) {
		l.OnEndUserAt = func(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
			if now, err := l.Store.Epoch(ctx, userID); err != nil || now != epoch {
				return nil, errors.Join(err, session.ErrEpoch)
			}
			time.Sleep(time.Millisecond)
			return l.Store.EndUser(ctx, userID, exceptID, reason, at)
		}
	}, []string{"E5"}},
	{"EndOrigin takes any of subject and sid", func(l *liar.Store) {
		l.OnEndOrigin = func(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
			if o.SID != "" {
				o.Subject = ""
			}
			return l.Store.EndOrigin(ctx, o, reason, at)
		}
	}, []string{"E4"}},
	{"EndOrigin of nothing is no error", func(l *liar.Store) {
		l.OnEndOrigin = func(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
			ended, err := l.Store.EndOrigin(ctx, o, reason, at)
			if errors.Is(err, session.ErrOrigin) {
				err = nil
			}
			return ended, err
		}
	}, []string{"E4"}},
	{"EndOrigin folds case", func(l *liar.Store) {
		l.OnEndOrigin = func(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
			o.SID = strings.ToLower(o.SID)
			return l.Store.EndOrigin(ctx, o, reason, at)
		}
	}, []string{"E4"}},
	{"EndOrigin goes by the first Origin", func(l *liar.Store) {
		l.OnReplace = func(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
			if before, found, _ := l.Store.Load(ctx, old); found {
				rec.Origin = before.Origin
			}
			return l.Store.Replace(ctx, old, rec, ifRev)
		}
	}, []string{"E4"}},
	{"EndOrigin forgets those renewed meanwhile", func(l *liar.Store) {
		var mu sync.Mutex
		first := make(map[string]session.Key)
		l.OnCreate = func(ctx context.Context, rec session.Record, epoch uint64) error {
			mu.Lock()
			defer mu.Unlock()
			first[rec.ID] = rec.Key
			return l.Store.Create(ctx, rec, epoch)
		}
		put := l.Resurrect()
		l.OnEndOrigin = func(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
			list, _ := l.Store.ListUser(ctx, "u1")
			ended, err := l.Store.EndOrigin(ctx, o, reason, at)
			mu.Lock()
			defer mu.Unlock()
			for _, rec := range list {
				if rec.Key != first[rec.ID] && slices.ContainsFunc(ended, func(e session.Ended) bool { return e.ID == rec.ID }) {
					put(rec)
				}
			}
			return ended, err
		}
	}, []string{"E4"}},
	{"EndOrigin is not one step", func(l *liar.Store) {
		l.OnEndOrigin = func(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) (ended []session.Ended, err error) {
			list, _ := l.Store.ListUser(ctx, "u1")
			time.Sleep(time.Millisecond)
			if o.Issuer == "" || o.Subject == "" && o.SID == "" {
				return nil, session.ErrOrigin
			}
			for _, rec := range list {
				if rec.Origin.Issuer == o.Issuer && (o.Subject == "" || rec.Origin.Subject == o.Subject) && (o.SID == "" || rec.Origin.SID == o.SID) {
					_, _ = l.Store.End(ctx, rec.ID, reason, at)
					ended = append(ended, session.Ended{ID: rec.ID, UserID: rec.UserID, Reason: reason, At: at})
				}
			}
			return ended, nil
		}
	}, []string{"E4"}},
	{"ListUser is oldest first", func(l *liar.Store) {
		l.OnListUser = func(recs []session.Record) []session.Record { slices.Reverse(recs); return recs }
	}, []string{"I1"}},
	{"ListUser lists the dead", func(l *liar.Store) {
		var all []session.Record
		l.OnListUser = func(recs []session.Record) []session.Record {
			if len(recs) > len(all) {
				all = recs
			}
			return all
		}
		l.OnCreate = func(ctx context.Context, rec session.Record, epoch uint64) error {
			err := l.Store.Create(ctx, rec, epoch)
			_, _ = l.ListUser(ctx, rec.UserID)
			return err
		}
	}, []string{"E1", "S3"}},
	{"EndedSince overlooks the limit", func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, cursor string, _ int) ([]session.Ended, string, error) {
			return l.Store.EndedSince(ctx, cursor, 1000)
		}
	}, []string{"W1"}},
	{"EndedSince skips", func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			if cursor != "" && len(ended) == limit {
				_, next, err = l.Store.EndedSince(ctx, "", limit)
			}
			return ended, next, err
		}
	}, []string{"W1"}},
	{"EndedSince takes any cursor", func(l *liar.Store) {
		l.OnEndedSince = func(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
			ended, next, err := l.Store.EndedSince(ctx, cursor, limit)
			if errors.Is(err, session.ErrCursorLost) {
				return l.Store.EndedSince(ctx, "", limit)
			}
			return ended, next, err
		}
	}, []string{"W2"}},
	{"Reap overlooks the limit", func(l *liar.Store) {
		l.OnReap = func(ctx context.Context, now time.Time, _ int) ([]session.Ended, error) {
			return l.Store.Reap(ctx, now, 1000)
		}
	}, []string{"R1"}},
	{"Reap takes the living", func(l *liar.Store) {
		l.OnReap = func(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
			return l.Store.Reap(ctx, now.Add(time.Second), limit)
		}
	}, []string{"R1"}},
}

func TestEveryRuleBites(t *testing.T) {
	bitten := make(map[string]bool)
	for _, lie := range lies {
		for _, id := range lie.rules {
			bitten[id] = true
			t.Run(lie.name+"/"+id, func(t *testing.T) {
				l := &liar.Store{Store: session.NewMemoryStore(nil)}
				lie.tell(l)
				failure := sessiontest.Try(t.Context(), id, l)
				require.NotEmpty(t, failure, "rule %s does not notice", id)
				require.Contains(t, failure, "rule "+id+". ")
			})
		}
	}
	for _, id := range sessiontest.Rules() {
		require.True(t, bitten[id], "no lie for rule %s", id)
		require.Empty(t, sessiontest.Try(t.Context(), id, session.NewMemoryStore(nil)))
	}
}

// The suite prints the sentences of the Store comment: they are the same.
func TestSentences(t *testing.T) {
	source, err := os.ReadFile("../store.go")
	require.NoError(t, err)
	for id, sentence := range sessiontest.Sentences() {
		require.True(t, strings.Contains(string(source), "//   - "+id+". "+sentence), "store.go says rule %s otherwise", id)
	}
}
