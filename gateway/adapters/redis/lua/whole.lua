-- A ledger that was being filled is whole: gateways may start on it (adapters/redis/moving.py).
--
-- keys: mark
-- args: token of lua/begin.lua
-- Gives 1; -1: somebody else fills it now.

local moving = redis.call('HGET', key.mark, 'moving')
if moving and moving ~= ARGV[1] then return -1 end
redis.call('HDEL', key.mark, 'moving')
redis.call('HSET', key.mark, 'whole', RUN)
return 1
