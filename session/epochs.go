package session

import (
	"strings"
	"time"
)

// epochMemory is more than the hour of rule E3.
const epochMemory = 2 * time.Hour

// epochs are the memory store's numbers of how often each user's sessions were
// ended, in two generations, so that forgetting takes no search: a number is
// kept for two hours at least, and four or so at most. They come from one
// counter, so a user's next one is new even then (rule E3).
type epochs struct {
	last             uint64
	current, earlier map[string]uint64
	since            time.Time // when current began
}

func (e *epochs) of(userID string) uint64 {
	if n, ok := e.current[userID]; ok {
		return n
	}
	return e.earlier[userID]
}

func (e *epochs) raise(userID string, now time.Time) {
	e.forget(now)
	if e.current == nil {
		e.current = make(map[string]uint64)
	}
	e.last++
	e.current[strings.Clone(userID)] = e.last
}

// forget begins a new generation when the current one is old enough. raise
// calls it first, so nothing in current is younger than since and epochMemory.
func (e *epochs) forget(now time.Time) {
	age := now.Sub(e.since)
	if age < epochMemory {
		return
	}
	e.earlier, e.current, e.since = e.current, nil, now
	if age >= 2*epochMemory {
		e.earlier = nil
	}
}
