-- ARGV: name of the log or '', number of the last entry read, limit.
local why = unfit()
if why then return why end
local log, seq, cut = unpack(call('HMGET', all, '.log', '.seq', '.cut'))
if ARGV[1] == '' then return {log, seq} end
local after, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
seq, cut = tonumber(seq), tonumber(cut)
if ARGV[1] ~= log or after > seq or after < cut then return 'lost' end
local last = math.min(after + limit, seq)
local reply = {log, int(last)}
for n = after + 1, last do
	local entry = call('HGET', all, 'l' .. int(n))
	if not entry then return 'lost' end
	reply[#reply + 1] = entry
end
return reply
