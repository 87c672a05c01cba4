-- One state of the ledger, but for its records (adapters/redis/verify.py). See settlement.lua.
--
-- keys: record open inside place hold tally worker mark
-- args: none
-- Gives {row, what it says …}, {id, hold, whether it has an owner …}, {id, place, whether its worker is registered, whether
--       it has its record …}, {scope and id of each place}, {name, mark …}.

local holds, inside = {}, {}
local kept = redis.call('HGETALL', key.hold)
for number = 1, #kept, 2 do
  local id, owner = kept[number], 0
  if cjson.decode(kept[number + 1])[6] == '1' then
    local record = redis.call('HGET', key.record, id)
    owner = record and is_provisional(head_of(record)) and 1 or 0
  else
    owner = redis.call('HEXISTS', key.open, id)
  end
  holds[#holds + 1], holds[#holds + 2], holds[#holds + 3] = id, kept[number + 1], owner
end
kept = redis.call('HGETALL', key.inside)
for number = 1, #kept, 2 do
  local id, worker = kept[number], cjson.decode(kept[number + 1])[WORKER]
  inside[#inside + 1], inside[#inside + 2] = id, kept[number + 1]
  inside[#inside + 1] = redis.call('HEXISTS', key.worker, worker)
  inside[#inside + 1] = redis.call('HEXISTS', key.record, id)
end
return {
  redis.call('HGETALL', key.tally), holds, inside, redis.call('ZRANGE', key.place, 0, -1), redis.call('HGETALL', key.mark),
}
