package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewire/gatewire/realtime"
)

// Who is in a channel is one hash, client by client, each with its node. Until
// when a node counts stands in one sorted set for all, so that a beat is one
// command, whatever the node has entered. What it has entered is also a set of
// its own, by which others clean up after it.

const redisNow = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
`

// beatSource keeps a node and returns some of those dead for another ttl. KEYS:
// nodes. ARGV: node, ttl in ms.
const beatSource = redisNow + `
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2], 'LIMIT', 0, 4)
`

// leaveSource takes a client off a channel if it is the node's. KEYS: clients.
// ARGV: client, the node as entries begin with it.
const leaveSource = `
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry and string.sub(entry, 1, #ARGV[2]) == ARGV[2] then
	redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
`

var (
	beatScript  = newScript(beatSource)
	leaveScript = newScript(leaveSource)

	// KEYS: nodes.
	aliveScript = newScript(redisNow + `
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')
`)

	// buryScript forgets a node unless it lives again or has entries. KEYS: nodes.
	// ARGV: node, ttl in ms.
	buryScript = newScript(redisNow + `
local till = redis.call('ZSCORE', KEYS[1], ARGV[1])
if till and tonumber(till) <= now - ARGV[2] then
	redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
`)
)

// pagesSource goes through a channel's clients of living nodes, each once. A scan
// may show one twice. KEYS: clients. ARGV: limit, living nodes.
const pagesSource = `
local alive = {}
for i = 2, #ARGV do
	alive[#ARGV[i] .. ':' .. ARGV[i]] = true
end
-- field returns the field that begins at a place, with its length, and its end.
local function field(s, at)
	local colon = string.find(s, ':', at, true)
	local last = colon + tonumber(string.sub(s, at, colon - 1))
	return string.sub(s, at, last), last
end
local seen, cursor, limit = {}, '0', tonumber(ARGV[1])
local function pages(take)
	repeat
		local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 512)
		cursor = page[1]
		for i = 1, #page[2], 2 do
			local client, entry = page[2][i], page[2][i + 1]
			local node, last = field(entry, 1)
			if alive[node] and not seen[client] then
				seen[client] = true
				if not take(client, entry, last) then
					return
				end
			end
		end
	until cursor == '0'
end
`

var (
	listScript = newScript(pagesSource + `
local found = {}
if limit > 0 then
	pages(function(client, entry)
		found[#found + 1] = client
		found[#found + 1] = entry
		return #found < 2 * limit
	end)
end
return found
`)

	statsScript = newScript(pagesSource + `
local clients, users, known = 0, 0, {}
pages(function(_, entry, last)
	clients = clients + 1
	local user = field(entry, last + 1)
	if not known[user] then
		known[user] = true
		users = users + 1
	end
	return true
end)
return {clients, users}
`)
)

// measured is a text with its length in front.
func measured(s string) string { return strconv.Itoa(len(s)) + ":" + s }

// cutMeasured takes a measured text off s.
func cutMeasured(s string) (text, rest string, ok bool) {
	length, rest, ok := strings.Cut(s, ":")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 0 || n > len(rest) {
		return "", "", false
	}
	return rest[:n], rest[n:], true
}

func millis(d time.Duration) int64 { return max(d.Milliseconds(), 0) }

// Enter lists a client under a channel.
func (b *Broker) Enter(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
	entry := measured(node) + measured(c.User) + measured(string(c.Info))
	// What others need to clean up comes first: this node may die in between.
	return b.await(ctx, func() error {
		_, err := b.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.SAdd(ctx, b.entered(node), measured(channel)+c.Client)
			p.Eval(ctx, beatSource, []string{b.nodes()}, node, millis(ttl))
			return nil
		})
		if err != nil {
			return err
		}
		// Who asked may have given up, and undone it with Leave: no late entry.
		if err := ctx.Err(); err != nil {
			return err
		}
		cmd := redis.NewCmd(ctx, "HSET", b.clients(channel), c.Client, entry)
		cmd.SetFirstKeyPos(1)
		return b.send(ctx, cmd)
	})
}

// Leave takes a client off a channel's list.
func (b *Broker) Leave(ctx context.Context, node, channel, client string) error {
	if _, err := b.run(ctx, leaveScript, []string{b.clients(channel)}, client, measured(node)); err != nil {
		return err
	}
	return b.await(ctx, func() error { return b.client.SRem(ctx, b.entered(node), measured(channel)+client).Err() })
}

// Beat keeps what node has entered for ttl from now, in one command. It also
// clears away what nodes dead for another ttl had entered, some at a time.
func (b *Broker) Beat(ctx context.Context, node string, ttl time.Duration) error {
	reply, err := b.run(ctx, beatScript, []string{b.nodes()}, node, millis(ttl))
	if err != nil {
		return err
	}
	dead, err := texts(reply, 0)
	if err != nil {
		return err
	}
	for _, n := range dead {
		if err := b.clearAway(ctx, n, ttl); err != nil {
			b.log.WarnContext(ctx, "redisbroker: clearing away a dead node's presence", "error", err)
			return nil // the beat has counted; the next one tries again
		}
	}
	return nil
}

// clearAway removes up to about a thousand entries of a dead node, and the node
// after its last.
func (b *Broker) clearAway(ctx context.Context, node string, ttl time.Duration) error {
	left := false
	err := b.await(ctx, func() error {
		entries, err := b.client.SRandMemberN(ctx, b.entered(node), 1000).Result()
		if err != nil || len(entries) == 0 {
			return err
		}
		left = true
		if _, err := b.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, entry := range entries {
				if channel, client, ok := cutMeasured(entry); ok {
					p.Eval(ctx, leaveSource, []string{b.clients(channel)}, client, measured(node))
				}
			}
			return nil
		}); err != nil {
			return err
		}
		members := make([]any, len(entries))
		for i, entry := range entries {
			members[i] = entry
		}
		return b.client.SRem(ctx, b.entered(node), members...).Err()
	})
	if err != nil || left {
		return err
	}
	_, err = b.run(ctx, buryScript, []string{b.nodes()}, node, millis(ttl))
	return err
}

// scan runs a script over a channel's clients of living nodes.
func (b *Broker) scan(ctx context.Context, s script, channel string, limit int) (any, error) {
	reply, err := b.run(ctx, aliveScript, []string{b.nodes()})
	if err != nil {
		return nil, err
	}
	nodes, err := texts(reply, 0)
	if err != nil {
		return nil, err
	}
	args := make([]any, 0, 1+len(nodes))
	args = append(args, limit)
	for _, n := range nodes {
		args = append(args, n)
	}
	return b.run(ctx, s, []string{b.clients(channel)}, args...)
}

// List returns at most limit clients of a channel.
func (b *Broker) List(ctx context.Context, channel string, limit int) ([]realtime.ClientInfo, error) {
	reply, err := b.scan(ctx, listScript, channel, limit)
	if err != nil {
		return nil, err
	}
	found, err := texts(reply, 0)
	if err != nil {
		return nil, err
	}
	clients := make([]realtime.ClientInfo, 0, len(found)/2)
	for ; len(found) > 1; found = found[2:] {
		_, rest, ok1 := cutMeasured(found[1])
		user, rest, ok2 := cutMeasured(rest)
		info, rest, ok3 := cutMeasured(rest)
		if !ok1 || !ok2 || !ok3 || rest != "" {
			return nil, fmt.Errorf("%w: presence", errReply)
		}
		clients = append(clients, realtime.ClientInfo{Client: found[0], User: user, Info: raw(info)})
	}
	return clients, nil
}

// Stats counts the clients of a channel and the users they are, in a time that
// grows with their number.
func (b *Broker) Stats(ctx context.Context, channel string) (clients, users int, err error) {
	reply, err := b.scan(ctx, statsScript, channel, 0)
	if err != nil {
		return 0, 0, err
	}
	counts, ok := reply.([]any)
	if !ok || len(counts) != 2 {
		return 0, 0, errReply
	}
	c, ok1 := counts[0].(int64)
	u, ok2 := counts[1].(int64)
	if !ok1 || !ok2 {
		return 0, 0, errReply
	}
	return int(c), int(u), nil
}
