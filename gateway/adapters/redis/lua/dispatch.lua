-- Note that a call's request goes up.
--
-- keys: open mark
-- args: id
-- Gives 1; 0: the call is not open any more.

local kept = redis.call('HGET', key.open, ARGV[1])
if not kept then return 0 end
local call = cjson.decode(kept)
call[DISPATCHED] = '1'
redis.call('HSET', key.open, ARGV[1], cjson.encode(call))
return 1
