-- ARGV: log retention, epoch retention, user, id to spare, reason, at, prefix
-- of the user's sessions in the index, what comes after them, epoch or ''.
local why = unfit()
if why then return why end
if ARGV[9] ~= '' then
	local base, number = unpack(call('HMGET', all, '.base', 'e' .. ARGV[3]))
	if int(base + (number or 0)) ~= ARGV[9] then return 'epoch' end
end
local keepLog, user, t = tonumber(ARGV[1]), ARGV[3], now()
local number = int(call('HINCRBY', all, '.raised', 1))
call('HSET', all, 'e' .. user, number, 'q' .. number, struct.pack('>d', t) .. user)
lower(2, t, tonumber(ARGV[2]))
keep(t)
local ended = {}
if user == '' then return ended end -- anonymous sessions are nobody's
for _, id in ipairs(under(ARGV[7], ARGV[8])) do
	local header = headerOf(id)
	if not header then
		call('ZREM', index, ARGV[7] .. id) -- an orphan
	elseif id ~= ARGV[4] and userOf(header) == user then
		finish(id, header, ARGV[5], ARGV[6], t, keepLog)
		ended[#ended + 1] = id
		ended[#ended + 1] = user
	end
end
return ended
