package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatewire/gatewire/session"
)

// maxBatch bounds one Reap and one EndedSince, whatever the caller's limit:
// while a script runs, Redis answers nobody else.
const maxBatch = 10_000

// End implements [session.Store].
func (s *Store) End(ctx context.Context, id string, reason session.Reason, at time.Time) (bool, error) {
	const op = "end"
	ms, err := millis(at)
	if err != nil {
		return false, wrap(ctx, op, err)
	}
	reply, err := s.run(ctx, op, &s.scripts.end, s.keepLog, id, string(reason), ms)
	if err == nil && reply == "missing" {
		return false, nil
	}
	err = s.done(ctx, op, reply, err)
	return err == nil, err
}

// EndUser implements [session.Store].
func (s *Store) EndUser(ctx context.Context, userID, exceptID string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	return s.endUser(ctx, "end user", userID, exceptID, "", reason, at)
}

// EndUserAt implements [session.Store].
func (s *Store) EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason session.Reason, at time.Time) ([]session.Ended, error) {
	return s.endUser(ctx, "end user at", userID, exceptID, strconv.FormatUint(epoch, 10), reason, at)
}

// endUser compares the epoch unless it is "".
func (s *Store) endUser(ctx context.Context, op, userID, exceptID, epoch string, reason session.Reason, at time.Time) ([]session.Ended, error) {
	ms, err := millis(at)
	if err != nil {
		return nil, wrap(ctx, op, err)
	}
	t := userToken(userID)
	reply, err := s.run(ctx, op, &s.scripts.endUser, s.keepLog, s.keepEpoch, userID, exceptID, string(reason), ms, t[:], t.after(), epoch)
	if err == nil && reply == "epoch" {
		return nil, session.ErrEpoch
	}
	return ended(ctx, op, reply, err, reason, ms)
}

// EndOrigin implements [session.Store].
func (s *Store) EndOrigin(ctx context.Context, o session.Origin, reason session.Reason, at time.Time) ([]session.Ended, error) {
	const op = "end origin"
	ms, err := millis(at)
	if err == nil && (o.Issuer == "" || o.Subject == "" && o.SID == "") {
		err = session.ErrOrigin
	}
	if err != nil {
		return nil, wrap(ctx, op, err)
	}
	// A sid has fewer sessions than a subject.
	t, besides := subjectToken(o), []byte{}
	if o.SID != "" {
		if o.Subject != "" {
			besides = slices.Clone(t[:])
		}
		t = sidToken(o)
	}
	reply, err := s.run(ctx, op, &s.scripts.endOrigin, s.keepLog, string(reason), ms, t[:], t.after(), besides)
	return ended(ctx, op, reply, err, reason, ms)
}

// Reap implements [session.Store].
func (s *Store) Reap(ctx context.Context, now time.Time, limit int) ([]session.Ended, error) {
	const op = "reap"
	ms, err := millis(now)
	if err != nil {
		return nil, wrap(ctx, op, err)
	}
	reply, err := s.run(ctx, op, &s.scripts.reap, s.keepLog, s.keepEpoch, ms, min(max(limit, 0), maxBatch))
	return ended(ctx, op, reply, err, session.ReasonExpired, ms)
}

// ended reads an answer of ids and users.
func ended(ctx context.Context, op string, reply any, err error, reason session.Reason, ms int64) ([]session.Ended, error) {
	if err != nil {
		return nil, err
	}
	texts, err := list(reply)
	if err == nil && len(texts)%2 != 0 {
		err = fmt.Errorf("%d texts in an answer", len(texts))
	}
	if err != nil {
		return nil, wrap(ctx, op, err)
	}
	var all []session.Ended
	for pair := range slices.Chunk(texts, 2) {
		all = append(all, session.Ended{ID: string(pair[0]), UserID: string(pair[1]), Reason: reason, At: fromMillis(ms)})
	}
	return all, nil
}

// EndedSince implements [session.Store]. A cursor of another Redis, of another
// prefix or from before a flush is [session.ErrCursorLost] like one that is too
// old. It returns 10,000 sessions at most.
func (s *Store) EndedSince(ctx context.Context, cursor string, limit int) ([]session.Ended, string, error) {
	const op = "ended since"
	log, after, ok := parseCursor(cursor)
	if !ok {
		return nil, "", session.ErrCursorLost
	}
	reply, err := s.run(ctx, op, &s.scripts.endedSince, log, after, min(max(limit, 0), maxBatch))
	if err != nil {
		return nil, "", err
	}
	if reply == "lost" {
		return nil, "", session.ErrCursorLost
	}
	texts, err := list(reply)
	if err == nil && len(texts) < 2 {
		err = fmt.Errorf("%d texts in an answer", len(texts))
	}
	if err != nil {
		return nil, "", wrap(ctx, op, err)
	}
	var all []session.Ended
	for _, entry := range texts[2:] {
		e, err := decodeEnded(entry)
		if err != nil {
			return nil, "", wrap(ctx, op, err)
		}
		all = append(all, e)
	}
	return all, string(texts[0]) + "." + string(texts[1]), nil
}

// A cursor is the log's name and the number of the last entry that was read.
func parseCursor(s string) (log string, after uint64, ok bool) {
	if s == "" {
		return "", 0, true
	}
	log, digits, ok := strings.Cut(s, ".")
	after, err := strconv.ParseUint(digits, 10, 53) // exact in Lua
	return log, after, ok && err == nil && log != ""
}
