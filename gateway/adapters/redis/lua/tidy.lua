-- Forget the grains that have left every window, make one row of the days that only totals still need, and wait no longer
-- for truths about calls that were lost long ago. Days in which something is held stay.
--
-- keys: tally grain age hold guess mark
-- args: now, how many at most, how many of the oldest to leave out
-- Gives how many are left out the next time, and how many were looked at.

local now, most, out = time_us(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rows = redis.call('ZRANGEBYSCORE', key.age, '-inf', '(' .. text(now), 'LIMIT', out, most)
local before = now - FOLDED_AFTER_US

local function drop(row)
  redis.call('HDEL', key.tally, row)
  redis.call('ZREM', key.grain, row)
  redis.call('ZREM', key.age, row)
end

for _, row in ipairs(rows) do
  local scope, grain = parts_of(row)
  local kept = redis.call('HGET', key.tally, row)
  if grain ~= 'day' then
    drop(row)
  elseif not string.find(kept, ' 0 0 0 0$') then
    out = out + 1
  else
    drop(row)
    count(row_of(scope, 'day', 0), numbers_of(kept))
    redis.call('ZREM', key.age, row_of(scope, 'day', 0))
    local folded = tonumber(redis.call('HGET', key.mark, 'folded') or '0')
    if before > folded then redis.call('HSET', key.mark, 'folded', text(before)) end
  end
end
local guesses = redis.call('ZRANGEBYSCORE', key.guess, '-inf', '(' .. text(before), 'LIMIT', 0, most)
for _, id in ipairs(guesses) do
  redis.call('HDEL', key.hold, id)
  redis.call('ZREM', key.guess, id)
end
return {out, math.max(#rows, #guesses)}
