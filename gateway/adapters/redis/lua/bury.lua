-- Give back places of dead workers, and forget the workers; each only if nothing was heard of the worker since.
--
-- keys: inside place tally worker beat pardoned mark
-- args: how many places; for each: id of the call, its place as it was, its worker's beat as it was (empty: none); then for
--       each worker to be forgotten: its name, its beat as it was

local places = tonumber(ARGV[1])
local function is_silent(worker, beat)
  local found = redis.call('ZSCORE', key.beat, worker)
  return (found and text(tonumber(found)) or '') == beat
end
for first = 2, 1 + places * 3, 3 do
  local kept = redis.call('HGET', key.inside, ARGV[first])
  if kept and kept == ARGV[first + 1] and is_silent(cjson.decode(kept)[WORKER], ARGV[first + 2]) then
    leave(ARGV[first], false)
  end
end
for first = 2 + places * 3, #ARGV, 2 do
  if is_silent(ARGV[first], ARGV[first + 1]) then
    redis.call('HDEL', key.worker, ARGV[first])
    redis.call('ZREM', key.beat, ARGV[first])
    redis.call('SREM', key.pardoned, ARGV[first])
  end
end
return 1
