-- Put limits before those configured; or, where none are given, take them away again.
--
-- keys: limits limited mark
-- args: scope, limits (JSON, as in quota.lua) or empty, when that was done (told again) or empty (now)
-- Gives when it was done. Told again it does nothing where something has been set since.

local at = ARGV[3]
if at == '' then
  at = text(time_us(''))
elseif tonumber(redis.call('HGET', key.limited, ARGV[1]) or '0') >= tonumber(at) then
  return at
end
redis.call('HSET', key.limited, ARGV[1], at)
if ARGV[2] == '' then
  redis.call('HDEL', key.limits, ARGV[1])
else
  redis.call('HSET', key.limits, ARGV[1], ARGV[2])
end
return at
