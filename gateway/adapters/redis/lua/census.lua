-- All that is under way, and who is registered, in one state.
--
-- keys: worker beat open noted inside
-- args: now
-- Gives now, {worker, about it …}, {worker, beat …}, {id, open call …}, {id, what is noted of it …}, {id, place …}.

return {
  text(time_us(ARGV[1])), redis.call('HGETALL', key.worker), redis.call('ZRANGE', key.beat, 0, -1, 'WITHSCORES'),
  redis.call('HGETALL', key.open), redis.call('HGETALL', key.noted), redis.call('HGETALL', key.inside),
}
