-- A ledger that was being filled is whole: gateways may start on it (adapters/redis/moving.py).
--
-- keys: mark
-- args: none

return redis.call('HDEL', key.mark, 'moving')
