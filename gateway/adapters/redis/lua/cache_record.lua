-- The entries of one cache key: form -> "number body\npacked". A later entry of a form has a larger number.
--
--   set form number value life_ms: 1; 0: a later one is there. A life of 0: until it is removed.
--   unset form number: 1 if this very one was there, else 0.

local RECORD, ACT, FORM, NUMBER = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local old = redis.call('HGET', RECORD, FORM)
local there = old and string.match(old, '^%d+')

if ACT == 'set' then
  if there and tonumber(there) > tonumber(NUMBER) then
    return 0
  end
  redis.call('HSET', RECORD, FORM, ARGV[4])
  if ARGV[5] == '0' then
    redis.call('PERSIST', RECORD)
  elseif redis.call('PTTL', RECORD) < tonumber(ARGV[5]) then
    redis.call('PEXPIRE', RECORD, ARGV[5])
  end
  return 1
elseif ACT == 'unset' then
  return there == NUMBER and redis.call('HDEL', RECORD, FORM) or 0
end
return redis.error_reply('no such act: ' .. ACT)
