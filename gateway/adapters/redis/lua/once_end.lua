-- What an Idempotency-Key stands for now that its call has ended. Nothing, if another call has it.
--
-- keys: once once_at mark
-- args: name, call, state; empty: it is free

local kept = redis.call('HGET', key.once, ARGV[1])
if not kept then return 0 end
local known = cjson.decode(kept)
if known[3] ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', key.once, ARGV[1])
  redis.call('ZREM', key.once_at, ARGV[1])
else
  known[5] = ARGV[3]
  redis.call('HSET', key.once, ARGV[1], cjson.encode(known))
end
return 1
