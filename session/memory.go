package session

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// MemoryOptions configures a [MemoryStore]. nil and zero mean the defaults.
type MemoryOptions struct {
	// MaxBytes bounds, about, the memory of the sessions. Defaults to 256 MiB,
	// which is some 300,000 small sessions.
	MaxBytes int64
}

// MemoryStore is a [Store] in the memory of one process: sessions end with it.
// One mutex guards it; every method is O(log n) in the sessions, or in the
// user's sessions where it is about a user.
//
// It is bounded. When it is full, expired sessions make room first, then the
// anonymous ones that were not used for longest (logged with ReasonEvicted). A
// signed-in session is never evicted: Create and Replace fail instead, so a
// flood of visitors can't sign anybody out.
type MemoryStore struct {
	max int64

	mu       sync.Mutex
	byKey    map[Key]*entry
	byID     map[string]*entry
	byUser   map[string]map[string]*entry     // user id, session id
	byOrigin map[originName]map[string]*entry // the same
	bytes    int64

	// Ordered by the next expiry. Anonymous sessions stand apart, because
	// they alone may be evicted.
	users, anonymous expiryHeap

	epochs    map[string]userEpoch
	lastEpoch uint64
	log       endedLog
}

// userEpoch is forgotten after epochMemory. The numbers come from one counter
// of the store, so a user's next one is new even then (rule E3).
type userEpoch struct {
	value  uint64
	raised time.Time
}

const (
	epochMemory = 2 * time.Hour
	// bytesPerEnded bounds the log: a store of n bytes logs n/1024 sessions
	// even when fewer minutes than logMemory pass meanwhile.
	bytesPerEnded = 1024
	// entryOverhead is about what maps, heap and struct cost a session.
	entryOverhead = 640
	// originOverhead is what a name of its origin costs besides.
	originOverhead = 320
)

var errFull = errors.New("session: the memory store is full of signed-in sessions; raise MemoryOptions.MaxBytes or use a database")

// NewMemoryStore returns an empty store.
func NewMemoryStore(o *MemoryOptions) *MemoryStore {
	maxBytes := int64(256 << 20)
	if o != nil && o.MaxBytes > 0 {
		maxBytes = o.MaxBytes
	}
	return &MemoryStore{
		max:      maxBytes,
		byKey:    make(map[Key]*entry),
		byID:     make(map[string]*entry),
		byUser:   make(map[string]map[string]*entry),
		byOrigin: make(map[originName]map[string]*entry),
		epochs:   make(map[string]userEpoch),
		log:      newEndedLog(rand.Text(), int(max(maxBytes/bytesPerEnded, 1000))),
	}
}

var _ Store = (*MemoryStore)(nil)

// Create implements [Store].
func (s *MemoryStore) Create(ctx context.Context, rec Record, epoch uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[rec.Key] != nil || s.byID[rec.ID] != nil || s.log.knows(rec.ID, rec.Key) {
		return ErrExists
	}
	if epoch != AnyEpoch && epoch != s.epochs[rec.UserID].value {
		return ErrEpoch
	}
	rec = clone(rec)
	rec.Rev = 1
	e := &entry{rec: rec, size: sizeOf(rec)}
	if err := s.makeRoom(e.size); err != nil {
		return err
	}
	s.insert(e)
	return nil
}

// Load implements [Store].
func (s *MemoryStore) Load(ctx context.Context, key Key) (rec Record, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[key].read()
}

// ByID implements [Store].
func (s *MemoryStore) ByID(ctx context.Context, id string) (rec Record, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id].read()
}

// Replace implements [Store].
func (s *MemoryStore) Replace(ctx context.Context, old Key, rec Record, ifRev uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[old]
	switch {
	case e == nil:
		return ErrNotFound
	case e.rec.Rev != ifRev:
		return ErrConflict
	case rec.Key != old && (s.byKey[rec.Key] != nil || s.log.knows("", rec.Key)):
		return ErrExists
	}
	rec = clone(rec)
	rec.ID, rec.Created, rec.Rev = e.rec.ID, e.rec.Created, ifRev+1
	rec.Seen = later(rec.Seen, e.rec.Seen)
	rec.IdleExpires = earlier(later(rec.IdleExpires, e.rec.IdleExpires), rec.Expires)
	s.remove(e) // so that it doesn't make room for itself
	err := s.makeRoom(sizeOf(rec))
	if err == nil {
		e.rec, e.size = rec, sizeOf(rec)
	}
	s.insert(e)
	return err
}

// Touch implements [Store].
func (s *MemoryStore) Touch(ctx context.Context, key Key, seen, idleExpires time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[key]
	if e == nil {
		return nil
	}
	e.rec.Seen = later(seen, e.rec.Seen)
	e.rec.IdleExpires = earlier(later(idleExpires, e.rec.IdleExpires), e.rec.Expires)
	heap.Fix(s.heapOf(e), e.index)
	return nil
}

// End implements [Store].
func (s *MemoryStore) End(ctx context.Context, id string, reason Reason, at time.Time) (ended bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return false, nil
	}
	s.end(e, reason, at)
	return true, nil
}

// EndUser implements [Store].
func (s *MemoryStore) EndUser(ctx context.Context, userID, exceptID string, reason Reason, at time.Time) (ended []Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endUser(userID, exceptID, reason, at), nil
}

// EndUserAt implements [Store].
func (s *MemoryStore) EndUserAt(ctx context.Context, userID, exceptID string, epoch uint64, reason Reason, at time.Time) (ended []Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epochs[userID].value != epoch {
		return nil, ErrEpoch
	}
	return s.endUser(userID, exceptID, reason, at), nil
}

func (s *MemoryStore) endUser(userID, exceptID string, reason Reason, at time.Time) (ended []Ended) {
	s.lastEpoch++
	s.epochs[userID] = userEpoch{value: s.lastEpoch, raised: time.Now()}
	if userID == "" {
		return nil // anonymous sessions are nobody's
	}
	for id, e := range maps.Clone(s.byUser[userID]) {
		if id != exceptID {
			ended = append(ended, s.end(e, reason, at))
		}
	}
	return ended
}

// EndOrigin implements [Store].
func (s *MemoryStore) EndOrigin(ctx context.Context, o Origin, reason Reason, at time.Time) (ended []Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !o.names() {
		return nil, ErrOrigin
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range maps.Clone(s.byOrigin[originsOf(o)[0]]) {
		if o.Subject == "" || e.rec.Origin.Subject == o.Subject {
			ended = append(ended, s.end(e, reason, at))
		}
	}
	return ended, nil
}

// EndedSince implements [Store].
func (s *MemoryStore) EndedSince(ctx context.Context, cursor string, limit int) (ended []Ended, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.since(cursor, limit)
}

// ListUser implements [Store].
func (s *MemoryStore) ListUser(ctx context.Context, userID string) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var recs []Record
	for _, e := range s.byUser[userID] {
		recs = append(recs, clone(e.rec))
	}
	slices.SortFunc(recs, func(a, b Record) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return recs, nil
}

// Epoch implements [Store].
func (s *MemoryStore) Epoch(ctx context.Context, userID string) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epochs[userID].value, nil
}

// Reap implements [Store].
func (s *MemoryStore) Reap(ctx context.Context, now time.Time, limit int) (ended []Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, e := range s.epochs {
		if time.Since(e.raised) > epochMemory {
			delete(s.epochs, user)
		}
	}
	s.log.trim(time.Now())
	for len(ended) < limit {
		e := s.nextExpired(now)
		if e == nil {
			break
		}
		ended = append(ended, s.end(e, ReasonExpired, now))
	}
	return ended, nil
}

func (s *MemoryStore) nextExpired(now time.Time) *entry {
	for _, h := range []expiryHeap{s.anonymous, s.users} {
		if len(h) > 0 && !h[0].deadline().After(now) {
			return h[0]
		}
	}
	return nil
}

// makeRoom makes room for n more bytes.
func (s *MemoryStore) makeRoom(n int64) error {
	now := time.Now().UTC()
	for s.bytes+n > s.max {
		e, reason := s.nextExpired(now), ReasonExpired
		if e == nil && len(s.anonymous) > 0 {
			e, reason = s.anonymous[0], ReasonEvicted
		}
		if e == nil {
			return errFull
		}
		s.end(e, reason, now)
	}
	return nil
}

func (s *MemoryStore) end(e *entry, reason Reason, at time.Time) Ended {
	s.remove(e)
	ended := Ended{ID: e.rec.ID, UserID: e.rec.UserID, Reason: reason, At: at}
	s.log.append(ended, e.rec.Key, time.Now())
	return ended
}

func (s *MemoryStore) insert(e *entry) {
	s.byKey[e.rec.Key] = e
	s.byID[e.rec.ID] = e
	if user := e.rec.UserID; user != "" {
		if s.byUser[user] == nil {
			s.byUser[user] = make(map[string]*entry)
		}
		s.byUser[user][e.rec.ID] = e
	}
	for _, o := range originsOf(e.rec.Origin) {
		if s.byOrigin[o] == nil {
			s.byOrigin[o] = make(map[string]*entry)
		}
		s.byOrigin[o][e.rec.ID] = e
	}
	heap.Push(s.heapOf(e), e)
	s.bytes += e.size
}

func (s *MemoryStore) remove(e *entry) {
	delete(s.byKey, e.rec.Key)
	delete(s.byID, e.rec.ID)
	if user := e.rec.UserID; user != "" {
		delete(s.byUser[user], e.rec.ID)
		if len(s.byUser[user]) == 0 {
			delete(s.byUser, user)
		}
	}
	for _, o := range originsOf(e.rec.Origin) {
		delete(s.byOrigin[o], e.rec.ID)
		if len(s.byOrigin[o]) == 0 {
			delete(s.byOrigin, o)
		}
	}
	heap.Remove(s.heapOf(e), e.index)
	s.bytes -= e.size
}

func (s *MemoryStore) heapOf(e *entry) *expiryHeap {
	if e.rec.UserID == "" {
		return &s.anonymous
	}
	return &s.users
}

// originName is a name that sessions are found by: the provider's session, or the
// provider's subject.
type originName struct {
	issuer, value string
	sid           bool
}

// originsOf returns the names of an origin, the narrowest first.
func originsOf(o Origin) (names []originName) {
	if o.Issuer == "" {
		return nil
	}
	if o.SID != "" {
		names = append(names, originName{o.Issuer, o.SID, true})
	}
	if o.Subject != "" {
		names = append(names, originName{o.Issuer, o.Subject, false})
	}
	return names
}

// entry is a record with its place in a heap.
type entry struct {
	rec   Record
	size  int64
	index int
}

func (e *entry) deadline() time.Time { return earlier(e.rec.IdleExpires, e.rec.Expires) }

func (e *entry) read() (rec Record, found bool, err error) {
	if e == nil {
		return Record{}, false, nil
	}
	return clone(e.rec), true, nil
}

// expiryHeap is a container/heap, the next to expire first.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].deadline().Before(h[j].deadline()) }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *expiryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// clone keeps the store's record apart from the caller's.
func clone(rec Record) Record {
	rec.Scopes = slices.Clone(rec.Scopes)
	rec.Roles = slices.Clone(rec.Roles)
	rec.Data = bytes.Clone(rec.Data)
	rec.Refresh.Successor = bytes.Clone(rec.Refresh.Successor)
	return rec
}

func sizeOf(rec Record) int64 {
	n := entryOverhead + len(rec.ID) + len(rec.UserID) + len(rec.UserAgent) + len(rec.IP) + len(rec.Data) +
		len(rec.Origin.Issuer) + len(rec.Origin.Subject) + len(rec.Origin.SID) + len(rec.Refresh.Successor)
	n += originOverhead * len(originsOf(rec.Origin))
	for _, list := range [][]string{rec.Scopes, rec.Roles} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	return int64(n)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
