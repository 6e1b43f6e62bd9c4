package redisstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewire/gatewire/session"
)

// Store is a [session.Store] in Redis. It is safe for concurrent use, and for
// use by several processes on one Redis.
type Store struct {
	client    redis.UniversalClient
	keys      [3]string
	scripts   scripts
	keepLog   int64 // milliseconds, as the next
	keepEpoch int64
}

var _ session.Store = (*Store)(nil)

// New returns a store on client, which stays the caller's to close. It does not
// dial. client is a *redis.Client, also one for Sentinel, or a
// *redis.ClusterClient, with ContextTimeoutEnabled set; a *redis.Ring is
// refused. All mistakes in the options are reported at once.
func New(client redis.UniversalClient, o *Options) (*Store, error) {
	c, err := o.check()
	s, scriptErr := loadScripts()
	if err := errors.Join(checkClient(client), err, scriptErr); err != nil {
		return nil, err
	}
	tag := "{" + c.Prefix + "sessions}"
	return &Store{
		client: client, scripts: s,
		keys:      [3]string{tag + ":all", tag + ":index", tag + ":dies"},
		keepLog:   c.LogRetention.Milliseconds(),
		keepEpoch: epochRetention.Milliseconds(),
	}, nil
}

// Create implements [session.Store].
func (s *Store) Create(ctx context.Context, rec session.Record, epoch uint64) error {
	const op = "create"
	rec.Rev = 1
	e, err := encode(rec)
	if err == nil && rec.ID == "" {
		err = errors.New("a session needs an id")
	}
	if err != nil {
		return wrap(ctx, op, err)
	}
	wanted := ""
	if epoch != session.AnyEpoch {
		wanted = strconv.FormatUint(epoch, 10)
	}
	reply, err := s.run(ctx, op, &s.scripts.create, s.keepLog, rec.ID, rec.Key[:], e.header, e.body, e.dies, e.expires, rec.UserID, wanted)
	return s.done(ctx, op, reply, err)
}

// Replace implements [session.Store]. It returns [session.ErrExists] when
// rec.Key is another session's.
func (s *Store) Replace(ctx context.Context, old session.Key, rec session.Record, ifRev uint64) error {
	const op = "replace"
	rec.Rev = ifRev + 1
	e, err := encode(rec)
	if err != nil {
		return wrap(ctx, op, err)
	}
	reply, err := s.run(ctx, op, &s.scripts.replace, old[:], rec.Key[:], binary.BigEndian.AppendUint64(nil, ifRev), e.header, e.body)
	return s.done(ctx, op, reply, err)
}

// Touch implements [session.Store].
func (s *Store) Touch(ctx context.Context, key session.Key, seen, idleExpires time.Time) error {
	const op = "touch"
	seenMS, err1 := millis(seen)
	idleMS, err2 := millis(idleExpires)
	if err := errors.Join(err1, err2); err != nil {
		return wrap(ctx, op, err)
	}
	reply, err := s.run(ctx, op, &s.scripts.touch, key[:], seenMS, idleMS)
	return s.done(ctx, op, reply, err)
}

// done turns the answer to a change into an error.
func (s *Store) done(ctx context.Context, op string, reply any, err error) error {
	if err != nil {
		return err
	}
	switch reply {
	case "ok":
		return nil
	case "exists":
		return session.ErrExists
	case "missing":
		return session.ErrNotFound
	case "conflict":
		return session.ErrConflict
	case "epoch":
		return session.ErrEpoch
	}
	return wrap(ctx, op, fmt.Errorf("the answer %v", reply))
}

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, key session.Key) (session.Record, bool, error) {
	return s.one(ctx, "load", "k", key[:])
}

// ByID implements [session.Store].
func (s *Store) ByID(ctx context.Context, id string) (session.Record, bool, error) {
	return s.one(ctx, "load by id", "h", id)
}

func (s *Store) one(ctx context.Context, op string, args ...any) (session.Record, bool, error) {
	reply, err := s.run(ctx, op, &s.scripts.load, args...)
	if err != nil || reply == "missing" {
		return session.Record{}, false, err
	}
	recs, err := records(reply)
	if err == nil && len(recs) != 1 {
		err = fmt.Errorf("%d records in an answer", len(recs))
	}
	if err != nil {
		return session.Record{}, false, wrap(ctx, op, err)
	}
	return recs[0], true, nil
}

// records reads an answer of ids, headers and bodies.
func records(reply any) ([]session.Record, error) {
	texts, err := list(reply)
	if err != nil {
		return nil, err
	}
	if len(texts)%3 != 0 {
		return nil, fmt.Errorf("%d texts in an answer", len(texts))
	}
	var recs []session.Record
	for part := range slices.Chunk(texts, 3) {
		rec, err := decode(string(part[0]), part[1], part[2])
		if err != nil {
			return nil, fmt.Errorf("session %q: %w", part[0], err)
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// ListUser implements [session.Store].
func (s *Store) ListUser(ctx context.Context, userID string) ([]session.Record, error) {
	const op = "list"
	if userID == "" {
		return nil, nil // anonymous sessions are nobody's
	}
	t := userToken(userID)
	reply, err := s.run(ctx, op, &s.scripts.listUser, userID, t[:], t.after())
	if err != nil {
		return nil, err
	}
	recs, err := records(reply)
	if err != nil {
		return nil, wrap(ctx, op, err)
	}
	slices.SortFunc(recs, func(a, b session.Record) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
	return recs, nil
}

// Epoch implements [session.Store].
func (s *Store) Epoch(ctx context.Context, userID string) (uint64, error) {
	const op = "epoch"
	reply, err := s.run(ctx, op, &s.scripts.epoch, userID)
	if err != nil {
		return 0, err
	}
	texts, err := list(reply)
	if err == nil && len(texts) != 1 {
		err = fmt.Errorf("%d texts in an answer", len(texts))
	}
	if err != nil {
		return 0, wrap(ctx, op, err)
	}
	epoch, err := strconv.ParseUint(string(texts[0]), 10, 64)
	if err != nil {
		return 0, wrap(ctx, op, err)
	}
	return epoch, nil
}
