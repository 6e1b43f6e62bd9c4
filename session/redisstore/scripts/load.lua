-- ARGV: 'k' and a key, or 'h' and an id.
local v, id = nil, ARGV[2]
if ARGV[1] == 'k' then v, id = unpack(call('HMGET', all, '.v', 'k' .. id)) end
local why = unfit(v)
if why then return why end
if not id or id == '' then return 'missing' end
local header, body = unpack(call('HMGET', all, 'h' .. id, 'd' .. id))
if not header or header == '' then return 'missing' end
return {id, header, body}
