-- ARGV: 'k' and a key, or 'h' and an id.
local why = unfit()
if why then return why end
local id = ARGV[2]
if ARGV[1] == 'k' then id = call('HGET', all, 'k' .. id) end
if not id or id == '' then return 'missing' end
local header, body = unpack(call('HMGET', all, 'h' .. id, 'd' .. id))
if not header or header == '' then return 'missing' end
return {id, header, body}
