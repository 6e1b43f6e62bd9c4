-- ARGV: log retention, reason, at, prefix in the index, what comes after it,
-- token that a session must have besides or ''.
local why = unfit()
if why then return why end
local keepLog, t, ended = tonumber(ARGV[1]), now(), {}
for _, id in ipairs(under(ARGV[4], ARGV[5])) do
	local header = headerOf(id)
	if not header then
		call('ZREM', index, ARGV[4] .. id) -- an orphan
	else
		local meant = ARGV[6] == ''
		for _, token in ipairs(tokens(header)) do meant = meant or token == ARGV[6] end
		if meant then
			finish(id, header, ARGV[2], ARGV[3], t, keepLog)
			ended[#ended + 1] = id
			ended[#ended + 1] = userOf(header)
		end
	end
end
return ended
