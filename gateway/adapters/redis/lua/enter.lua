-- A door: take what a call asks for of all its limits, or nothing; at the second one hold it and note the call too.
-- Rules: gateway/core/quota.py (`stopping`, `rows_of`), gateway/ports.py (`Ledger.admit`, `Ledger.reserve`).
--
-- keys: record open noted called later inside place hold tally grain age limits worker beat pardoned rejoined mark
-- args: now, latest, id of the call, worker, about it, claim (JSON) or empty, hold, force, the open call (JSON) or empty,
--       what is noted of it
-- Without force it is refused while the server may not know of all that is held.
-- Gives {'passed' or 'stopped', now, was inside, had a hold, limits set while running, {used, held …} of each limit, and of
--       each that stops: {its number, the beginning of a grain, what is used and held in it …}}; or {'recorded', now};
--       {'clock', now}: no calendar for the store's time; {'late', now}. Nothing is written then.

local now = time_us(ARGV[1])
if is_late(ARGV[2]) then return {'late', text(time_us(''))} end
local id, worker, about, hold, force = ARGV[3], ARGV[4], ARGV[5], ARGV[7] == '1', ARGV[8] == '1'
if not force and not is_whole(now) then return redis.error_reply(RECALLING) end
-- It has ended: an attempt that comes late must take nothing that nobody gives back.
if redis.call('HEXISTS', key.record, id) == 1 then return {'recorded', text(now)} end

local function note()
  if ARGV[9] == '' or redis.call('HSETNX', key.open, id, ARGV[9]) == 0 then return end
  redis.call('HSET', key.noted, id, ARGV[10])
  index(id, cjson.decode(ARGV[9]))
end

if ARGV[6] == '' then
  register(worker, about, now)
  note()
  return {'passed', text(now), 0, 0, {}, {}, {}}
end

local claim = cjson.decode(ARGV[6])
local frame = frame_of(claim, now)
if not frame then return {'clock', text(now)} end
register(worker, about, now)

local asked = {requests = claim.a[1], images = claim.a[2], image_tokens = claim.a[3], tokens = claim.a[4], usd = claim.a[5], concurrent = claim.a[6]}
local is_inside = asked.concurrent > 0 and redis.call('HEXISTS', key.inside, id) == 1
local is_held = redis.call('HEXISTS', key.hold, id) == 1
if is_inside then
  asked.requests, asked.concurrent = asked.requests - 1, asked.concurrent - 1
end
if is_held then
  asked.images, asked.image_tokens, asked.tokens, asked.usd = 0, 0, 0, 0
end

local limits, changed = in_force(claim)
local readings = read(claim, limits, now, frame)
local stops = {}
for number, one in ipairs(readings) do
  local unit, amount, soft, used, held, scope, window = unpack(one)
  local more = asked[unit]
  if not force and not soft and more > 0 and used + held + more > amount then
    local stop = {number - 1}
    if window and ROLLING_US[window] then
      local rows, values = rows_in(scope, window, now, frame)
      for place, row in ipairs(rows) do
        local sums = numbers_of(values[place])
        local _, _, start = parts_of(row)
        stop[#stop + 1] = start
        stop[#stop + 1] = text(sums[USED[unit]] + (HELD[unit] and sums[HELD[unit]] or 0))
      end
    end
    stops[#stops + 1] = stop
  end
end
local answer = {'passed', text(now), is_inside and 1 or 0, is_held and 1 or 0, changed, told(readings), stops}
if #stops > 0 then
  answer[1] = 'stopped'
  return answer
end

local rows = {}
for place, claimant in ipairs(claim.c) do
  local counted = {day = true}
  for _, limit in ipairs(limits[place]) do
    if limit[2] then counted[GRAIN_OF[limit[2]]] = true end
  end
  for _, grain in ipairs({'second', 'minute', 'hour', 'day'}) do
    if counted[grain] then
      local length = ROLLING_US[grain] and ROLLING_US[grain] / GRAINS
      rows[#rows + 1] = row_of(claimant[1], grain, length and now - now % length or frame.day[1])
    end
  end
end
if asked.concurrent > 0 then
  redis.call('HSET', key.inside, id, cjson.encode({text(now), worker, unpack(rows)}))
  for _, claimant in ipairs(claim.c) do redis.call('ZADD', key.place, 0, claimant[1] .. SEP .. id) end
end
local held = {text(asked.images), text(asked.image_tokens), text(asked.tokens), text(asked.usd)}
if hold and not is_held then
  redis.call('HSET', key.hold, id, cjson.encode({text(now), held[1], held[2], held[3], held[4], '0', unpack(rows)}))
end
if (hold and not is_held) or asked.requests ~= 0 then
  if not hold then held = {'0', '0', '0', '0'} end
  for _, row in ipairs(rows) do count(row, {text(asked.requests), '0', '0', '0', '0', unpack(held)}) end
end
note()
return answer
