-- This worker lives; who else is registered, and all calls in the background.
--
-- keys: worker beat pardoned later open mark
-- args: now, worker, about it
-- Gives now, {worker, about it …}, {worker, beat …}, {id, open call …}.

local now = time_us(ARGV[1])
redis.call('HSET', key.worker, ARGV[2], ARGV[3])
redis.call('ZADD', key.beat, text(now), ARGV[2])
redis.call('SREM', key.pardoned, ARGV[2])
local calls = {}
for _, id in ipairs(redis.call('ZRANGE', key.later, 0, -1)) do
  calls[#calls + 1] = id
  calls[#calls + 1] = redis.call('HGET', key.open, id)
end
return {text(now), redis.call('HGETALL', key.worker), redis.call('ZRANGE', key.beat, 0, -1, 'WITHSCORES'), calls}
