-- One flight. All of its keys are in one slot; those of its leader have its token in their names.
--
--   flight     hash    token, worker, lease: of its leader; closed: newcomers find no beginning;
--                      landing, landed, size: how and when it ended, with how many bytes
--   told       stream  what the leader receives: entries 1-0, 2-0, …, the head first, the landing last
--   followers  zset    who follows -> until when it does, unless it says so again
--
-- Instants are epoch microseconds of this server's clock; a test may tell another time.
--
-- Every act begins with: act, now or '', token.

local FLIGHT, TOLD, FOLLOWERS = KEYS[1], KEYS[2], KEYS[3]
local ACT, TOKEN = ARGV[1], ARGV[3]

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

local function lasts(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then
    redis.call('PEXPIRE', key, ms)
  end
end

local function is_led()
  return redis.call('HGET', FLIGHT, 'token') == TOKEN
end

local function has_landed()
  return redis.call('HEXISTS', FLIGHT, 'landing') == 1
end

local function row()
  local found = redis.call('HMGET', FLIGHT, 'token', 'lease', 'landing', 'landed', 'size', 'closed')
  table.insert(found, 1, whole(now))
  return found
end

-- lead … worker lease_us keep_ms seen: takes it, unless there is another flight than the one that was seen ('': none),
--   or its leader has said meanwhile that it lives.
-- Returns the row as it is then: whose token is in it leads.
local function lead()
  local token, landed, lease = unpack(redis.call('HMGET', FLIGHT, 'token', 'landed', 'lease'))
  if token ~= TOKEN and (not token or token .. ' ' .. (landed or '') .. ' ' .. lease == ARGV[7]) then
    redis.call('DEL', FLIGHT)
    redis.call('HSET', FLIGHT, 'token', TOKEN, 'worker', ARGV[4], 'lease', whole(now + ARGV[5]))
    redis.call('PEXPIRE', FLIGHT, ARGV[6])
  end
  return row()
end

-- follow … follower lease_us keep_ms: 1: it follows; 0: it is led by another, or has landed; -1: it has no beginning.
local function follow()
  if not is_led() or has_landed() then
    return 0
  elseif redis.call('HEXISTS', FLIGHT, 'closed') == 1 then
    return -1
  end
  redis.call('ZADD', FOLLOWERS, whole(now + ARGV[5]), ARGV[4])
  lasts(FOLLOWERS, ARGV[6])
  return 1
end

-- tell … number kind content keep_ms most_bytes left: 1: told; 0: somebody else leads; -1: what was told is gone.
--   most_bytes: of the stream. Beyond it the last entries are left, for those who keep pace.
local function tell()
  if not is_led() or has_landed() then
    return 0
  end
  if ARGV[4] ~= '1' and redis.call('EXISTS', TOLD) == 0 then
    redis.call('HSET', FLIGHT, 'closed', '1')
    return -1
  end
  redis.call('XADD', TOLD, ARGV[4] .. '-0', ARGV[5], ARGV[6])
  lasts(TOLD, ARGV[7])
  if redis.call('HINCRBY', FLIGHT, 'held', #ARGV[6]) > tonumber(ARGV[8]) then
    redis.call('HSET', FLIGHT, 'closed', '1')
    redis.call('XTRIM', TOLD, 'MAXLEN', ARGV[9])
  end
  return 1
end

-- land … number landing size keep_ms left_ms: 1: it has landed so; 0: somebody else leads, or it landed otherwise.
--   keep_ms: for newcomers. left_ms: for those who have not read all of it yet.
local function land()
  if not is_led() then
    return 0
  end
  local said = redis.call('HGET', FLIGHT, 'landing')
  if said then
    return said == ARGV[5] and 1 or 0
  end
  redis.call('HSET', FLIGHT, 'landing', ARGV[5], 'landed', whole(now), 'size', ARGV[6])
  redis.call('PEXPIRE', FLIGHT, ARGV[7])
  if ARGV[4] == '1' or redis.call('EXISTS', TOLD) == 1 then
    redis.call('XADD', TOLD, ARGV[4] .. '-0', 'end', ARGV[5])
    redis.call('PEXPIRE', TOLD, ARGV[8])
  end
  return 1
end

-- release … landing left_ms: it is led no more.
local function release()
  if not is_led() or has_landed() then
    return 0
  end
  redis.call('DEL', FLIGHT)
  redis.call('XADD', TOLD, '*', 'end', ARGV[4])
  redis.call('PEXPIRE', TOLD, ARGV[5])
  return 1
end

-- renew … lease_us keep_ms: 1: it is led on; 0: it is not.
local function renew()
  if not is_led() or has_landed() then
    return 0
  end
  redis.call('HSET', FLIGHT, 'lease', whole(now + ARGV[4]))
  lasts(FLIGHT, ARGV[5])
  lasts(TOLD, ARGV[5])
  return 1
end

-- stay … follower lease_us keep_ms: it follows on.
local function stay()
  redis.call('ZADD', FOLLOWERS, 'XX', whole(now + ARGV[5]), ARGV[4])
  lasts(FOLLOWERS, ARGV[6])
  lasts(TOLD, ARGV[6])
  return 1
end

-- followers …: those who follow.
local function followers()
  redis.call('ZREMRANGEBYSCORE', FOLLOWERS, '-inf', whole(now))
  return redis.call('ZRANGE', FOLLOWERS, 0, -1)
end

if ACT == 'lead' then
  return lead()
elseif ACT == 'look' then
  return row()
elseif ACT == 'follow' then
  return follow()
elseif ACT == 'tell' then
  return tell()
elseif ACT == 'land' then
  return land()
elseif ACT == 'release' then
  return release()
elseif ACT == 'renew' then
  return renew()
elseif ACT == 'stay' then
  return stay()
elseif ACT == 'followers' then
  return followers()
end
return redis.error_reply('no such act: ' .. ACT)
