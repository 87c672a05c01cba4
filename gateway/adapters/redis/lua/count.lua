-- How many calls have no record yet.
--
-- keys: open
-- args: none
-- Gives the number.

return redis.call('HLEN', key.open)
