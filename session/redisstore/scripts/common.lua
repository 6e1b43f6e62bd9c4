-- The three keys of a store. all is a hash of what is found by its name:
--   h<id>   header of a session (record.go); empty: it has ended and is in the log
--   d<id>   body of a session, which scripts only pass on
--   k<key>  id of the session a client presents this key for; empty: it has ended
--   l<n>    entry n of the log of ended sessions
--   e<user> number of the user's last epoch;  q<n> when and for whom n was given out
--   .v .log .seq .cut .base .raised .lowered .until   the head
-- index is a sorted set of <token><id>, a token for each user and origin; dies
-- has each id at the time its session is over. Both hold an empty member, so
-- that they are there also when there is no session.
local all, index, dies = KEYS[1], KEYS[2], KEYS[3]
local call = redis.call

local day = 24 * 60 * 60 * 1000

-- Numbers are doubles here: whole milliseconds fit, and are not written 1e+12.
local function int(n) return string.format('%.0f', n) end

local function now()
	local t = call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- unfit says why the store can't be used as it is. 'new': nothing is there, or
-- eviction took a part. What is left is worth nothing then: without the index
-- EndUser would miss sessions that live. v is the version, where it is known.
local function unfit(v)
	if v == nil then v = call('HGET', all, '.v') end
	if v and v ~= '1' then return 'version' end
	if not v or call('EXISTS', index, dies) ~= 2 then return 'new' end
end

-- keep makes the store outlast ms by two weeks at least. A store that nobody
-- uses any more goes by itself.
local function keep(ms)
	if ms + 15 * day > tonumber(call('HGET', all, '.until')) then
		local at = int(ms + 31 * day)
		call('HSET', all, '.until', at)
		for _, key in ipairs(KEYS) do call('PEXPIREAT', key, at) end
	end
end

local function tokens(header)
	local list = {}
	for i = 1, header:byte(74) do list[i] = header:sub(58 + 17 * i, 74 + 17 * i) end
	return list
end

local function userOf(header) return header:sub(75 + 17 * header:byte(74)) end

-- prune forgets at most n entries at the old end of the log, and the ids and
-- keys that were taken by what they tell of.
local function prune(n, t, keepLog)
	local seq, cut = unpack(call('HMGET', all, '.seq', '.cut'))
	seq, cut = tonumber(seq), tonumber(cut)
	local before = cut
	while n > 0 and cut < seq do
		local name = 'l' .. int(cut + 1)
		local entry = call('HGET', all, name)
		if entry then
			local _, logged, _, reason, user, rest = struct.unpack('>BddI4I4', entry)
			if logged > t - keepLog then break end
			call('HDEL', all, name, 'k' .. entry:sub(rest, rest + 31), 'h' .. entry:sub(rest + 32 + reason + user))
		end
		cut, n = cut + 1, n - 1
	end
	if cut ~= before then call('HSET', all, '.cut', int(cut)) end
end

-- lower forgets at most n epochs that no sign-in can hold the one before of.
local function lower(n, t, keepEpoch)
	local raised, lowered = unpack(call('HMGET', all, '.raised', '.lowered'))
	raised, lowered = tonumber(raised), tonumber(lowered)
	local before = lowered
	while n > 0 and lowered < raised do
		local number = int(lowered + 1)
		local entry = call('HGET', all, 'q' .. number)
		if entry then
			if struct.unpack('>d', entry) > t - keepEpoch then break end
			local user = 'e' .. entry:sub(9)
			if call('HGET', all, user) == number then call('HDEL', all, user) end
			call('HDEL', all, 'q' .. number)
		end
		lowered, n = lowered + 1, n - 1
	end
	if lowered ~= before then call('HSET', all, '.lowered', int(lowered)) end
end

-- headerOf returns nil for a session that is not there or has ended.
local function headerOf(id)
	local header = call('HGET', all, 'h' .. id)
	if header and header ~= '' then return header end
end

-- find returns the header and the id of the session under a key.
local function find(key)
	local id = call('HGET', all, 'k' .. key)
	if id and id ~= '' then return headerOf(id), id end
end

-- finish ends a session that is there and logs that.
local function finish(id, header, reason, at, t, keepLog)
	call('ZREM', dies, id)
	for _, token in ipairs(tokens(header)) do call('ZREM', index, token .. id) end
	local key, user = header:sub(42, 73), userOf(header)
	call('HDEL', all, 'd' .. id)
	call('HSET', all, 'h' .. id, '', 'k' .. key, '')
	call('HSET', all, 'l' .. int(call('HINCRBY', all, '.seq', 1)),
		struct.pack('>BddI4I4', 1, t, tonumber(at), #reason, #user) .. key .. reason .. user .. id)
	prune(2, t, keepLog)
	keep(t)
end

-- under returns the ids behind a prefix of the index. after is the first text
-- that is behind all of them.
local function under(prefix, after)
	local ids = {}
	for i, member in ipairs(call('ZRANGEBYLEX', index, '[' .. prefix, '(' .. after)) do
		ids[i] = member:sub(#prefix + 1)
	end
	return ids
end
