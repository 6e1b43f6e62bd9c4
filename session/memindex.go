package session

import (
	"iter"
	"math/bits"
)

// entry is a session in a MemoryStore. Its key and its text never change:
// Replace puts a new entry in its place. So they may be read without a lock by
// whoever found the entry under one.
type entry struct {
	key  Key
	text packed

	// In microseconds since 1970. Guarded by the shard of the key.
	seen, idleExpires, expires int64
	place                      int // in the shard's heap; -1: in none

	// The next entry in a bucket of the index of that number. Guarded by
	// what guards the index.
	next [indexes]*entry

	// The other sessions of the user, in a list whose first is in the index of
	// users; guarded by the store's mutex, like what follows.
	userBefore, userAfter *entry

	origins *[2]originMember // nil for most
}

const (
	inKeys = iota
	inIDs
	inUsers
	indexes
)

func (e *entry) deadline() int64 { return min(e.idleExpires, e.expires) }

// reading is a session with the times as they were when it was read. Touch
// may move the entry's own meanwhile.
type reading struct {
	e                 *entry
	seen, idleExpires int64
}

func (e *entry) read() reading { return reading{e, e.seen, e.idleExpires} }

func (r reading) record() Record {
	rec := Record{Key: r.e.key, Seen: fromMicro(r.seen), IdleExpires: fromMicro(r.idleExpires), Expires: fromMicro(r.e.expires)}
	r.e.text.unpack(&rec)
	return rec
}

// cost is what a session takes of MaxBytes. A string takes up to an eighth
// more than its length.
func (e *entry) cost() int64 {
	n := entryBytes + len(e.text) + len(e.text)/8 + 16
	for range e.members() {
		n += originBytes
	}
	return int64(n)
}

// originMember is a session in the list of those with one name of an origin.
// It keeps the hash of the name, so that no name keeps a session's text that
// has ended.
type originMember struct {
	e             *entry
	hash          uint64
	before, after *originMember
}

// members yields the session's places in lists of origins.
func (e *entry) members() iter.Seq[*originMember] {
	return func(yield func(*originMember) bool) {
		if e.origins == nil {
			return
		}
		for i := range e.origins {
			if e.origins[i].e != nil && !yield(&e.origins[i]) {
				return
			}
		}
	}
}

// index is a hash table of entries that costs a pointer an entry besides the
// one in it, where a map costs four to six. It grows by one bucket at a time (linear
// hashing, Litwin 1980), so that no insertion has to move them all. It doesn't
// shrink, as maps don't.
type index struct {
	number  int
	hash    func(*entry) uint64
	buckets []*entry
	n       int
}

// bucket returns the number of the bucket for a hash: its low bits, one fewer
// where that bucket isn't split yet.
func (x *index) bucket(hash uint64) int {
	mask := uint64(1)<<bits.Len(uint(len(x.buckets)-1)) - 1
	b := hash & mask
	if b >= uint64(len(x.buckets)) {
		b &= mask >> 1
	}
	return int(b)
}

// first returns the first of the entries that may be the one sought; the
// others follow by next.
func (x *index) first(hash uint64) *entry {
	if len(x.buckets) == 0 {
		return nil
	}
	return x.buckets[x.bucket(hash)]
}

func (x *index) add(e *entry) {
	if x.n++; x.n > len(x.buckets) {
		x.grow()
	}
	x.link(e, x.bucket(x.hash(e)))
}

func (x *index) link(e *entry, bucket int) {
	e.next[x.number] = x.buckets[bucket]
	x.buckets[bucket] = e
}

func (x *index) grow() {
	last := len(x.buckets)
	x.buckets = append(roomy(x.buckets), nil)
	if last == 0 {
		return
	}
	split := last &^ (1 << (bits.Len(uint(last)) - 1)) // where its entries are until now
	e := x.buckets[split]
	x.buckets[split] = nil
	for e != nil {
		after := e.next[x.number]
		x.link(e, x.bucket(x.hash(e)))
		e = after
	}
}

func (x *index) remove(e *entry) {
	at := &x.buckets[x.bucket(x.hash(e))]
	for *at != e {
		at = &(*at).next[x.number]
	}
	*at = e.next[x.number]
	e.next[x.number] = nil
	x.n--
}

// roomy returns list with room for one more. append would double a short list
// and leave a quarter of a long one empty; this leaves an eighth.
func roomy[L ~[]T, T any](list L) L {
	if len(list) < cap(list) {
		return list
	}
	return append(make(L, 0, len(list)+len(list)/8+4), list...)
}

// expiryHeap is a binary heap, the next to expire first.
type expiryHeap []expiring

type expiring struct {
	at int64 // the deadline of e
	e  *entry
}

func (h expiryHeap) set(i int, x expiring) {
	h[i] = x
	x.e.place = i
}

func (h *expiryHeap) push(e *entry) {
	*h = append(roomy(*h), expiring{})
	h.up(len(*h)-1, expiring{e.deadline(), e})
}

func (h *expiryHeap) remove(e *entry) {
	i, last := e.place, len(*h)-1
	e.place = -1
	x := (*h)[last]
	(*h)[last] = expiring{}
	*h = (*h)[:last]
	if i < last {
		h.put(i, x)
	}
}

// fix finds the place of e anew when its deadline has moved.
func (h expiryHeap) fix(e *entry) { h.put(e.place, expiring{e.deadline(), e}) }

// put puts x in place of what was at i.
func (h expiryHeap) put(i int, x expiring) {
	if i > 0 && x.at < h[(i-1)/2].at {
		h.up(i, x)
	} else {
		h.down(i, x)
	}
}

func (h expiryHeap) up(i int, x expiring) {
	for i > 0 && x.at < h[(i-1)/2].at {
		h.set(i, h[(i-1)/2])
		i = (i - 1) / 2
	}
	h.set(i, x)
}

func (h expiryHeap) down(i int, x expiring) {
	for {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].at < h[child].at {
			child++
		}
		if child >= len(h) || x.at <= h[child].at {
			break
		}
		h.set(i, h[child])
		i = child
	}
	h.set(i, x)
}
