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

// eventLine is the push of an event. name is the channel as JSON.
func eventLine(name []byte, e *Event) []byte {
	b := make([]byte, 0, len(name)+len(e.Publication.Data)+160)
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
	b, err := json.Marshal(c)
	if err != nil { // Info was checked when the client connected
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
	b := append([]byte(`{"push":{"message":{"data":`), data...)
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
