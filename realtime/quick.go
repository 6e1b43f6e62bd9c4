package realtime

import (
	"bytes"
	"encoding/json"
)

// quick reads the commands that clients send most, in the form that clients
// give them, into t.command: one pass and no memory but for what a handler may
// keep. False says nothing: parseCommand decides about everything else, and
// about what is wrong.
func (h *Hub) quick(t *task, line []byte) bool {
	q := &t.command
	*q = command{}
	s := scanner{b: line, deep: maxDepth}
	end := s.fields(0, func(key []byte, i int) int {
		switch string(key) {
		case "id":
			if q.ID != 0 {
				return -1
			}
			var j int
			q.ID, j = s.plainID(i)
			return j
		case "connect":
			if !bytes.HasPrefix(line[i:], []byte("{}")) || q.requests() > 0 {
				return -1
			}
			q.Connect = &connectRequest{}
			return i + 2
		case "rpc":
			if q.requests() > 0 {
				return -1
			}
			t.rpc = rpcRequest{}
			q.RPC = &t.rpc
			return s.pair(i, "method", &t.rpc.Method, h.method, &t.rpc.Data)
		case "publish":
			if q.requests() > 0 {
				return -1
			}
			t.publish = publishRequest{}
			q.Publish = &t.publish
			return s.pair(i, "channel", &t.publish.Channel, nil, &t.publish.Data)
		case "send":
			if q.requests() > 0 {
				return -1
			}
			t.send = dataRequest{}
			q.Send = &t.send
			return s.pair(i, "", nil, nil, &t.send.Data)
		}
		return -1
	})
	return end == len(line) && q.valid()
}

// method is a method's name without making a string of it, for those there are.
func (h *Hub) method(b []byte) string {
	if s, ok := h.methods[string(b)]; ok {
		return s
	}
	return string(b)
}

// pair reads an object that holds a plain string and data at most.
func (s *scanner) pair(i int, name string, text *string, intern func([]byte) string, data *json.RawMessage) int {
	return s.fields(i, func(key []byte, i int) int {
		switch {
		case string(key) == "data" && *data == nil:
			end := s.valueEnd(i)
			if end > 0 {
				*data = bytes.Clone(s.b[i:end])
			}
			return end
		case string(key) == name && text != nil && *text == "":
			b, end := s.plainString(i)
			if end > 0 && intern != nil {
				*text = intern(b)
			} else if end > 0 {
				*text = string(b)
			}
			return end
		}
		return -1
	})
}

// fields goes through an object that has no white space between its tokens, and
// returns where it ends. Each value is read by field, which returns where that
// ends; -1 gives up.
func (s *scanner) fields(i int, field func(key []byte, i int) int) int {
	if i >= len(s.b) || s.b[i] != '{' {
		return -1
	}
	for {
		key, end := s.plainString(i + 1)
		if end < 0 || end >= len(s.b) || s.b[end] != ':' {
			return -1
		}
		if i = field(key, end+1); i < 0 || i >= len(s.b) {
			return -1
		}
		if s.b[i] == '}' {
			return i + 1
		}
		if s.b[i] != ',' {
			return -1
		}
	}
}

// plainString returns a string that has no escapes, and where it ends.
func (s *scanner) plainString(i int) ([]byte, int) {
	if i >= len(s.b) || s.b[i] != '"' {
		return nil, -1
	}
	for j := i + 1; j < len(s.b); j++ {
		switch c := s.b[j]; {
		case c == '"':
			return s.b[i+1 : j], j + 1
		case c == '\\' || c < ' ':
			return nil, -1
		}
	}
	return nil, -1
}

// plainID reads a number of at most nine digits.
func (s *scanner) plainID(i int) (id uint32, end int) {
	for end = i; end < len(s.b) && '0' <= s.b[end] && s.b[end] <= '9'; end++ {
		id = id*10 + uint32(s.b[end]-'0')
	}
	if n := end - i; n == 0 || n > 9 || s.b[i] == '0' {
		return 0, -1
	}
	return id, end
}
