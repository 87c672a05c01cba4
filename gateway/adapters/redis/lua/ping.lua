-- Whether the ledger can be written to.
--
-- keys: mark
-- args: none

redis.call('HSET', key.mark, 'ping', '1')
return 1
