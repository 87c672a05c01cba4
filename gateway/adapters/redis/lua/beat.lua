-- This worker lives, and so do others, of which nobody could say so for a while: each once for each silence.
--
-- keys: worker beat pardoned mark
-- args: now, worker, about it, until when the others are to be heard of (microseconds before now), others …

local now = time_us(ARGV[1])
redis.call('HSET', key.worker, ARGV[2], ARGV[3])
redis.call('ZADD', key.beat, text(now), ARGV[2])
redis.call('SREM', key.pardoned, ARGV[2])
for place = 5, #ARGV do
  local other, heard = ARGV[place], now - ARGV[4]
  local beat = redis.call('ZSCORE', key.beat, other)
  if beat and tonumber(beat) < heard and redis.call('SADD', key.pardoned, other) == 1 then
    redis.call('ZADD', key.beat, text(heard), other)
  end
end
return text(now)
