-- All that a ledger holds but its records, in one state.
--
-- keys: worker beat open noted inside hold tally limits once mark
-- args: none
-- Gives {worker, about it …}, {worker, beat …}, {id, open call …}, {id, what is noted of it …}, {id, place …}, {id, hold …},
--       {row, what it says …}, {scope, limits …}, {name, what the key stands for …}, {name, mark …}.

return {
  redis.call('HGETALL', key.worker), redis.call('ZRANGE', key.beat, 0, -1, 'WITHSCORES'),
  redis.call('HGETALL', key.open), redis.call('HGETALL', key.noted), redis.call('HGETALL', key.inside),
  redis.call('HGETALL', key.hold), redis.call('HGETALL', key.tally), redis.call('HGETALL', key.limits),
  redis.call('HGETALL', key.once), redis.call('HGETALL', key.mark),
}
