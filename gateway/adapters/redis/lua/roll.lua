-- Who is registered, and whether a call is past its deadline.
--
-- keys: worker beat later
-- args: now
-- Gives now, {worker, about it …}, {worker, beat …}, how many calls are past their deadline.

local now = time_us(ARGV[1])
return {
  text(now), redis.call('HGETALL', key.worker), redis.call('ZRANGE', key.beat, 0, -1, 'WITHSCORES'),
  redis.call('ZCOUNT', key.later, '-inf', text(now)),
}
