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
//
// They stand in blocks: one slice would be moved as a whole now and then, while
// everybody waits.
type endedLog struct {
	name    string
	max     int
	blocks  [][]loggedEnd
	first   int    // where the first entry stands in the first block
	n       int    // how many there are
	dropped uint64 // how many left at the front
	ids     map[string]struct{}
	keys    map[Key]struct{}
}

type loggedEnd struct {
	ended  Ended
	key    Key
	logged time.Time
}

const logBlock = 256

func newEndedLog(name string, limit int) endedLog {
	return endedLog{name: name, max: limit, ids: make(map[string]struct{}), keys: make(map[Key]struct{})}
}

// at returns the entry that i others stand before.
func (l *endedLog) at(i int) *loggedEnd {
	i += l.first
	return &l.blocks[i/logBlock][i%logBlock]
}

func (l *endedLog) append(e Ended, key Key, now time.Time) {
	both := e.ID + e.UserID // a copy: they are parts of the whole record's text
	e.ID, e.UserID = both[:len(e.ID)], both[len(e.ID):]
	if l.first+l.n == len(l.blocks)*logBlock {
		l.blocks = append(l.blocks, make([]loggedEnd, logBlock))
	}
	l.n++
	*l.at(l.n - 1) = loggedEnd{ended: e, key: key, logged: now}
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
	for l.n > 0 && (l.n > l.max || now.Sub(l.at(0).logged) > logMemory) {
		x := l.at(0)
		delete(l.ids, x.ended.ID)
		delete(l.keys, x.key)
		*x = loggedEnd{}
		l.dropped++
		l.n--
		if l.first++; l.first == logBlock {
			l.blocks, l.first = l.blocks[1:], 0
		}
	}
}

func (l *endedLog) since(cursor string, limit int) (ended []Ended, next string, err error) {
	last := l.dropped + uint64(l.n)
	if cursor == "" {
		return nil, l.cursor(last), nil
	}
	name, number, _ := strings.Cut(cursor, ".")
	from, err := strconv.ParseUint(number, 10, 64)
	if err != nil || name != l.name || from < l.dropped || from > last {
		return nil, "", ErrCursorLost
	}
	n := min(last-from, uint64(max(limit, 0)))
	for i := range n {
		ended = append(ended, l.at(int(from-l.dropped+i)).ended)
	}
	return ended, l.cursor(from + n), nil
}

func (l *endedLog) cursor(n uint64) string { return l.name + "." + strconv.FormatUint(n, 10) }
