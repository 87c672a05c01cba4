-- Put limits before those configured; or, where none are given, take them away again.
--
-- keys: limits mark
-- args: scope, limits (JSON, as in quota.lua) or empty

if ARGV[2] == '' then
  redis.call('HDEL', key.limits, ARGV[1])
else
  redis.call('HSET', key.limits, ARGV[1], ARGV[2])
end
return 1
