-- The oldest and the newest place of a time.
--
-- keys: order
-- args: the first that counts, the first that counts no more
-- Gives {oldest, newest}; {}: there is none.

local first, stop = '[' .. ARGV[1], '(' .. ARGV[2]
local oldest = redis.call('ZRANGEBYLEX', key.order, first, stop, 'LIMIT', 0, 1)[1]
if not oldest then return {} end
return {oldest, redis.call('ZREVRANGEBYLEX', key.order, stop, first, 'LIMIT', 0, 1)[1]}
