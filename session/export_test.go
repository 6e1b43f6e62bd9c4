package session

import "fmt"

// CountedBytes is what the store counts towards MaxBytes.
func CountedBytes(s *MemoryStore) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Broken says where the parts of a store that is at rest contradict each other.
func Broken(s *MemoryStore) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, bytes := make(map[*entry]bool), int64(0)
	for i := range s.keys {
		k := &s.keys[i]
		n := 0
		for b := range k.buckets {
			for e := k.buckets[b]; e != nil; e = e.next[inKeys] {
				n++
				entries[e] = true
				bytes += e.cost()
				if s.keyShard(e.key) != k || k.bucket(k.hash(e)) != b {
					return "a key is in the wrong place"
				}
				if h := *k.heapOf(e); e.place < 0 || e.place >= len(h) || h[e.place].e != e || h[e.place].at != e.deadline() {
					return "a session is not in its place in the heap"
				}
			}
		}
		if n != k.n || n != len(k.signedIn)+len(k.anonymous) {
			return fmt.Sprintf("a shard has %d sessions, counts %d, and %d in its heaps", n, k.n, len(k.signedIn)+len(k.anonymous))
		}
		for _, h := range []expiryHeap{k.signedIn, k.anonymous} {
			for i := 1; i < len(h); i++ {
				if h[i].at < h[(i-1)/2].at {
					return "a heap is out of order"
				}
			}
		}
	}
	if bytes != s.bytes {
		return fmt.Sprintf("%d bytes are counted, want %d", s.bytes, bytes)
	}
	ids, users, signedIn := 0, 0, 0
	for i := range s.ids {
		for b := range s.ids[i].buckets {
			for e := s.ids[i].buckets[b]; e != nil; e = e.next[inIDs] {
				ids++
				if !entries[e] {
					return "an id leads to no session"
				}
			}
		}
		for b := range s.users[i].buckets {
			for first := s.users[i].buckets[b]; first != nil; first = first.next[inUsers] {
				for e := first; e != nil; e = e.userAfter {
					users++
					if !entries[e] || e.text.userID() != first.text.userID() {
						return "a user's list has what is not theirs"
					}
				}
			}
		}
	}
	origins, members := 0, 0
	for e := range entries {
		if e.text.userID() != "" {
			signedIn++
		}
		for range e.members() {
			origins++
		}
	}
	for _, m := range s.byOrigin {
		for ; m != nil; m = m.after {
			members++
			if !entries[m.e] {
				return "an origin leads to no session"
			}
		}
	}
	if ids != len(entries) || users != signedIn || origins != members {
		return fmt.Sprintf("%d sessions have %d ids, %d of %d are in users' lists, %d of %d in origins'", len(entries), ids, users, signedIn, members, origins)
	}
	return ""
}
