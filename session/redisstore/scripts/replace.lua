-- ARGV: old key, new key, revision to find, header, body.
local why = unfit()
if why then return why end
local old, key, new = ARGV[1], ARGV[2], ARGV[4]
local header, id = find(old)
if not header then return 'missing' end
if header:sub(2, 9) ~= ARGV[3] then return 'conflict' end
if key ~= old and call('HEXISTS', all, 'k' .. key) == 1 then return 'exists' end

local seen, idle, created = struct.unpack('>ddd', header, 10)
local newSeen, newIdle, _, expires = struct.unpack('>dddd', new, 10)
seen, idle = math.max(seen, newSeen), math.min(math.max(idle, newIdle), expires)
new = new:sub(1, 9) .. struct.pack('>dddd', seen, idle, created, expires) .. new:sub(42)

for _, token in ipairs(tokens(header)) do call('ZREM', index, token .. id) end
for _, token in ipairs(tokens(new)) do call('ZADD', index, 0, token .. id) end
if key ~= old then call('HDEL', all, 'k' .. old) end
call('HSET', all, 'k' .. key, id, 'h' .. id, new, 'd' .. id, ARGV[5])
call('ZADD', dies, int(math.min(idle, expires)), id)
keep(expires)
return 'ok'
