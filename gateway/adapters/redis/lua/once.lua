-- Take an Idempotency-Key for a call, if it is free; and forget a few of those whose time is over.
-- Rules: gateway/ports/idempotency.py (`IdempotencyKeys.begin`), core/idempotency.py.
--
-- A key is kept as {at, worker, call, fingerprint, state}; `once_at` has when each was taken.
--
-- keys: once once_at open record worker beat pardoned rejoined mark
-- args: now, latest, name, fingerprint, call, worker, about it, how long keys are remembered, how long a worker may be
--       silent, force
-- Without force it is refused while the server may not know of all keys that are taken.
-- Gives {} if it is the call's; else {fingerprint, call, state}; {'late', now}, and nothing is written.

local FORGOTTEN_AT_ONCE = 20

local now = time_us(ARGV[1])
if is_late(ARGV[2]) then return {'late', text(time_us(''))} end
local name, fingerprint, call, worker, about = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local life, silence, force = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10] == '1'
if not force and not is_whole(now) then return redis.error_reply(RECALLING) end
register(worker, about, now)
local over = redis.call('ZRANGEBYSCORE', key.once_at, '-inf', text(now - life), 'LIMIT', 0, FORGOTTEN_AT_ONCE)
for _, one in ipairs(over) do
  redis.call('HDEL', key.once, one)
  redis.call('ZREM', key.once_at, one)
end

local function went_up(id)
  if redis.call('HEXISTS', key.open, id) == 1 then return true end
  local kept = redis.call('HGET', key.record, id)
  return kept and not has(head_of(kept)[R_SIGNS], 'X')
end

local function is_alive(worker)
  local beat = redis.call('ZSCORE', key.beat, worker)
  return beat and tonumber(beat) >= now - silence
end

local kept = redis.call('HGET', key.once, name)
if kept then
  local at, taken_by, owner, print, state = unpack(cjson.decode(kept))
  if tonumber(at) > now - life then
    if state == 'open' then
      if owner == call then return {} end
      if is_alive(taken_by) then return {print, owner, state} end
      if went_up(owner) then
        redis.call('HSET', key.once, name, cjson.encode({at, taken_by, owner, print, 'cut'}))
        return {print, owner, 'cut'}
      end
    elseif state ~= 'noted' or print ~= fingerprint then
      return {print, owner, state}
    end
  end
end
redis.call('HSET', key.once, name, cjson.encode({text(now), worker, call, fingerprint, 'open'}))
redis.call('ZADD', key.once_at, text(now), name)
return {}
