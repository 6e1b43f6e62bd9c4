package session

import (
	"strconv"
	"strings"
	"time"
)

// logMemory is how far back the memory store's log of ended sessions reaches:
// more than the 15 minutes that rule W2 wants, since a reader may be late.
const logMemory = 20 * time.Minute

// endedLog is the memory store's log of ended sessions. Entries are numbered
// from 1 and leave at the front. A cursor is the number of the last entry
// read, behind the name of this log, which another process doesn't share.
type endedLog struct {
	name    string
	max     int
	entries []loggedEnd
	dropped uint64 // how many left at the front
	ids     map[string]struct{}
	keys    map[Key]struct{}
}

type loggedEnd struct {
	ended  Ended
	key    Key
	logged time.Time
}

func newEndedLog(name string, limit int) endedLog {
	return endedLog{name: name, max: limit, ids: make(map[string]struct{}), keys: make(map[Key]struct{})}
}

func (l *endedLog) append(e Ended, key Key, now time.Time) {
	l.entries = append(l.entries, loggedEnd{ended: e, key: key, logged: now})
	l.ids[e.ID] = struct{}{}
	l.keys[key] = struct{}{}
	l.trim(now)
}

func (l *endedLog) knows(id string, key Key) bool {
	_, hasID := l.ids[id]
	_, hasKey := l.keys[key]
	return hasID || hasKey
}

// trim drops what is too old or too much. A reader that still wanted it learns
// so by ErrCursorLost.
func (l *endedLog) trim(now time.Time) {
	n := 0
	for n < len(l.entries) && (len(l.entries)-n > l.max || now.Sub(l.entries[n].logged) > logMemory) {
		delete(l.ids, l.entries[n].ended.ID)
		delete(l.keys, l.entries[n].key)
		n++
	}
	clear(l.entries[:n]) // the array lives on until append moves it
	l.entries = l.entries[n:]
	l.dropped += uint64(n)
}

func (l *endedLog) since(cursor string, limit int) (ended []Ended, next string, err error) {
	last := l.dropped + uint64(len(l.entries))
	if cursor == "" {
		return nil, l.cursor(last), nil
	}
	name, number, _ := strings.Cut(cursor, ".")
	from, err := strconv.ParseUint(number, 10, 64)
	if err != nil || name != l.name || from < l.dropped || from > last {
		return nil, "", ErrCursorLost
	}
	rest := l.entries[from-l.dropped:]
	rest = rest[:min(len(rest), max(limit, 0))]
	for _, e := range rest {
		ended = append(ended, e.ended)
	}
	return ended, l.cursor(from + uint64(len(rest))), nil
}

func (l *endedLog) cursor(n uint64) string { return l.name + "." + strconv.FormatUint(n, 10) }
