-- Note that a call runs in the background, and what was asked.
--
-- keys: open noted called later inside place tally mark
-- args: id, response, its digest, deadline, what was asked (JSON) or empty, whether it gives back its place
-- Gives 1; 0: the call is not open any more.

local id = ARGV[1]
local kept = redis.call('HGET', key.open, id)
if not kept then return 0 end
local call = cjson.decode(kept)
unindex(id, call)
call[DISPATCHED], call[RESPONSE], call[DIGEST], call[DEADLINE] = '1', ARGV[2], ARGV[3], ARGV[4]
index(id, call)
redis.call('HSET', key.open, id, cjson.encode(call))
local rest = string.match(redis.call('HGET', key.noted, id), '^[^\n]*')
redis.call('HSET', key.noted, id, rest .. '\n' .. ARGV[5])
if ARGV[6] == '1' then leave(id, false) end
return 1
