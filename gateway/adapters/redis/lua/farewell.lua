-- This worker ends, and is forgotten if it leaves no call and no place behind: nobody has to wait for what it might say.
--
-- keys: open inside worker beat pardoned mark
-- args: worker
-- Gives 1; 0: it has left something, which others look after when it is found dead.

for _, name in ipairs({key.open, key.inside}) do
  for _, kept in ipairs(redis.call('HVALS', name)) do
    if cjson.decode(kept)[WORKER] == ARGV[1] then return 0 end
  end
end
redis.call('HDEL', key.worker, ARGV[1])
redis.call('ZREM', key.beat, ARGV[1])
redis.call('SREM', key.pardoned, ARGV[1])
return 1
