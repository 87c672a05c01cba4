-- A body: number of the chunk -> its bytes. `gone`: no entry has it any more; who reads it already reads on.
--
--   put life_ms number chunk number chunk …: writes chunks; returns how many there are.
--   lives life_ms: it is an entry's from now on, and lasts as long as that, 0: until it is given up. Gives 0: it is gone.
--   gone life_ms: no entry has it any more: it lasts so long for those who use it.

local BODY, ACT, MS = KEYS[1], ARGV[1], tonumber(ARGV[2])

local function lasts()
  if redis.call('PTTL', BODY) < MS then
    redis.call('PEXPIRE', BODY, MS)
  end
end

if ACT == 'put' then
  for at = 3, #ARGV, 2 do
    redis.call('HSET', BODY, ARGV[at], ARGV[at + 1])
  end
  lasts()
  return redis.call('HLEN', BODY)
elseif ACT == 'lives' then
  if redis.call('EXISTS', BODY) == 0 or redis.call('HEXISTS', BODY, 'gone') == 1 then
    return 0
  end
  if MS == 0 then
    redis.call('PERSIST', BODY)
  else
    lasts()
  end
  return 1
elseif ACT == 'gone' then
  if redis.call('EXISTS', BODY) == 1 and redis.call('HEXISTS', BODY, 'gone') == 0 then
    -- First what takes no memory: a server that is full lets a script go on that has begun to write.
    redis.call('PEXPIRE', BODY, MS)
    redis.call('HSET', BODY, 'gone', '1')
  end
  return 1
end
return redis.error_reply('no such act: ' .. ACT)
