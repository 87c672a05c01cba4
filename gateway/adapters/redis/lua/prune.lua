-- Forget records that arrived earlier, the oldest first, up to so many. See settlement.lua.
--
-- keys: record order paying former mark
-- args: `at` of the first that stays (20 digits), how many at most
-- Gives how many.

local found = redis.call('ZRANGEBYLEX', key.order, '[a' .. SEP, '(a' .. SEP .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, place in ipairs(found) do
  local id = string.sub(place, 23)
  local head = head_of(redis.call('HGET', key.record, id))
  forget(id, head)
  redis.call('HDEL', key.former, id)
  local latest = tonumber(redis.call('HGET', key.mark, 'pruned') or '0')
  if head[R_DAY] ~= '' and tonumber(head[R_DAY]) > latest then redis.call('HSET', key.mark, 'pruned', head[R_DAY]) end
end
return #found
