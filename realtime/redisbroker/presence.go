package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
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

// beatSource keeps a node and returns some of those that are to be cleared away.
// Who has not beaten for another ttl is set down as dead, and cleared away only
// after graceTTLs more: after an outage of Redis all have lapsed, and each needs
// time to come back. KEYS: nodes, dead. ARGV: node, ttl in ms, graceTTLs.
const beatSource = redisNow + `
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2], 'LIMIT', 0, 100)) do
	redis.call('ZREM', KEYS[1], node)
	redis.call('ZADD', KEYS[2], now, node)
end
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2] * ARGV[3], 'LIMIT', 0, 4)
`

const graceTTLs = 10

// leaveSource takes a client off a channel if it is the node's, entered before.
// Where an Enter may be under way still, it is kept out. KEYS: clients, fence.
// ARGV: client, the node as entries begin with it, number, how long to keep out
// in ms.
const leaveSource = `
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry and string.sub(entry, 1, #ARGV[2]) == ARGV[2] and tonumber(string.sub(entry, #ARGV[2] + 1, #ARGV[2] + 16)) < tonumber(ARGV[3]) then
	redis.call('HDEL', KEYS[1], ARGV[1])
end
if ARGV[4] ~= '0' and tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[3]) then
	redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
end
return 0
`

const (
	// Of Enter and Leave of one client, the later counts, whatever comes first at
	// Redis: they are numbered, in so many digits.
	digits = 16
	last   = 1e16 - 1

	// keptOut is how long a command whose sender has given up may be on its way.
	keptOut = 15 * time.Minute
)

var (
	beatScript  = newScript(beatSource)
	leaveScript = newScript(leaveSource)

	// KEYS: clients, fence. ARGV: client, entry, number.
	enterScript = newScript(`
local fence = redis.call('GET', KEYS[2])
if not fence or tonumber(fence) < tonumber(ARGV[3]) then
	redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 0
`)

	// KEYS: nodes.
	aliveScript = newScript(redisNow + `
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')
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
	local user = field(entry, last + 17)
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

// place is a client of a node in a channel.
type place struct{ node, channel, client string }

// debts are what Redis may not have understood. What ends them is Leave, when it
// succeeds at last: a client that is gone and listed would be so for as long as
// its node lives.
type debts struct {
	mu   sync.Mutex
	late map[place]int64 // the number of an Enter that has failed, and may be on its way still
	left map[place]int64 // that of a Leave that has failed
}

func (d *debts) entering(p place, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == nil {
		d.late = map[place]int64{}
	}
	d.late[p] = max(d.late[p], n)
}

func (d *debts) isLate(p place) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late[p] > 0
}

// leaving takes down what came of a Leave.
func (d *debts) leaving(p place, n int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if d.left == nil {
			d.left = map[place]int64{}
		}
		d.left[p] = max(d.left[p], n)
		return
	}
	// Of later ones this says nothing.
	if d.left[p] <= n {
		delete(d.left, p)
	}
	if d.late[p] < n {
		delete(d.late, p)
	}
}

// of returns some of the Leaves a node owes.
func (d *debts) of(node string) map[place]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	some := map[place]int64{}
	for p, n := range d.left {
		if p.node == node && len(some) < 1000 {
			some[p] = n
		}
	}
	return some
}

// Enter lists a client under a channel. When it fails, the client may be listed,
// or be so a moment later, until Leave.
func (b *Broker) Enter(ctx context.Context, node, channel string, c realtime.ClientInfo, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return fail(ctx, err)
	}
	p, n := place{node, channel, c.Client}, b.seq.Add(1)
	// What others need to clean up comes first: this node may die in between.
	_, err := b.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.SAdd(ctx, b.entered(node), measured(channel)+c.Client)
		pipe.Eval(ctx, beatSource, []string{b.nodes(), b.dead()}, node, millis(ttl), graceTTLs)
		return nil
	})
	if err != nil {
		return fail(ctx, err)
	}
	entry := measured(node) + numbered(n) + measured(c.User) + measured(string(c.Info))
	if _, err = b.run(ctx, enterScript, []string{b.clients(channel), b.fence(p)}, c.Client, entry, n); err != nil {
		b.debts.entering(p, n)
	}
	return err
}

func numbered(n int64) string { return fmt.Sprintf("%0*d", digits, n) }

// Leave takes a client off a channel's list. When it fails, Beat tries again.
func (b *Broker) Leave(ctx context.Context, node, channel, client string) error {
	p := place{node, channel, client}
	if err := b.leave(ctx, p, b.seq.Add(1)); err != nil {
		return err
	}
	return fail(ctx, b.client.SRem(ctx, b.entered(node), measured(channel)+client).Err())
}

func (b *Broker) leave(ctx context.Context, p place, n int64) error {
	var out int64
	if b.debts.isLate(p) {
		out = keptOut.Milliseconds()
	}
	_, err := b.run(ctx, leaveScript, []string{b.clients(p.channel), b.fence(p)}, p.client, measured(p.node), n, out)
	b.debts.leaving(p, n, err)
	return err
}

// Beat keeps what node has entered for ttl from now, in one command. It also
// sees to it that clients leave whose Leave has failed, and clears away what
// nodes that are long dead had entered, some at a time.
func (b *Broker) Beat(ctx context.Context, node string, ttl time.Duration) error {
	reply, err := b.run(ctx, beatScript, []string{b.nodes(), b.dead()}, node, millis(ttl), graceTTLs)
	if err != nil {
		return err
	}
	dead, err := texts(reply, 0)
	if err != nil {
		return err
	}
	for _, n := range dead {
		if err := b.clearAway(ctx, n); err != nil {
			b.log.WarnContext(ctx, "redisbroker: clearing away a dead node's presence", "error", err)
			return nil // the beat has counted; the next one tries again
		}
	}
	for p, n := range b.debts.of(node) {
		if err := b.leave(ctx, p, n); err != nil {
			b.log.WarnContext(ctx, "redisbroker: clients that have left are in presence still", "error", err)
			return nil
		}
	}
	return nil
}

// clearAway removes up to about a thousand entries of a dead node, and the node
// after its last.
func (b *Broker) clearAway(ctx context.Context, node string) error {
	entries, err := b.client.SRandMemberN(ctx, b.entered(node), 1000).Result()
	if err != nil {
		return fail(ctx, err)
	}
	if len(entries) == 0 {
		return fail(ctx, b.client.ZRem(ctx, b.dead(), node).Err())
	}
	// It may have come back since.
	if err := b.client.ZScore(ctx, b.dead(), node).Err(); err != nil {
		return fail(ctx, err)
	}
	if _, err := b.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, entry := range entries {
			if channel, client, ok := cutMeasured(entry); ok {
				p.Eval(ctx, leaveSource, []string{b.clients(channel), b.fence(place{node, channel, client})}, client, measured(node), int64(last), 0)
			}
		}
		return nil
	}); err != nil {
		return fail(ctx, err)
	}
	members := make([]any, len(entries))
	for i, entry := range entries {
		members[i] = entry
	}
	return fail(ctx, b.client.SRem(ctx, b.entered(node), members...).Err())
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
		rest = rest[min(digits, len(rest)):]
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
