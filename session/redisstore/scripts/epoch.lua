-- ARGV: user.
local why = unfit()
if why then return why end
local base, number = unpack(call('HMGET', all, '.base', 'e' .. ARGV[1]))
return {int(base + (number or 0))}
