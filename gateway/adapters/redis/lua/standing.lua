-- How limits stand at an instant. See quota.lua.
--
-- keys: limits place tally grain
-- args: the instant, claim (JSON)
-- Gives the limits set while running, and {used, held …} of each limit.

local claim, now = cjson.decode(ARGV[2]), tonumber(ARGV[1])
local limits, changed = in_force(claim)
return {changed, told(read(claim, limits, now, frame_of(claim, now)))}
