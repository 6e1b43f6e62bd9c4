-- ARGV: log retention, id, key, header, body, end of its time, Expires, user,
-- epoch or ''.
local why = unfit()
if why then return why end
local keepLog, id, key, header = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
if call('HEXISTS', all, 'k' .. key) == 1 or call('HEXISTS', all, 'h' .. id) == 1 then return 'exists' end
if ARGV[9] ~= '' then
	local base, number = unpack(call('HMGET', all, '.base', 'e' .. ARGV[8]))
	if int(base + (number or 0)) ~= ARGV[9] then return 'epoch' end
end
call('HSET', all, 'k' .. key, id, 'h' .. id, header, 'd' .. id, ARGV[5])
for _, token in ipairs(tokens(header)) do call('ZADD', index, 0, token .. id) end
call('ZADD', dies, ARGV[6], id)
keep(tonumber(ARGV[7]))
-- The safety net of who never calls Reap: who comes takes two along that have
-- been over for a week.
local t = now()
for _, old in ipairs(call('ZRANGEBYSCORE', dies, '-inf', int(t - 7 * day), 'LIMIT', 0, 2)) do
	local gone = headerOf(old)
	if not gone then
		call('ZREM', dies, old)
	elseif old ~= id then
		finish(old, gone, 'expired', t, t, keepLog)
	end
end
return 'ok'
