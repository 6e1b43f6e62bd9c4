-- ARGV: user, prefix of the user's sessions in the index, what comes after them.
local why = unfit()
if why then return why end
local reply = {}
for _, id in ipairs(under(ARGV[2], ARGV[3])) do
	local header, body = unpack(call('HMGET', all, 'h' .. id, 'd' .. id))
	if not header or header == '' then
		call('ZREM', index, ARGV[2] .. id) -- an orphan
	elseif userOf(header) == ARGV[1] then
		reply[#reply + 1] = id
		reply[#reply + 1] = header
		reply[#reply + 1] = body
	end
end
return reply
