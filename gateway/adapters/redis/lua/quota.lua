-- How limits stand. Part of a script, after ledger.lua.
--
-- A claim is {c = {{scope, limits} …}, d = days, w = weeks, m = months, a = asked}. A limit is {unit, window or false,
-- amount, soft, text}; a calendar window is {begins, ends, first day that counts} in microseconds; asked is {requests,
-- images, image tokens, tokens, money, places}. Rules: gateway/core/windows.py `window_us`, core/quota.py `readings_of`.

local GRAIN_OF = {second = 'second', minute = 'minute', hour = 'hour', day = 'day', week = 'day', month = 'day', total = 'day'}
local USED = {requests = 1, images = 2, image_tokens = 3, tokens = 4, usd = 5}
local HELD = {images = 6, image_tokens = 7, tokens = 8, usd = 9}

-- The calendar windows of an instant; nil: it lies outside of all that are known.
local function frame_of(claim, now)
  local found = {}
  for name, spans in pairs({day = claim.d, week = claim.w, month = claim.m}) do
    for _, span in ipairs(spans) do
      if span[1] <= now and now < span[2] then found[name] = span end
    end
    if not found[name] then return nil end
  end
  return found
end

-- The limits that hold: those set while running go before those configured. Returns them, and the texts of the former.
local function in_force(claim)
  local limits, changed = {}, {}
  for place, claimant in ipairs(claim.c) do
    local kept = redis.call('HGET', key.limits, claimant[1])
    changed[place] = kept or ''
    limits[place] = kept and cjson.decode(kept) or claimant[2]
  end
  return limits, changed
end

-- The rows of a window: their names, oldest first, and what they say.
local function rows_in(scope, window, now, frame)
  local grain = GRAIN_OF[window]
  local from, to = 0, 9e16
  local length = ROLLING_US[grain]
  if length then
    from, to = now - length - length / GRAINS + 1, now + 1
  elseif frame[window] then
    from, to = frame[window][3], frame[window][2]
  end
  local rows = redis.call('ZRANGEBYLEX', key.grain, '[' .. row_of(scope, grain, from), '(' .. row_of(scope, grain, to))
  return rows, #rows > 0 and redis.call('HMGET', key.tally, unpack(rows)) or {}
end

-- How all limits stand: for each {unit, amount, soft, used, held, scope, window}, in their order.
local function read(claim, limits, now, frame)
  local readings = {}
  for place, claimant in ipairs(claim.c) do
    local scope, sums = claimant[1], {}
    for _, limit in ipairs(limits[place]) do
      local unit, window = limit[1], limit[2]
      local used, held = 0, 0
      if not window then
        used = redis.call('ZLEXCOUNT', key.place, '[' .. scope .. SEP, '(' .. scope .. '\32')
      else
        if not sums[window] then
          local _, values = rows_in(scope, window, now, frame)
          local sum = {0, 0, 0, 0, 0, 0, 0, 0, 0}
          for _, value in ipairs(values) do
            for column, number in ipairs(numbers_of(value)) do sum[column] = sum[column] + number end
          end
          sums[window] = sum
        end
        used = sums[window][USED[unit]]
        held = HELD[unit] and sums[window][HELD[unit]] or 0
      end
      readings[#readings + 1] = {unit, limit[3], limit[4], used, held, scope, window}
    end
  end
  return readings
end

-- As `told` has it: used and held of each, as texts.
local function told(readings)
  local said = {}
  for _, one in ipairs(readings) do
    said[#said + 1] = text(one[4])
    said[#said + 1] = text(one[5])
  end
  return said
end
