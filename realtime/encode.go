package realtime

import (
	"encoding/json"
	"strconv"
)

// quote makes JSON of a string.
func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // strings always marshal
		return []byte(`""`)
	}
	return b
}

// eventFrames makes as few frames as maxFrame allows of the events that are
// wanted, with newlines between those in one frame. name is the channel as JSON;
// nil: they are a group's, whose publications are messages.
func eventFrames(name []byte, events []Event, wanted func(*Event) bool) []byte {
	size := 0
	for i := range events {
		if wanted(&events[i]) {
			size += len(name) + events[i].size() + 80
		}
	}
	if size == 0 {
		return nil
	}
	// The header is written last, when it is known how long it must be.
	const header = 10
	b := make([]byte, 0, size+header)
	for i := 0; i < len(events); {
		start := len(b)
		b = append(b, make([]byte, header)...)
		for ; i < len(events); i++ {
			if !wanted(&events[i]) {
				continue
			}
			before := len(b)
			if before > start+header {
				b = append(b, '\n')
			}
			b = appendEvent(b, name, &events[i])
			if before > start+header && len(b)-start-header > maxFrame {
				b = b[:before] // it begins the next frame
				break
			}
		}
		body := b[start+header:]
		if len(body) == 0 {
			b = b[:start]
			continue
		}
		b = appendHeader(b[:start], frameText, len(body))
		b = append(b, body...) // to the left, or where it is
	}
	return b
}

// appendEvent appends the push of an event.
func appendEvent(b, name []byte, e *Event) []byte {
	if name == nil {
		return appendMessage(b, e.Publication.Data)
	}
	b = append(b, `{"push":{"channel":`...)
	b = append(b, name...)
	switch e.Kind {
	case EventJoin:
		b = append(b, `,"join":{"info":`...)
		b = append(b, infoJSON(&e.Client)...)
		b = append(b, '}')
	case EventLeave:
		b = append(b, `,"leave":{"info":`...)
		b = append(b, infoJSON(&e.Client)...)
		b = append(b, '}')
	default:
		b = append(b, `,"pub":`...)
		b = appendPublication(b, &e.Publication)
	}
	return append(b, '}', '}')
}

func appendPublication(b []byte, p *Publication) []byte {
	b = append(b, `{"data":`...)
	b = append(b, p.Data...)
	if p.Info != nil {
		b = append(b, `,"info":`...)
		b = append(b, infoJSON(p.Info)...)
	}
	if p.Offset > 0 {
		b = append(b, `,"offset":`...)
		b = strconv.AppendUint(b, p.Offset, 10)
	}
	return append(b, '}')
}

func infoJSON(c *ClientInfo) []byte {
	b, err := encodeJSON(c) // without escapes for HTML, which would make more of it than size says
	if err != nil {         // Info was checked when the client connected
		return []byte(`{}`)
	}
	return b
}

func unsubscribeLine(channel string, why unsubscribed) []byte {
	b := append([]byte(`{"push":{"channel":`), quote(channel)...)
	b = append(b, `,"unsubscribe":{"code":`...)
	b = strconv.AppendUint(b, uint64(why.Code), 10)
	b = append(b, `,"reason":`...)
	b = append(b, quote(why.Reason)...)
	return append(b, `}}}`...)
}

func messageLine(data json.RawMessage) []byte {
	return appendMessage(make([]byte, 0, len(data)+32), data)
}

func appendMessage(b []byte, data json.RawMessage) []byte {
	b = append(append(b, `{"push":{"message":{"data":`...), data...)
	return append(b, `}}}`...)
}

// publications is a list of them as JSON.
type publications []Publication

// MarshalJSON writes what clients are shown of each.
func (ps publications) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i := range ps {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendPublication(b, &ps[i])
	}
	return append(b, ']'), nil
}

// size says how many bytes of data publications hold, roughly.
func (ps publications) size() int {
	n := 0
	for i := range ps {
		n += ps[i].size()
	}
	return n
}

// within returns the first of them that fit into so many bytes.
func (ps publications) within(room int) publications {
	for i := range ps {
		if room -= ps[i].size(); room < 0 {
			return ps[:i]
		}
	}
	return ps
}

func (p *Publication) size() int {
	n := len(p.Data) + 64
	if p.Info != nil {
		n += p.Info.size()
	}
	return n
}

func (c *ClientInfo) size() int { return len(c.Client) + len(c.User) + len(c.Info) + 64 }

func (e *Event) size() int { return e.Publication.size() + e.Client.size() }
