-- ARGV: key, Seen, IdleExpires.
local why = unfit()
if why then return why end
local header, id = find(ARGV[1])
if not header then return 'ok' end
local seen, idle, created, expires = struct.unpack('>dddd', header, 10)
local newSeen, newIdle = math.max(seen, tonumber(ARGV[2])), idle
if idle < expires then newIdle = math.min(math.max(idle, tonumber(ARGV[3])), expires) end
if newSeen == seen and newIdle == idle then return 'ok' end
call('HSET', all, 'h' .. id, header:sub(1, 9) .. struct.pack('>dddd', newSeen, newIdle, created, expires) .. header:sub(42))
if newIdle ~= idle then call('ZADD', dies, int(math.min(newIdle, expires)), id) end
return 'ok'
