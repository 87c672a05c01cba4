-- These workers have told this server all that they did; or they are dead, and have nothing to tell any more.
--
-- keys: worker rejoined mark
-- args: now, workers …
-- Gives 1; 0: not all have told yet what they did.

local now = time_us(ARGV[1])
if is_whole(now) then return 1 end
for place = 2, #ARGV do redis.call('SADD', key.rejoined, ARGV[place]) end
return is_whole(now) and 1 or 0
