package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// MemoryOptions configures a [MemoryStore]. nil and zero mean the defaults.
type MemoryOptions struct {
	// MaxBytes bounds the memory of the sessions. Defaults to 256 MiB. A
	// signed-in session takes 400 bytes or less, and its Data. What is counted
	// is a little more than what is taken.
	//
	// A store that is full makes room for what it is given by ending, in this
	// order:
	//
	//   - sessions that have expired, with ReasonExpired;
	//   - sessions that nobody has signed in to, the next to expire first, which
	//     is the longest unused where all have one idle lifetime, with ReasonEvicted.
	//
	// It never ends a session of a user for want of room, so a flood of visitors
	// signs nobody out. When it holds nothing else, Create and a Replace that
	// grows fail: nobody more can sign in, and who is signed in stays. So choose
	// it for the most users at once; a store that must take more than memory
	// holds is a database.
	//
	// The log of ended sessions comes on top of it: up to two fifths of MaxBytes
	// when MaxBytes/1024 sessions end in 20 minutes. When more do, the log
	// reaches back less, and its readers get ErrCursorLost.
	MaxBytes int64
}

// MemoryStore is a [Store] in the memory of one process: sessions end with it.
// It is bounded: see [MemoryOptions] for what happens when it is full.
//
// Load, Touch and ByID lock one of 64 parts of the store, so that they run on
// all cores. What makes, replaces and ends sessions runs one at a time. A method
// takes O(log n) in the sessions, or in the user's where it is about a user;
// Reap, O(limit log n).
type MemoryStore struct {
	max  int64
	seed maphash.Seed

	// keys decide what there is: a step that adds or removes several sessions
	// holds all their shards while it does, so that nobody sees half of it.
	keys [shards]keyShard
	// ids lead to keys. They are added before and removed after, and who comes
	// from one looks under the key.
	ids [shards]idShard

	// mu is held by all but Load, Touch and, most often, ByID. Who holds it may
	// read what others lock a shard for (but for the times that Touch moves),
	// and is the only one to hold two shards, so they need no order.
	mu       sync.Mutex
	users    [shards]index // the first session of each user
	byOrigin map[uint64]*originMember
	bytes    int64
	reapAt   int // the shard that Reap begins with

	epochs epochs
	log    endedLog
}

// keyShard is a part of the sessions, by the hash of their key.
type keyShard struct {
	mu sync.Mutex
	index
	// Anonymous sessions stand apart, because they alone may be evicted.
	signedIn, anonymous expiryHeap
	_                   [64]byte // keeps two locks out of one cache line
}

// idShard is a part of the sessions, by the hash of their id.
type idShard struct {
	mu sync.Mutex
	index
	_ [64]byte
}

const (
	shardBits = 6
	shards    = 1 << shardBits

	// bytesPerEnded bounds the log: a store of n bytes logs n/1024 sessions
	// even when fewer minutes than logMemory pass meanwhile.
	bytesPerEnded = 1024
	// entryBytes is what a session takes besides its text: the entry, and its
	// part of three indexes and a heap.
	entryBytes = 128 + 3*10 + 20
	// originBytes is what each name of its origin takes besides, with the map.
	originBytes = 80
)

var (
	errFull   = errors.New("session: the memory store is full of signed-in sessions; raise MemoryOptions.MaxBytes or use a database")
	errTooBig = errors.New("session: one session is larger than the memory store; raise MemoryOptions.MaxBytes")
)

// NewMemoryStore returns an empty store.
func NewMemoryStore(o *MemoryOptions) *MemoryStore {
	maxBytes := int64(256 << 20)
	if o != nil && o.MaxBytes > 0 {
		maxBytes = o.MaxBytes
	}
	s := &MemoryStore{
		max:      maxBytes,
		seed:     maphash.MakeSeed(),
		byOrigin: make(map[uint64]*originMember),
		log:      newEndedLog(rand.Text(), int(max(maxBytes/bytesPerEnded, 1000))),
	}
	for i := range shards {
		s.keys[i].index = index{number: inKeys, hash: func(e *entry) uint64 { return s.hashKey(e.key) }}
		s.ids[i].index = index{number: inIDs, hash: func(e *entry) uint64 { return s.hashText(e.text.id()) }}
		s.users[i] = index{number: inUsers, hash: func(e *entry) uint64 { return s.hashText(e.text.userID()) }}
	}
	return s
}

var _ Store = (*MemoryStore)(nil)

func (s *MemoryStore) hashKey(key Key) uint64      { return maphash.Bytes(s.seed, key[:]) }
func (s *MemoryStore) hashText(text string) uint64 { return maphash.String(s.seed, text) }

// shardOf takes the bits of a hash that an index uses last.
func shardOf(hash uint64) int { return int(hash >> (64 - shardBits)) }

func (s *MemoryStore) keyShard(key Key) *keyShard { return &s.keys[shardOf(s.hashKey(key))] }

// Load implements [Store].
func (s *MemoryStore) Load(ctx context.Context, key Key) (rec Record, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, err
	}
	rec, found = s.load(key)
	return rec, found, nil
}

func (s *MemoryStore) load(key Key) (rec Record, found bool) {
	hash := s.hashKey(key)
	k := &s.keys[shardOf(hash)]
	k.mu.Lock()
	e := k.find(hash, key)
	if e == nil {
		k.mu.Unlock()
		return Record{}, false
	}
	x := e.read()
	k.mu.Unlock()
	return x.record(), true
}

// ByID implements [Store].
func (s *MemoryStore) ByID(ctx context.Context, id string) (rec Record, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return Record{}, false, err
	}
	hash := s.hashText(id)
	i := &s.ids[shardOf(hash)]
	i.mu.Lock()
	e := i.find(hash, id)
	i.mu.Unlock()
	if e == nil {
		return Record{}, false, nil
	}
	if rec, found = s.load(e.key); found && rec.ID == id {
		return rec, true, nil
	}
	// It is being added, ended or given another key. Wait until that is done.
	s.mu.Lock()
	defer s.mu.Unlock()
	if e = i.find(hash, id); e == nil {
		return Record{}, false, nil
	}
	rec, found = s.load(e.key)
	return rec, found, nil
}

// Touch implements [Store].
func (s *MemoryStore) Touch(ctx context.Context, key Key, seen, idleExpires time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	hash := s.hashKey(key)
	k := &s.keys[shardOf(hash)]
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.find(hash, key); e != nil {
		e.seen = max(e.seen, seen.UnixMicro())
		e.idleExpires = min(max(e.idleExpires, idleExpires.UnixMicro()), e.expires)
		if e.place >= 0 {
			k.heapOf(e).fix(e)
		}
	}
	return nil
}

// Create implements [Store].
func (s *MemoryStore) Create(ctx context.Context, rec Record, epoch uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	rec.Rev = 1
	e := s.newEntry(&rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey(rec.Key) != nil || s.byID(rec.ID) != nil || s.log.knows(rec.ID, rec.Key) {
		return ErrExists
	}
	if epoch != AnyEpoch && epoch != s.epochs.of(rec.UserID) {
		return ErrEpoch
	}
	if err := s.makeRoom(e, 0); err != nil {
		return err
	}
	s.note(e)
	k := s.keyShard(e.key)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.insert(e)
	return nil
}

// Replace implements [Store].
func (s *MemoryStore) Replace(ctx context.Context, old Key, rec Record, ifRev uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.byKey(old)
	switch {
	case was == nil:
		return ErrNotFound
	case was.text.rev() != ifRev:
		return ErrConflict
	case rec.Key != old && (s.byKey(rec.Key) != nil || s.log.knows("", rec.Key)):
		return ErrExists
	}
	var before Record
	was.text.unpack(&before)
	rec.ID, rec.Created, rec.Rev = before.ID, before.Created, ifRev+1
	e := s.newEntry(&rec)

	from, to := s.keyShard(old), s.keyShard(rec.Key)
	// Out of the heap it doesn't make room for itself. Load finds it all the while.
	from.mu.Lock()
	from.heapOf(was).remove(was)
	from.mu.Unlock()
	err := s.makeRoom(e, was.cost())

	from.mu.Lock()
	defer from.mu.Unlock()
	if err != nil {
		from.heapOf(was).push(was)
		return err
	}
	if to != from {
		to.mu.Lock()
		defer to.mu.Unlock()
	}
	from.index.remove(was)
	e.seen = max(e.seen, was.seen)
	e.idleExpires = min(max(e.idleExpires, was.idleExpires), e.expires)
	to.insert(e)
	s.note(e) // before, so that ByID finds one of the two
	s.forget(was)
	return nil
}

// End implements [Store].
func (s *MemoryStore) End(ctx context.Context, id string, reason Reason, at time.Time) (ended bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID(id)
	if e == nil {
		return false, nil
	}
	s.end([]*entry{e}, reason, at)
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
	if s.epochs.of(userID) != epoch {
		return nil, ErrEpoch
	}
	return s.endUser(userID, exceptID, reason, at), nil
}

func (s *MemoryStore) endUser(userID, exceptID string, reason Reason, at time.Time) []Ended {
	s.epochs.raise(userID, time.Now())
	var ending []*entry
	for e := s.firstOf(userID); e != nil; e = e.userAfter {
		if e.text.id() != exceptID {
			ending = append(ending, e)
		}
	}
	return s.end(ending, reason, at)
}

// EndOrigin implements [Store].
func (s *MemoryStore) EndOrigin(ctx context.Context, o Origin, reason Reason, at time.Time) (ended []Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !o.names() {
		return nil, ErrOrigin
	}
	names, _ := originsOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	var ending []*entry
	for m := s.byOrigin[maphash.Comparable(s.seed, names[0])]; m != nil; m = m.after {
		if x := m.e.text.origin(); x.Issuer == o.Issuer && (o.SID == "" || x.SID == o.SID) && (o.Subject == "" || x.Subject == o.Subject) {
			ending = append(ending, m.e)
		}
	}
	return s.end(ending, reason, at), nil
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
	var recs []Record
	for _, x := range s.snapshot(userID) {
		recs = append(recs, x.record())
	}
	slices.SortFunc(recs, func(a, b Record) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return recs, nil
}

// snapshot returns a user's sessions as they are at one moment.
func (s *MemoryStore) snapshot(userID string) []reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*entry
	for e := s.firstOf(userID); e != nil; e = e.userAfter {
		found = append(found, e)
	}
	read := make([]reading, len(found))
	unlock := s.lock(found)
	for i, e := range found {
		read[i] = e.read()
	}
	unlock()
	return read
}

// Epoch implements [Store].
func (s *MemoryStore) Epoch(ctx context.Context, userID string) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epochs.of(userID), nil
}

// Reap implements [Store].
func (s *MemoryStore) Reap(ctx context.Context, now time.Time, limit int) (ended []Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs.forget(time.Now())
	s.log.trim(time.Now())
	return s.bury(s.takeExpired(now, limit), ReasonExpired, now), nil
}

// takeExpired removes at most limit expired sessions from their shards in one
// step. It goes on where the last one found enough, so that of a great many
// expired sessions it takes those of one shard or two, and holds no other.
func (s *MemoryStore) takeExpired(now time.Time, limit int) (taken []*entry) {
	for n := range shards {
		k := &s.keys[(s.reapAt+n)%shards]
		k.mu.Lock()
		before := len(taken)
		for len(taken) < limit {
			e := k.nextExpired(now)
			if e == nil {
				break
			}
			k.remove(e)
			taken = append(taken, e)
		}
		if len(taken) > before {
			defer k.mu.Unlock()
		} else {
			k.mu.Unlock()
		}
		if len(taken) >= limit {
			s.reapAt = (s.reapAt + n) % shards
			break
		}
	}
	return taken
}

// makeRoom makes room for one, in place of what took so many bytes. What it ends is
// ended whether or not there is room in the end, but nothing for what could never
// have any.
func (s *MemoryStore) makeRoom(one *entry, instead int64) error {
	if one.cost() > s.max {
		return errTooBig
	}
	n := one.cost() - instead
	now := time.Now().UTC()
	for s.bytes+n > s.max {
		k, expired := s.leastNeeded(now)
		if k == nil {
			return errFull
		}
		k.mu.Lock()
		e, reason := k.nextExpired(now), ReasonExpired
		if e == nil && !expired && len(k.anonymous) > 0 {
			e, reason = k.anonymous[0].e, ReasonEvicted
		}
		if e != nil { // else a Touch was faster
			k.remove(e)
		}
		k.mu.Unlock()
		if e != nil {
			s.bury([]*entry{e}, reason, now)
		}
	}
	return nil
}

// leastNeeded returns the shard with an expired session, or else with the
// anonymous one that is the next to expire; nil when there is none.
func (s *MemoryStore) leastNeeded(now time.Time) (least *keyShard, expired bool) {
	var next int64
	for i := range s.keys {
		k := &s.keys[i]
		k.mu.Lock()
		expired = k.nextExpired(now) != nil
		if len(k.anonymous) > 0 && (least == nil || k.anonymous[0].at < next) {
			least, next = k, k.anonymous[0].at
		}
		k.mu.Unlock()
		if expired {
			return k, true
		}
	}
	return least, false
}

// end ends sessions in one step.
func (s *MemoryStore) end(ending []*entry, reason Reason, at time.Time) []Ended {
	unlock := s.lock(ending)
	for _, e := range ending {
		s.keyShard(e.key).remove(e)
	}
	unlock()
	return s.bury(ending, reason, at)
}

// bury logs what was removed from its shard.
func (s *MemoryStore) bury(es []*entry, reason Reason, at time.Time) (ended []Ended) {
	now := time.Now()
	for _, e := range es {
		s.forget(e)
		x := Ended{ID: e.text.id(), UserID: e.text.userID(), Reason: reason, At: at}
		s.log.append(x, e.key, now)
		ended = append(ended, x)
	}
	return ended
}

// lock locks the shards of sessions, each once. Call it with mu held.
func (s *MemoryStore) lock(es []*entry) (unlock func()) {
	var set uint64
	for _, e := range es {
		set |= 1 << shardOf(s.hashKey(e.key))
	}
	each := func(f func(*sync.Mutex)) {
		for rest := set; rest != 0; rest &= rest - 1 {
			f(&s.keys[bits.TrailingZeros64(rest)].mu)
		}
	}
	each((*sync.Mutex).Lock)
	return func() { each((*sync.Mutex).Unlock) }
}

// note adds a session to all but its shard.
func (s *MemoryStore) note(e *entry) {
	i := &s.ids[shardOf(s.hashText(e.text.id()))]
	i.mu.Lock()
	i.add(e)
	i.mu.Unlock()
	if user := e.text.userID(); user != "" {
		if first := s.firstOf(user); first == nil {
			s.usersOf(user).add(e)
		} else {
			e.userBefore, e.userAfter = first, first.userAfter
			if e.userAfter != nil {
				e.userAfter.userBefore = e
			}
			first.userAfter = e
		}
	}
	for m := range e.members() {
		if m.after = s.byOrigin[m.hash]; m.after != nil {
			m.after.before = m
		}
		s.byOrigin[m.hash] = m
	}
	s.bytes += e.cost()
}

// forget takes back what note did.
func (s *MemoryStore) forget(e *entry) {
	i := &s.ids[shardOf(s.hashText(e.text.id()))]
	i.mu.Lock()
	i.remove(e)
	i.mu.Unlock()
	if user := e.text.userID(); user != "" {
		before, after := e.userBefore, e.userAfter
		if after != nil {
			after.userBefore = before
		}
		if before != nil {
			before.userAfter = after
		} else {
			users := s.usersOf(user)
			users.remove(e)
			if after != nil {
				users.add(after)
			}
		}
		e.userBefore, e.userAfter = nil, nil
	}
	for m := range e.members() {
		if m.after != nil {
			m.after.before = m.before
		}
		switch {
		case m.before != nil:
			m.before.after = m.after
		case m.after != nil:
			s.byOrigin[m.hash] = m.after
		default:
			delete(s.byOrigin, m.hash)
		}
	}
	s.bytes -= e.cost()
}

func (s *MemoryStore) byKey(key Key) *entry {
	hash := s.hashKey(key)
	return s.keys[shardOf(hash)].find(hash, key)
}

func (s *MemoryStore) byID(id string) *entry {
	hash := s.hashText(id)
	return s.ids[shardOf(hash)].find(hash, id)
}

func (s *MemoryStore) usersOf(userID string) *index { return &s.users[shardOf(s.hashText(userID))] }

// firstOf returns the first of a user's sessions. Anonymous ones are nobody's.
func (s *MemoryStore) firstOf(userID string) *entry {
	hash := s.hashText(userID)
	e := s.users[shardOf(hash)].first(hash)
	for e != nil && e.text.userID() != userID {
		e = e.next[inUsers]
	}
	return e
}

func (k *keyShard) find(hash uint64, key Key) *entry {
	e := k.first(hash)
	for e != nil && e.key != key {
		e = e.next[inKeys]
	}
	return e
}

func (i *idShard) find(hash uint64, id string) *entry {
	e := i.first(hash)
	for e != nil && e.text.id() != id {
		e = e.next[inIDs]
	}
	return e
}

func (k *keyShard) insert(e *entry) {
	k.index.add(e)
	k.heapOf(e).push(e)
}

func (k *keyShard) remove(e *entry) {
	k.index.remove(e)
	k.heapOf(e).remove(e)
}

func (k *keyShard) heapOf(e *entry) *expiryHeap {
	if e.text.userID() == "" {
		return &k.anonymous
	}
	return &k.signedIn
}

func (k *keyShard) nextExpired(now time.Time) *entry {
	for _, h := range []expiryHeap{k.anonymous, k.signedIn} {
		if len(h) > 0 && h[0].at <= now.UnixMicro() {
			return h[0].e
		}
	}
	return nil
}

func (s *MemoryStore) newEntry(rec *Record) *entry {
	e := &entry{
		key: rec.Key, text: pack(rec), place: -1,
		seen: rec.Seen.UnixMicro(), idleExpires: rec.IdleExpires.UnixMicro(), expires: rec.Expires.UnixMicro(),
	}
	names, n := originsOf(rec.Origin)
	if n > 0 {
		e.origins = new([2]originMember)
	}
	for i, name := range names[:n] {
		e.origins[i] = originMember{e: e, hash: maphash.Comparable(s.seed, name)}
	}
	return e
}

// originName is a name that sessions are found by: the provider's session, or the
// provider's subject.
type originName struct {
	issuer, value string
	sid           bool
}

// originsOf returns the n names of an origin, the narrowest first.
func originsOf(o Origin) (names [2]originName, n int) {
	if o.Issuer == "" {
		return names, 0
	}
	if o.SID != "" {
		names[n] = originName{o.Issuer, o.SID, true}
		n++
	}
	if o.Subject != "" {
		names[n] = originName{o.Issuer, o.Subject, false}
		n++
	}
	return names, n
}

// clone keeps one's record apart from another's.
func clone(rec Record) Record {
	rec.Scopes = slices.Clone(rec.Scopes)
	rec.Roles = slices.Clone(rec.Roles)
	rec.Data = slices.Clone(rec.Data)
	rec.Refresh.Successor = slices.Clone(rec.Refresh.Successor)
	return rec
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
