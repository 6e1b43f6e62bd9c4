package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatewire/gatewire/internal/sqldb"
	"github.com/gatewire/gatewire/session"
)

// keepLog is how far back the log of ended sessions reaches at least. Readers
// are promised 15 minutes; the rest is for clocks that disagree.
const keepLog = time.Hour

// pruneBatch is how many log entries one transaction of Reap forgets at least, if
// there are as many, and pruneTimes how many more of them one Reap makes for
// that: what a minute of sign-outs has logged must go in a minute, or the log
// grows for ever.
const (
	pruneBatch = 1000
	pruneTimes = 60
)

// maxReap bounds one transaction of Reap, whatever the caller's limit.
const maxReap = 1 << 20

// End implements [session.Store].
func (s *Store) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	if err := s.fits(column{"reason", string(reason), shortColumn}); err != nil {
		return false, s.db.Wrap("end", err)
	}
	var ended []session.Ended
	err := s.db.Tx(ctx, "end", func(ctx context.Context, tx *sqldb.Tx) (err error) {
		seq, err := s.lock(ctx, tx)
		if err != nil {
			return err
		}
		ended, err = s.end(ctx, tx, seq, s.queries.ending.one, seq, string(reason), micros(at), id)
		if err == nil && len(ended) == 0 {
			return sqldb.ErrUnchanged
		}
		return err
	})
	return err == nil && len(ended) > 0, err
}

// EndUser implements [session.Store].
func (s *Store) EndUser(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	return s.endUser(ctx, userID, exceptID, nil, reason, at)
}

// EndUserAt implements [session.Store].
func (s *Store) EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
	return s.endUser(ctx, userID, exceptID, &epoch, reason, at)
}

// endUser compares the epoch unless it is nil.
func (s *Store) endUser(ctx context.Context, userID, exceptID string, epoch *uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
	if err := s.fits(column{"user id", userID, longColumn}, column{"reason", string(reason), shortColumn}); err != nil {
		return nil, s.db.Wrap("end user", err)
	}
	var ended []session.Ended
	err := s.db.Tx(ctx, "end user", func(ctx context.Context, tx *sqldb.Tx) error {
		if err := tx.Lock(ctx, userLock(userID), false); err != nil {
			return err
		}
		seq, err := s.lock(ctx, tx)
		if err != nil {
			return err
		}
		if epoch != nil {
			var now int64
			if err := tx.Row(ctx, userEpoch, []any{userID}, &now); err != nil {
				return err
			}
			if uint64(now) != *epoch {
				return session.ErrEpoch
			}
		}
		seq++ // the epoch: a number no user's epoch ever was
		if _, err := tx.Exec(ctx, s.queries.raiseEpoch, userID, seq); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, moveHead, seq); err != nil {
			return err
		}
		if userID == "" { // sessions that nobody has signed in to are no user's
			return nil
		}
		ended, err = s.end(ctx, tx, seq, s.queries.ending.user, seq, string(reason), micros(at), userID, exceptID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// EndOrigin implements [session.Store].
func (s *Store) EndOrigin(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
	statement, args := s.queries.ending.sid, []any{o.Issuer, o.SID, o.Subject}
	if o.SID == "" {
		statement, args = s.queries.ending.subject, []any{o.Issuer, o.Subject}
	}
	if o.Issuer == "" || o.SID == "" && o.Subject == "" {
		return nil, session.ErrOrigin
	}
	if err := s.fits(column{"reason", string(reason), shortColumn}); err != nil {
		return nil, s.db.Wrap("end origin", err)
	}
	var ended []session.Ended
	err := s.db.Tx(ctx, "end origin", func(ctx context.Context, tx *sqldb.Tx) error {
		seq, err := s.lock(ctx, tx)
		if err != nil {
			return err
		}
		ended, err = s.end(ctx, tx, seq, statement, append([]any{seq, string(reason), micros(at)}, args...)...)
		if err == nil && len(ended) == 0 {
			return sqldb.ErrUnchanged
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// Reap implements [session.Store].
func (s *Store) Reap(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
	limit = min(max(limit, 0), maxReap) // to SQLite a negative limit is none
	before := micros(now.Add(-keepLog))
	var ended []session.Ended
	var more bool
	err := s.db.Tx(ctx, "reap", func(ctx context.Context, tx *sqldb.Tx) error {
		seq, err := s.lock(ctx, tx)
		if err != nil {
			return err
		}
		ended, err = s.end(ctx, tx, seq, s.queries.ending.dead, seq, string(session.ReasonExpired), micros(now), micros(now), limit)
		if err != nil {
			return err
		}
		pruned, err := prune(ctx, tx, before, 2*limit+pruneBatch)
		more = pruned == 2*limit+pruneBatch
		if err == nil && len(ended) == 0 && pruned == 0 {
			return sqldb.ErrUnchanged
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	// Between these, whoever ends sessions has their turn.
	for n := 0; more && n < pruneTimes && err == nil; n++ {
		err = s.db.Tx(ctx, "reap", func(ctx context.Context, tx *sqldb.Tx) error {
			if _, err := s.lock(ctx, tx); err != nil {
				return err
			}
			pruned, err := prune(ctx, tx, before, pruneBatch)
			more = pruned == pruneBatch
			return err
		})
	}
	return ended, err
}

// lock makes this transaction the only one that ends sessions and returns the
// last number of the log.
func (s *Store) lock(ctx context.Context, tx *sqldb.Tx) (seq int64, err error) {
	err = tx.Row(ctx, s.queries.lockHead, nil, &seq)
	if errors.Is(err, sql.ErrNoRows) {
		err = errors.New("the head of the log is missing: restore table gatewire_session_head")
	}
	return seq, err
}

// end runs a statement of endingQueries, which numbers what it ends from seq+1
// on, and returns what it ended in that order.
func (s *Store) end(ctx context.Context, tx *sqldb.Tx, seq int64, statement string, args ...any) ([]session.Ended, error) {
	type numbered struct {
		session.Ended
		seq int64
	}
	var list []numbered
	var logged int64
	if s.queries.ending.logged != "" {
		var err error
		if logged, err = tx.Exec(ctx, statement, args...); err != nil || logged == 0 {
			return nil, err
		}
		statement, args = s.queries.ending.logged, []any{seq}
	}
	err := tx.Rows(ctx, statement, args, func(rows *sql.Rows) error {
		var e numbered
		var reason string
		var at int64
		if err := rows.Scan(&e.seq, &e.ID, &e.UserID, &reason, &at); err != nil {
			return err
		}
		e.Reason, e.At = session.Reason(reason), fromMicros(at)
		list = append(list, e)
		return nil
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if logged > 0 && logged != int64(len(list)) { // by a sql_select_limit that Migrate has not seen
		return nil, fmt.Errorf("%d sessions were logged and %d are read", logged, len(list))
	}
	if s.queries.ending.remove != "" {
		if _, err := tx.Exec(ctx, s.queries.ending.remove, seq); err != nil {
			return nil, err
		}
	}
	if _, err := tx.Exec(ctx, moveHead, seq+int64(len(list))); err != nil {
		return nil, err
	}
	// Neither RETURNING nor a SELECT without an order promises one.
	slices.SortFunc(list, func(a, b numbered) int { return cmp.Compare(a.seq, b.seq) })
	ended := make([]session.Ended, len(list))
	for i, e := range list {
		ended[i] = e.Ended
	}
	return ended, nil
}

// prune forgets the oldest entries of the log, at most limit, that ended
// before the time given, and returns how many. It stops at the first that did
// not, so the log has no holes even where clocks disagree.
func prune(ctx context.Context, tx *sqldb.Tx, before int64, limit int) (n int, err error) {
	var from, upTo int64
	kept := false
	err = tx.Rows(ctx, oldestLogged, []any{limit}, func(rows *sql.Rows) error {
		var seq, at int64
		if err := rows.Scan(&seq, &at); err != nil {
			return err
		}
		if kept = kept || at >= before; !kept {
			if n == 0 {
				from = seq
			}
			upTo = seq
			n++
		}
		return nil
	})
	if err != nil || n == 0 {
		return 0, err
	}
	if _, err := tx.Exec(ctx, forgetLogged, from, upTo); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, movePruned, upTo)
	return n, err
}

// Epoch implements [session.Store].
func (s *Store) Epoch(ctx context.Context, userID string) (uint64, error) {
	var epoch int64
	if _, err := s.db.Row(ctx, "epoch", userEpoch, []any{userID}, []any{&epoch}); err != nil {
		return 0, err
	}
	return uint64(epoch), nil
}

// EndedSince implements [session.Store]. A cursor this log did not give out,
// one of another database or from before a backup was restored, is
// [session.ErrCursorLost] like one that is too old.
func (s *Store) EndedSince(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
	after, log, ok := parseCursor(cursor)
	if !ok {
		return nil, "", session.ErrCursorLost
	}
	limit = max(limit, 0)
	if cursor == "" {
		limit = 0
	}
	var (
		ended        []session.Ended
		name         string
		head, pruned int64
		last         int64
	)
	err := s.db.Rows(ctx, "ended since", endedSince, []any{after, limit},
		func() { ended, name, last = nil, "", after },
		func(rows *sql.Rows) error {
			var seq, at sql.NullInt64
			var id, user, reason sql.NullString
			if err := rows.Scan(&name, &head, &pruned, &seq, &id, &user, &reason, &at); err != nil {
				return err
			}
			if seq.Valid { // the head stands alone when nothing has ended
				last = seq.Int64
				ended = append(ended, session.Ended{ID: id.String, UserID: user.String,
					Reason: session.Reason(reason.String), At: fromMicros(at.Int64)})
			}
			return nil
		})
	switch {
	case err != nil:
		return nil, "", err
	case name == "":
		return nil, "", s.db.Wrap("ended since", errors.New("the head of the log is missing"))
	case cursor == "":
		return nil, formatCursor(name, head), nil
	case log != name || after > head || after < pruned:
		return nil, "", session.ErrCursorLost
	}
	return ended, formatCursor(name, last), nil
}

// A cursor is the log's name and the number of the last entry that was read.
func formatCursor(log string, seq int64) string {
	return log + "." + strconv.FormatInt(seq, 10)
}

func parseCursor(s string) (seq int64, log string, ok bool) {
	if s == "" {
		return 0, "", true
	}
	log, digits, ok := strings.Cut(s, ".")
	if !ok {
		return 0, "", false
	}
	seq, err := strconv.ParseInt(digits, 10, 64)
	return seq, log, err == nil && seq >= 0
}
