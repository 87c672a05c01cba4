-- A call's record: which one stands, and what it is charged. Part of a script, after ledger.lua.
-- Rules: gateway/core/ledger.py (`settles`, `settled`, `is_provisional`), gateway/ports.py (`Ledger.settle`).
--
-- A record is kept as its head, a line break, and the rest of it, which is not looked at. The head is {at (20 digits),
-- response, signs, day in which it is charged, images that it is charged for, team, key, number, token, correction}. Signs: L lost,
-- E estimated, R reported, P pays for its response, X refused. The number counts records as they are written. The token is
-- that of the act that wrote it: the same act, done again, gives the same answer. At last, of one that took the place of
-- another, which is kept as `former`: the number of that correction.

local R_RESPONSE, R_SIGNS, R_DAY, R_IMAGES, R_TEAM, R_KEY, R_NUMBER, R_TOKEN, R_CHANGE = 2, 3, 4, 5, 6, 7, 8, 9, 10

local function has(signs, sign)
  return string.find(signs, sign, 1, true) ~= nil
end

-- The response that a record pays for; nil: none.
local function paid(head)
  return has(head[R_SIGNS], 'P') and head[R_RESPONSE] ~= '' and head[R_RESPONSE] or nil
end

local function is_provisional(head)
  return has(head[R_SIGNS], 'L') or (has(head[R_SIGNS], 'E') and paid(head) ~= nil)
end

local function head_of(kept)
  return cjson.decode(string.match(kept, '^[^\n]*'))
end

-- The places of a record in the order of all, of its team, of its key.
local function places_of(id, head)
  local found = {'a' .. SEP .. head[AT] .. id}
  if head[R_TEAM] ~= '' then found[2] = 't' .. SEP .. head[R_TEAM] .. SEP .. head[AT] .. id end
  if head[R_KEY] ~= '' then found[#found + 1] = 'k' .. SEP .. head[R_KEY] .. SEP .. head[AT] .. id end
  return found
end

local function forget(id, head)
  redis.call('HDEL', key.record, id)
  redis.call('ZREM', key.order, unpack(places_of(id, head)))
  local response = paid(head)
  if response and redis.call('HGET', key.paying, response) == id then redis.call('HDEL', key.paying, response) end
end

-- Who pays for a response: its record, else the call that is open for it and will. Gives its id and `at`.
local function payer_of(response, digest)
  local id = redis.call('HGET', key.paying, response)
  if id then return id, head_of(redis.call('HGET', key.record, id))[AT] end
  local called = redis.call('ZRANGEBYLEX', key.called, '[' .. digest, '(' .. digest .. ':', 'LIMIT', 0, 1)[1]
  if called then return string.sub(called, 53), string.sub(called, 33, 52) end
  return nil
end

local function is_correction(before, head)
  if has(head[R_SIGNS], 'L') then return false end
  if has(before[R_SIGNS], 'L') then return true end
  return is_provisional(before) and has(head[R_SIGNS], 'R') and paid(head) ~= nil and paid(head) == paid(before)
end

-- Write a call's record, unless one stands, close the call, and count what it came to.
--
-- id: of the call. head: of its record; day and number are filled in here. digest: of its response. rest: of its record.
-- charge: {images, image tokens, tokens, money}.
-- Gives {'written', 'corrected' or 'repeated', id, `at`, response, what stood before or empty}.
local function settle(id, head, digest, rest, charge)
  local given = id
  local standing = redis.call('HGET', key.record, id)
  if paid(head) then
    local payer, at = payer_of(paid(head), digest)
    if payer and payer ~= id then
      if standing or redis.call('HEXISTS', key.open, id) == 1 then
        head[R_RESPONSE] = ''  -- it went up itself, and so it cost something itself: the upstream gave an id twice
      else
        id, head[AT] = payer, at  -- somebody else has seen the end of a call that runs in the background
      end
    end
  end
  local kept = redis.call('HGET', key.record, id)
  local before = kept and head_of(kept)
  if before and before[R_TOKEN] == head[R_TOKEN] then
    close(given, has(head[R_SIGNS], 'X'))
    local former = redis.call('HGET', key.former, id)
    return {former and 'corrected' or 'written', id, before[AT], before[R_RESPONSE], former or ''}
  end
  close(given, has(head[R_SIGNS], 'X'))
  if id ~= given then
    close(id, false)
    end_hold(given, {'0', '0', '0', '0'}, true)
  end
  local verdict = 'written'
  if before then
    local is_counted = before[R_DAY] ~= '' and not has(before[R_SIGNS], 'L')
    if not is_correction(before, head) or (is_counted and redis.call('HEXISTS', key.hold, id) == 0) then
      return {'repeated', id, before[AT], before[R_RESPONSE], kept}
    end
    verdict, head[AT], head[R_NUMBER] = 'corrected', before[AT], before[R_NUMBER]
    forget(id, before)
    redis.call('HSET', key.former, id, kept)
    head[R_CHANGE] = text(redis.call('HINCRBY', key.mark, 'corrected', 1))
  else
    head[R_NUMBER] = text(redis.call('HINCRBY', key.mark, 'number', 1))
  end
  local day = end_hold(id, charge, not is_provisional(head))
  head[R_DAY], head[R_IMAGES] = day or '', day and charge[1] or '0'
  redis.call('HSET', key.record, id, cjson.encode(head) .. '\n' .. rest)
  for _, place in ipairs(places_of(id, head)) do redis.call('ZADD', key.order, 0, place) end
  if paid(head) then redis.call('HSET', key.paying, paid(head), id) end
  return {verdict, id, head[AT], head[R_RESPONSE], kept or ''}
end
