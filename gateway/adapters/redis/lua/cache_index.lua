-- The index of the cache: what there is, how large it is, when it was of use last. All of its keys are in one slot.
--
--   about   hash  name -> "number digest bytes until began names": number and digest of the entry, bytes of its record, when
--                 it was asked for by this server's clock, microseconds; 0: not known
--   bodies  hash  digest -> "body size entries": how many entries have it. Where a body lies in a folder, the folder's
--                 mark (hexadecimal too) follows its digest: equal bodies on two machines are two
--   used    zset  name -> when it was of use last, epoch microseconds
--   until   zset  name -> until when it is of use, epoch microseconds
--   unused  set   bodies that no entry has any more, until they are told so
--   total   hash  entries, blobs, bytes; number: of the last entry; born: when the index began, by this server's clock;
--                 stays: it has no end, whatever is in it
--
-- A number is the server's time in microseconds, moved on where that stands still: later ones are larger, even if the
-- index was lost meanwhile. Who forgets an entry says its number, so that one that took its place stays.

local ABOUT, BODIES, USED, UNTIL, UNUSED, TOTAL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ACT = ARGV[1]

local function whole(number)
  return string.format('%.0f', number)
end

local function server_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function add(field, by)
  redis.call('HINCRBY', TOTAL, field, whole(by))
end

local function lasts(key, ms)
  if redis.call('HGET', TOTAL, 'stays') then
    redis.call('PERSIST', key)
  elseif redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, whole(ms))
  end
end

local function row_of(name)
  local row = redis.call('HGET', ABOUT, name)
  if not row then
    return nil
  end
  local number, digest, bytes = string.match(row, '^(%d+) (%x+) (%d+) ')
  return number, digest, tonumber(bytes)
end

local function body_of(digest)
  local row = redis.call('HGET', BODIES, digest)
  if not row then
    return nil
  end
  local body, size, entries = string.match(row, '^(%S+) (%d+) (%d+)$')
  return body, tonumber(size), tonumber(entries)
end

local function has_body(digest, body, size, entries)
  redis.call('HSET', BODIES, digest, body .. ' ' .. whole(size) .. ' ' .. whole(entries))
end

local function forget(name, number)
  local found, digest, bytes = row_of(name)
  if not found or (number and found ~= number) then
    return 0
  end
  redis.call('HDEL', ABOUT, name)
  redis.call('ZREM', USED, name)
  redis.call('ZREM', UNTIL, name)
  add('entries', -1)
  add('bytes', -bytes)
  local body, size, entries = body_of(digest)
  if body and entries > 1 then
    has_body(digest, body, size, entries - 1)
  elseif body then
    redis.call('HDEL', BODIES, digest)
    redis.call('SADD', UNUSED, body)
    add('blobs', -1)
    add('bytes', -size)
  end
  return 1
end

-- A server that is short of memory may have taken a part of the index. What is left of it says nothing then.
local function see_that_it_is_whole(now)
  local total = redis.call('HMGET', TOTAL, 'entries', 'blobs', 'born')
  local entries, blobs = tonumber(total[1] or '0'), tonumber(total[2] or '0')
  if total[3] and redis.call('HLEN', ABOUT) == entries and redis.call('HLEN', BODIES) == blobs
      and redis.call('ZCARD', USED) == entries and redis.call('ZCARD', UNTIL) == entries then
    return
  end
  redis.call('UNLINK', ABOUT, BODIES, USED, UNTIL)
  redis.call('HSET', TOTAL, 'entries', '0', 'blobs', '0', 'bytes', '0', 'born', whole(now))
end

-- keep name digest size bytes body used until life_ms max_bytes lost number names began: an entry, in the place of an older
--   one; but not of one that was asked for later (began: server's microseconds; empty: not known): whoever led has been replaced.
--   body: of the caller. lost: a body that was found to be gone: it is not taken for this digest's any more.
--   number: of an entry that there was before this index, else ''.
--   life_ms: 0: until it is forgotten; then it is not kept if there were more than max_bytes, as nothing is forgotten for it.
-- Returns its number, the body it has, 1 if there is something to clear away now, and the time. No number: it is not kept.
local function keep()
  local name, digest, size, bytes, body = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
  local used, useful_until, life_ms, max_bytes = ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
  local lost, number, names, began = ARGV[11], ARGV[12], ARGV[13], ARGV[14]
  local now = server_us()
  see_that_it_is_whole(now)
  if number == '' then
    local last = tonumber(redis.call('HGET', TOTAL, 'number') or '0')
    number = whole(math.max(now, last + 1))
    redis.call('HSET', TOTAL, 'number', number)
  elseif row_of(name) then
    return {number, body, 0, whole(now)}
  end
  local there = tonumber(string.match(redis.call('HGET', ABOUT, name) or '', '^%d+ %x+ %d+ %S+ (%d+) ') or '0')
  -- A beginning that lies ahead was told by another server's clock, of whose place this one is now.
  if began ~= '' and there > tonumber(began) and there <= now then
    return {'', body, 0, whole(now)}
  end
  if life_ms == 0 then
    if tonumber(redis.call('HGET', TOTAL, 'bytes') or '0') + size + bytes > max_bytes then
      return {'', body, 0, whole(now)}
    end
    redis.call('HSET', TOTAL, 'stays', '1')
  end
  forget(name)
  local known, known_size, entries = body_of(digest)
  if not known then
    has_body(digest, body, size, 1)
    add('blobs', 1)
    add('bytes', size)
  elseif known == lost then
    has_body(digest, body, known_size, entries + 1)
    redis.call('SADD', UNUSED, known)
  else
    has_body(digest, known, known_size, entries + 1)
    body = known
  end
  redis.call('SREM', UNUSED, body)
  redis.call('HSET', ABOUT, name, table.concat({number, digest, whole(bytes), useful_until, began == '' and '0' or began, names}, ' '))
  redis.call('ZADD', USED, used, name)
  redis.call('ZADD', UNTIL, useful_until, name)
  add('entries', 1)
  add('bytes', bytes)
  for _, key in ipairs(KEYS) do
    lasts(key, life_ms)
  end
  local over = tonumber(redis.call('HGET', TOTAL, 'bytes')) > max_bytes
  return {number, body, (over or redis.call('EXISTS', UNUSED) == 1) and 1 or 0, whole(now)}
end

-- forget name number name number …: returns how many were there, then all bodies that no entry has.
local function forget_some()
  local count = 0
  for at = 2, #ARGV, 2 do
    count = count + forget(ARGV[at], ARGV[at + 1])
  end
  local answer = redis.call('SMEMBERS', UNUSED)
  table.insert(answer, 1, count)
  return answer
end

-- oldest max_bytes most: name number name number …, of those that have to go, not used for longest first.
local function oldest()
  local over = tonumber(redis.call('HGET', TOTAL, 'bytes') or '0') - tonumber(ARGV[2])
  local answer = {}
  if over <= 0 then
    return answer
  end
  for _, name in ipairs(redis.call('ZRANGE', USED, 0, ARGV[3] - 1)) do
    local number, digest, bytes = row_of(name)
    local _, size, entries = body_of(digest)
    answer[#answer + 1] = name
    answer[#answer + 1] = number
    over = over - bytes - (entries == 1 and size or 0)
    if over <= 0 then
      break
    end
  end
  return answer
end

-- expired now most: name number name number …, of those that are of no use any more.
local function expired()
  local answer = {}
  for _, name in ipairs(redis.call('ZRANGE', UNTIL, '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[3])) do
    answer[#answer + 1] = name
    answer[#answer + 1] = row_of(name) or ''
  end
  return answer
end

if ACT == 'keep' then
  return keep()
elseif ACT == 'forget' then
  return forget_some()
elseif ACT == 'oldest' then
  return oldest()
elseif ACT == 'expired' then
  return expired()
elseif ACT == 'born' then
  see_that_it_is_whole(server_us())
  lasts(TOTAL, 3600000)  -- of an empty one; entries make it last as long as they do
  return redis.call('HGET', TOTAL, 'born')
elseif ACT == 'time' then
  return whole(server_us())
end
return redis.error_reply('no such act: ' .. ACT)
