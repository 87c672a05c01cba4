-- Take over calls, each only if it is still as it was when its worker was found dead, and so is that worker's silence.
--
-- keys: open noted beat mark
-- args: who takes them over; for each call: id, the open call as it was, its worker's beat as it was (empty: none)
-- Gives for each of them that is in the care of whoever takes over now: id, open call, what is noted of it.

local answers = {}
for first = 2, #ARGV, 3 do
  local id, kept = ARGV[first], redis.call('HGET', key.open, ARGV[first])
  local call = kept and cjson.decode(kept)
  if call and call[WORKER] ~= ARGV[1] and kept == ARGV[first + 1] then
    local beat = redis.call('ZSCORE', key.beat, call[WORKER])
    if (beat and text(tonumber(beat)) or '') == ARGV[first + 2] then
      call[WORKER] = ARGV[1]
      redis.call('HSET', key.open, id, cjson.encode(call))
    end
  end
  if call and call[WORKER] == ARGV[1] then
    answers[#answers + 1] = {id, redis.call('HGET', key.open, id), redis.call('HGET', key.noted, id)}
  end
end
return answers
