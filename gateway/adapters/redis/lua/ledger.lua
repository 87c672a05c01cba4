-- What the acts of the ledger share. Part of a script; the loader has put `key`, the names of its keys, before it.
--
-- Units: instants are microseconds of the epoch, money is nano-dollars. Every number that is kept is a decimal text: Lua
-- has doubles only, which hold integers up to 2^53. `tostring` would round them to 14 digits.
--
-- Rows: a counter is called SCOPE <31> GRAIN <31> START (17 digits), and is nine numbers: used requests, images,
-- image tokens, tokens, money; held images, image tokens, tokens, money. Rules: gateway/core/quota.py, windows.py.

local SEP = '\31'
local NOTHING = '0 0 0 0 0 0 0 0 0'
local DAY_US = 86400000000
local FOLDED_AFTER_US = 62 * DAY_US
local ROLLING_US = {second = 1000000, minute = 60000000, hour = 3600000000}
local GRAINS = 100

local function text(number)
  return string.format('%.0f', number)
end

-- The store's time. `given`: what the tests say that it is; empty: the server's clock.
local function time_us(given)
  if given ~= '' then return tonumber(given) end
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- Whether whoever asked has given up: `latest` is when they do, by the server's clock; empty: never.
local function is_late(latest)
  return latest ~= '' and time_us('') > tonumber(latest)
end

-- Adding up

local EXACT = 9007199254740992

local function halves(number)
  local sign, digits = string.match(number, '^(-?)(%d+)$')
  local high, low = tonumber(string.sub(digits, 1, -10)) or 0, tonumber(string.sub(digits, -9))
  if sign == '-' then return -high, -low end
  return high, low
end

-- The sum of two decimal texts, as one. Beyond 2^53 it is made of halves, each of which a double holds exactly.
local function plus(one, other)
  local a, b = tonumber(one), tonumber(other)
  local sum = a + b
  -- At 2^53 itself a sum may have been rounded to it.
  if math.abs(a) < EXACT and math.abs(b) < EXACT and math.abs(sum) < EXACT then return text(sum) end
  local high, low = halves(one)
  local more, rest = halves(other)
  low = low + rest
  local carry = math.floor(low / 1e9)
  high, low = high + more + carry, low - carry * 1e9
  if high < 0 and low > 0 then high, low = high + 1, low - 1e9 end
  if high == 0 then return text(low) end
  return string.format('%s%.0f%09.0f', high < 0 and '-' or '', math.abs(high), math.abs(low))
end

local function minus(number)
  if string.sub(number, 1, 1) == '-' then return string.sub(number, 2) end
  return number == '0' and number or '-' .. number
end

local function numbers_of(value)
  local found = {}
  for number in string.gmatch(value, '%S+') do found[#found + 1] = number end
  return found
end

-- Counting

local function row_of(scope, grain, start_us)
  return scope .. SEP .. grain .. SEP .. string.format('%017.0f', start_us)
end

local function parts_of(row)
  return string.match(row, '^(.*)\31(%a+)\31(%d+)$')
end

local function add(row, kept, deltas)
  local sums = {}
  for place, number in ipairs(numbers_of(kept)) do
    sums[place] = deltas[place] == '0' and number or plus(number, deltas[place])
  end
  redis.call('HSET', key.tally, row, table.concat(sums, ' '))
end

-- Add to a row, which is made if it is not there. `age`: when it is of no use any more, or is made one with others.
local function count(row, deltas)
  local kept = redis.call('HGET', key.tally, row)
  if not kept then
    local _, grain, start = parts_of(row)
    local length = ROLLING_US[grain]
    local over = length and start + length + length / GRAINS or start + FOLDED_AFTER_US
    redis.call('ZADD', key.grain, 0, row)
    redis.call('ZADD', key.age, text(over), row)
  end
  add(row, kept or NOTHING, deltas)
end

-- Add to a row as long as it is there. A day that was folded is counted in the row of its like.
local function recount(row, deltas)
  local kept = redis.call('HGET', key.tally, row)
  if not kept then
    local scope, grain = parts_of(row)
    if grain ~= 'day' then return end
    row = row_of(scope, 'day', 0)
    kept = redis.call('HGET', key.tally, row)
  end
  if kept then add(row, kept, deltas) end
end

-- Calls. A place: {at, worker, rows …}. A hold: {at, images, image tokens, tokens, money, lost, rows …}. An open call:
-- {at, worker, dispatched, deadline, response, its digest}; its `at` has 20 digits, as everything that is ordered by text.

local AT, WORKER, DISPATCHED, DEADLINE, RESPONSE, DIGEST = 1, 2, 3, 4, 5, 6

-- Give back the place of a call. `undo`: its request too, as it was refused.
local function leave(id, undo)
  local kept = redis.call('HGET', key.inside, id)
  if not kept then return end
  local known = cjson.decode(kept)
  redis.call('HDEL', key.inside, id)
  for place = 3, #known do
    local scope = parts_of(known[place])
    redis.call('ZREM', key.place, scope .. SEP .. id)
    if undo then recount(known[place], {'-1', '0', '0', '0', '0', '0', '0', '0', '0'}) end
  end
end

-- End a hold: what was held is used, at what the call came to (images, image tokens, tokens, money). Not `final`: it is a
-- guess, and ends again. Returns the day in which it is counted; nil: it holds nothing.
local function end_hold(id, charge, final)
  local kept = redis.call('HGET', key.hold, id)
  if not kept then return nil end
  local known = cjson.decode(kept)
  local deltas, day = {'0'}, nil
  for unit = 1, 4 do
    local before = minus(known[unit + 1])
    deltas[unit + 1] = known[6] == '1' and plus(charge[unit], before) or charge[unit]
    deltas[unit + 5] = known[6] == '1' and '0' or before
  end
  for place = 7, #known do
    recount(known[place], deltas)
    local _, grain, start = parts_of(known[place])
    if grain == 'day' then day = day or text(start) end
  end
  if final then
    redis.call('HDEL', key.hold, id)
    redis.call('ZREM', key.guess, id)
  else
    for unit = 1, 4 do known[unit + 1] = charge[unit] end
    known[6] = '1'
    redis.call('HSET', key.hold, id, cjson.encode(known))
    redis.call('ZADD', key.guess, known[1], id)
  end
  return day
end

-- Note what an open call is found by, or forget it.
local function index(id, call)
  if call[RESPONSE] ~= '' then redis.call('ZADD', key.called, 0, call[DIGEST] .. call[AT] .. id) end
  if call[RESPONSE] ~= '' or call[DEADLINE] ~= '' then
    redis.call('ZADD', key.later, call[DEADLINE] == '' and '+inf' or call[DEADLINE], id)
  end
end

local function unindex(id, call)
  if call[RESPONSE] ~= '' then redis.call('ZREM', key.called, call[DIGEST] .. call[AT] .. id) end
  redis.call('ZREM', key.later, id)
end

local function close(id, undo)
  local kept = redis.call('HGET', key.open, id)
  if kept then
    unindex(id, cjson.decode(kept))
    redis.call('HDEL', key.open, id)
    redis.call('HDEL', key.noted, id)
  end
  leave(id, undo)
end

-- Workers

-- This worker does something, and so it lives. Somebody who took it for dead may have forgotten it.
local function register(worker, about, now)
  redis.call('HSETNX', key.worker, worker, about)
  if redis.call('ZADD', key.beat, 'GT', 'CH', text(now), worker) == 1 then redis.call('SREM', key.pardoned, worker) end
end
