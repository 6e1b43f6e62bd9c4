-- Makes an empty store where there is none, or only a part of one.
-- ARGV: name of the log, base of the epochs.
local why = unfit()
if why ~= 'new' then return why or 'ok' end
call('UNLINK', all, index, dies)
call('HSET', all, '.v', '1', '.log', ARGV[1], '.base', ARGV[2],
	'.seq', '0', '.cut', '0', '.raised', '0', '.lowered', '0', '.until', '0')
call('ZADD', index, 0, '')
call('ZADD', dies, 'inf', '')
keep(now())
return 'ok'
