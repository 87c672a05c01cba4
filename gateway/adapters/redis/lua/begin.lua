-- Mark a ledger that holds nothing as one that is being filled (adapters/redis/moving.py), so that no gateway starts on it.
--
-- keys: record former order paying open noted called later inside place hold guess tally grain age limits limited once once_at worker beat pardoned rejoined mark
-- args: token of this act, the version of what is kept, '1': one that was left half filled is emptied, how long a worker may
--       be silent
-- Gives 'begun'; or, and nothing is written: 'incomplete', it is being filled; 'served', a worker lives; 'full'.

local moving = redis.call('HGET', key.mark, 'moving')
if moving == ARGV[1] then return 'begun' end
if moving then
  if ARGV[3] ~= '1' then return 'incomplete' end
else
  local silent = time_us('') - tonumber(ARGV[4])
  if redis.call('ZCOUNT', key.beat, text(silent), '+inf') > 0 then return 'served' end
  local held = {key.record, key.open, key.inside, key.hold, key.tally, key.limits, key.once}
  if redis.call('EXISTS', unpack(held)) > 0 then return 'full' end
end
-- All but the last: it says that this ledger is the one that was found (lua/guard.lua).
redis.call('UNLINK', unpack(KEYS, 1, #KEYS - 1))
redis.call('HSET', key.mark, 'version', ARGV[2], 'moving', ARGV[1])
return 'begun'
