-- ARGV: log retention, id, reason, at.
local why = unfit()
if why then return why end
local header = headerOf(ARGV[2])
if not header then return 'missing' end
finish(ARGV[2], header, ARGV[3], ARGV[4], now(), tonumber(ARGV[1]))
return 'ok'
