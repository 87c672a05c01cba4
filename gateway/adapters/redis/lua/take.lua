-- Keep pieces of another ledger (adapters/redis/moving.py). See settlement.lua. Done again it has the same effect.
--
-- keys: record order paying open noted called later inside place hold guess tally grain age limits once once_at worker beat mark
-- args: token of lua/begin.lua, and for each piece its kind, its name, what it says, and the rest: {'record', id, head, rest}, {'open', id, open call, what
--       is noted of it}, {'inside', id, place, ''}, {'hold', id, hold, ''}, {'tally', row, nine numbers, ''}, {'limits', scope,
--       limits, ''}, {'once', name, what the key stands for, when it was taken}, {'worker', worker, about it, its beat},
--       {'mark', name, instant, ''}
-- Gives how many; -1: somebody else fills it now.

if redis.call('HGET', key.mark, 'moving') ~= ARGV[1] then return -1 end
local take = {}
function take.record(id, kept, rest)
  local head, before = cjson.decode(kept), redis.call('HGET', key.record, id)
  head[R_NUMBER] = before and head_of(before)[R_NUMBER] or text(redis.call('HINCRBY', key.mark, 'number', 1))
  redis.call('HSET', key.record, id, cjson.encode(head) .. '\n' .. rest)
  for _, place in ipairs(places_of(id, head)) do redis.call('ZADD', key.order, 0, place) end
  if paid(head) then redis.call('HSET', key.paying, paid(head), id) end
end
function take.open(id, kept, noted)
  redis.call('HSET', key.open, id, kept)
  redis.call('HSET', key.noted, id, noted)
  index(id, cjson.decode(kept))
end
function take.inside(id, kept)
  local known = cjson.decode(kept)
  redis.call('HSET', key.inside, id, kept)
  for place = 3, #known do redis.call('ZADD', key.place, 0, parts_of(known[place]) .. SEP .. id) end
end
function take.hold(id, kept)
  local known = cjson.decode(kept)
  redis.call('HSET', key.hold, id, kept)
  if known[6] == '1' then redis.call('ZADD', key.guess, known[1], id) end
end
function take.tally(row, kept)
  redis.call('HDEL', key.tally, row)
  count(row, numbers_of(kept))
  local _, grain, start = parts_of(row)
  if grain == 'day' and tonumber(start) == 0 then redis.call('ZREM', key.age, row) end
end
function take.limits(scope, kept) redis.call('HSET', key.limits, scope, kept) end
function take.once(name, kept, at)
  redis.call('HSET', key.once, name, kept)
  redis.call('ZADD', key.once_at, at, name)
end
function take.worker(id, about, beat)
  redis.call('HSET', key.worker, id, about)
  redis.call('ZADD', key.beat, beat, id)
end
function take.mark(name, at) redis.call('HSET', key.mark, name, at) end
for first = 2, #ARGV, 4 do take[ARGV[first]](ARGV[first + 1], ARGV[first + 2], ARGV[first + 3]) end
return (#ARGV - 1) / 4
