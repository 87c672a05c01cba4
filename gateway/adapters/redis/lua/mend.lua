-- Put right what does not add up (adapters/redis/verify.py), each only if it still is as it was found. See settlement.lua.
--
-- keys: record order paying former open inside place hold guess tally grain age worker mark
-- args: token of this act, what is to be done (JSON): {{'add', row, nine numbers to add}, {'release', id of a call that
--       holds something without an owner}, {'leave', id of a call that has no place any more}, {'place' or 'unplace',
--       scope, id}, {'forget', id of a record, response, the id of the one that pays for it} …}
-- Counters are added to, not set: calls may have been counted meanwhile.

if redis.call('HGET', key.mark, 'mended') == ARGV[1] then return 0 end
redis.call('HSET', key.mark, 'mended', ARGV[1])

local function has_owner(id, hold)
  if cjson.decode(hold)[6] ~= '1' then return redis.call('HEXISTS', key.open, id) == 1 end
  local record = redis.call('HGET', key.record, id)
  return record and is_provisional(head_of(record))
end

local function is_counted_in(inside, scope)
  local known = cjson.decode(inside)
  for number = 3, #known do
    if parts_of(known[number]) == scope then return true end
  end
  return false
end

local acts = {}
function acts.add(row, deltas) count(row, deltas) end
function acts.release(id)
  local hold = redis.call('HGET', key.hold, id)
  if hold and not has_owner(id, hold) then
    redis.call('HDEL', key.hold, id)
    redis.call('ZREM', key.guess, id)
  end
end
function acts.leave(id)
  local inside = redis.call('HGET', key.inside, id)
  local worker = inside and cjson.decode(inside)[WORKER]
  if inside and (redis.call('HEXISTS', key.record, id) == 1 or redis.call('HEXISTS', key.worker, worker) == 0) then
    leave(id, false)
  end
end
function acts.place(scope, id)
  local inside = redis.call('HGET', key.inside, id)
  if inside and is_counted_in(inside, scope) then redis.call('ZADD', key.place, 0, scope .. SEP .. id) end
end
function acts.unplace(scope, id)
  local inside = redis.call('HGET', key.inside, id)
  if not (inside and is_counted_in(inside, scope)) then redis.call('ZREM', key.place, scope .. SEP .. id) end
end
function acts.forget(id, response, payer)
  local kept = redis.call('HGET', key.record, id)
  if kept then forget(id, head_of(kept)) end
  redis.call('HSET', key.paying, response, payer)
end
for _, one in ipairs(cjson.decode(ARGV[2])) do acts[one[1]](one[2], one[3], one[4]) end
return 1
