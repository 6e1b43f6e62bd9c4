package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

// streamMemory is how long a history whose publications have all expired is
// remembered, so that clients in it can still be told that they missed nothing.
const streamMemory = time.Hour

// A history is two keys: a hash with its epoch (e) and top (o), and a stream of
// the publications under their offsets, each with the time of Redis at which it
// came. Without the hash, the stream means nothing.
const historyBegin = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then
	epoch = ARGV[1]
	redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0)
	redis.call('DEL', KEYS[2])
end
local size, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
local function trim()
	redis.call('XTRIM', KEYS[2], 'MAXLEN', size)
	while true do
		local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
		if not oldest or now - tonumber(oldest[2][2]) < ttl then
			return
		end
		redis.call('XDEL', KEYS[2], oldest[1])
	end
end
`

// A Redis that is full refuses a script at its first write, if that is one that
// takes memory, and never later: the offset comes first.
//
// KEYS: hash, stream, channel. ARGV: a new epoch, size, ttl and how long the hash
// stays in ms, publication, the command that publishes.
var appendScript = newScript(historyBegin + `
local offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'o', 1))
redis.call('XADD', KEYS[2], offset .. '-0', 't', now, 'p', ARGV[5])
trim()
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], math.max(ttl, 1))
redis.call(ARGV[6], KEYS[3], offset .. ' ' .. epoch .. '\n' .. ARGV[5])
return {offset, epoch}
`)

// KEYS: hash, stream. ARGV: a new epoch, size, ttl and how long the hash stays in
// ms, limit, "+" or "-" for the direction, and where to begin: the offset and the
// epoch, or nothing.
var readScript = newScript(historyBegin + `
redis.call('PEXPIRE', KEYS[1], ARGV[4])
trim()
local top = redis.call('HGET', KEYS[1], 'o')
local found = {epoch, top}
local limit, from = tonumber(ARGV[5]), ARGV[7]
if limit <= 0 or from and ARGV[8] ~= '' and ARGV[8] ~= epoch then
	return found
end
local list
if ARGV[6] == '+' then
	list = redis.call('XRANGE', KEYS[2], from and '(' .. from .. '-0' or '-', '+', 'COUNT', limit)
elseif from == '0' then
	list = {}
else
	list = redis.call('XREVRANGE', KEYS[2], from and '(' .. from .. '-0' or '+', '-', 'COUNT', limit)
end
for _, entry in ipairs(list) do
	found[#found + 1] = entry[1]
	found[#found + 1] = entry[2][4]
end
return found
`)

func keep(k realtime.Keep) []any {
	return []any{
		randomID()[:10], max(k.Size, 0),
		max(k.TTL.Milliseconds(), 0), (max(k.TTL, 0) + streamMemory).Milliseconds(),
	}
}

// Append stores a publication and hands it out, in one step of Redis. What it
// keeps expires by the clock of Redis, from when it came.
func (b *Broker) Append(ctx context.Context, channel string, p realtime.Publication, k realtime.Keep) (realtime.Position, error) {
	args := append(keep(k), body(realtime.Event{Kind: realtime.EventPublication, Publication: p}), b.publishes)
	reply, err := b.run(ctx, appendScript, []string{b.meta(channel), b.stream(channel), b.channel(channel)}, args...)
	if err != nil {
		return realtime.Position{}, err
	}
	at, err := texts(reply, 2)
	if err != nil {
		return realtime.Position{}, err
	}
	offset, err := strconv.ParseUint(at[0], 10, 64)
	if err != nil {
		return realtime.Position{}, errReply
	}
	return realtime.Position{Offset: offset, Epoch: at[1]}, nil
}

// Read returns publications and the top, in one round trip.
func (b *Broker) Read(ctx context.Context, channel string, f realtime.ReadFilter) ([]realtime.Publication, realtime.Position, error) {
	direction := "+"
	if f.Reverse {
		direction = "-"
	}
	args := append(keep(f.Keep), f.Limit, direction)
	if f.Since != nil {
		args = append(args, strconv.FormatUint(f.Since.Offset, 10), f.Since.Epoch)
	}
	reply, err := b.run(ctx, readScript, []string{b.meta(channel), b.stream(channel)}, args...)
	if err != nil {
		return nil, realtime.Position{}, err
	}
	found, err := texts(reply, 2)
	if err != nil {
		return nil, realtime.Position{}, err
	}
	top := realtime.Position{Epoch: found[0]}
	if top.Offset, err = strconv.ParseUint(found[1], 10, 64); err != nil || len(found)%2 != 0 {
		return nil, realtime.Position{}, errReply
	}
	var pubs []realtime.Publication
	for found = found[2:]; len(found) > 0; found = found[2:] {
		e, err := decodeBody(found[1])
		if err != nil {
			return nil, realtime.Position{}, fmt.Errorf("%w in the history", err)
		}
		offset, _, _ := strings.Cut(found[0], "-")
		e.Publication.Epoch = top.Epoch
		if e.Publication.Offset, err = strconv.ParseUint(offset, 10, 64); err != nil {
			return nil, realtime.Position{}, errReply
		}
		pubs = append(pubs, e.Publication)
	}
	return pubs, top, nil
}

// texts is a reply that is a list of at least n texts.
func texts(reply any, n int) ([]string, error) {
	list, ok := reply.([]any)
	if !ok || len(list) < n {
		return nil, errReply
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			return nil, errReply
		}
	}
	return out, nil
}
