-- ARGV: log retention, epoch retention, now, limit.
local why = unfit()
if why then return why end
local keepLog, at, limit, t = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4]), now()
prune(2 * limit + 1000, t, keepLog)
lower(limit + 1000, t, tonumber(ARGV[2]))
local ended = {}
while #ended < 2 * limit do
	local ids = call('ZRANGEBYSCORE', dies, '-inf', at, 'LIMIT', 0, limit - #ended / 2)
	if #ids == 0 then break end
	for _, id in ipairs(ids) do
		local header = headerOf(id)
		if header then
			finish(id, header, 'expired', at, t, keepLog)
			ended[#ended + 1] = id
			ended[#ended + 1] = userOf(header)
		else
			call('ZREM', dies, id) -- an orphan
		end
	end
end
return ended
