package realtime

import (
	"context"
	"errors"
	"strconv"
)

// publishCommand answers a publish command.
func (c *conn) publishCommand(ctx context.Context, who Identity, q *publishRequest) *Error {
	if len(q.Data) == 0 {
		return errBadRequest
	}
	grant, e := c.allowed(ctx, who, q.Channel)
	if e != nil {
		return e
	}
	if !grant.Publish {
		return errDenied
	}
	data, err := compact(q.Data)
	if err != nil {
		return errBadRequest
	}
	if err := c.hub.publish(ctx, q.Channel, Publication{Data: data, Info: c.info}); errors.Is(err, errTooLarge) {
		return errLimit
	} else if err != nil {
		return c.errorFor("publish", err)
	}
	return nil
}

// presenceCommand answers a presence command: who is in a channel.
func (c *conn) presenceCommand(ctx context.Context, who Identity, channel string) (any, *Error) {
	if e := c.mayPresence(ctx, who, channel); e != nil {
		return nil, e
	}
	list, err := c.hub.presence.List(ctx, channel, maxPresence)
	if err != nil {
		return nil, c.errorFor("presence", err)
	}
	clients := make(map[string]ClientInfo, len(list))
	room := c.hub.o.MaxQueue / 2 // more would not fit a reply; presence_stats counts them all
	for _, info := range list {
		if room -= info.size() + len(info.Client); room < 0 {
			break
		}
		clients[info.Client] = info
	}
	return struct {
		Presence map[string]ClientInfo `json:"presence"`
	}{clients}, nil
}

// maxPresence is how many clients one answer lists.
const maxPresence = 10_000

func (c *conn) presenceStats(ctx context.Context, who Identity, channel string) (any, *Error) {
	if e := c.mayPresence(ctx, who, channel); e != nil {
		return nil, e
	}
	clients, users, err := c.hub.presence.Stats(ctx, channel)
	if err != nil {
		return nil, c.errorFor("presence", err)
	}
	return struct {
		Clients int `json:"num_clients"`
		Users   int `json:"num_users"`
	}{clients, users}, nil
}

func (c *conn) mayPresence(ctx context.Context, who Identity, channel string) *Error {
	grant, e := c.allowed(ctx, who, channel)
	if e != nil {
		return e
	}
	if !grant.Presence {
		return errDenied
	}
	if c.hub.presence == nil {
		return errNotAvailable
	}
	return nil
}

type historyRequest struct {
	Channel string `json:"channel"`
	Limit   int    `json:"limit"` // 0: the position alone; below: as many as allowed
	Reverse bool   `json:"reverse"`
	Since   *struct {
		Offset uint64 `json:"offset"`
		Epoch  string `json:"epoch"`
	} `json:"since"`
}

// historyCommand answers a history command.
func (c *conn) historyCommand(ctx context.Context, who Identity, q *historyRequest) (any, *Error) {
	grant, e := c.allowed(ctx, who, q.Channel)
	if e != nil {
		return nil, e
	}
	if !grant.History {
		return nil, errDenied
	}
	kept, _ := longest(c.hub.o.Channels, q.Channel)
	if kept.HistorySize == 0 {
		return nil, errNotAvailable
	}
	f := ReadFilter{Limit: q.Limit, Reverse: q.Reverse, Keep: Keep{Size: kept.HistorySize, TTL: kept.HistoryTTL}}
	if f.Limit < 0 || f.Limit > c.hub.o.MaxHistory {
		f.Limit = c.hub.o.MaxHistory
	}
	if q.Since != nil {
		f.Since = &Position{Offset: q.Since.Offset, Epoch: q.Since.Epoch}
	}
	pubs, top, err := c.hub.history.Read(ctx, q.Channel, f)
	if err != nil {
		return nil, c.errorFor("history", err)
	}
	if q.Since != nil && q.Since.Epoch != "" && q.Since.Epoch != top.Epoch {
		return nil, errUnrecoverable
	}
	list := publications(pubs)
	for len(list) > 1 && list.size() > c.hub.o.MaxQueue/2 { // the client pages on from the last
		list = list[:len(list)/2]
	}
	if list == nil {
		list = publications{}
	}
	return struct {
		Publications publications `json:"publications"`
		Epoch        string       `json:"epoch"`
		Offset       uint64       `json:"offset"`
	}{list, top.Epoch, top.Offset}, nil
}

// rpc answers an rpc command.
func (c *conn) rpc(ctx context.Context, id uint32, q *rpcRequest) {
	f := c.hub.o.RPC[q.Method]
	if f == nil {
		c.refuse(id, errMethodNotFound)
		return
	}
	data, err := f(ctx, &c.face, q.Data)
	if err == nil && len(data) > 0 {
		data, err = oneLine(data)
	}
	if err != nil {
		c.refuse(id, c.errorFor("rpc "+q.Method, err))
		return
	}
	if len(data) > c.hub.o.MaxQueue*5/8 {
		c.tooLarge(id, "rpc", len(data))
		return
	}
	b := c.lineOf(len(data) + 40)
	*b = strconv.AppendUint(append(*b, `{"id":`...), uint64(id), 10)
	if len(data) == 0 {
		*b = append(*b, `,"rpc":{}}`...)
		return
	}
	*b = append(*b, `,"rpc":{"data":`...)
	*b = append(append(*b, data...), '}', '}')
}
