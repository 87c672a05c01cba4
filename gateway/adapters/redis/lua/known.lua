-- What a server knows of calls, which it may have forgotten the last moments of. See settlement.lua.
--
-- keys: record open hold mark
-- args: for each call: id, token of its record (see settlement.lua) or empty
-- One whose record cannot be read is as it is: 2.
-- Gives for each: 0, nothing, or that it came in at most; 1, that it holds something or went up, or another record of it; 2,
--       this record.

local answers = {}
for first = 1, #ARGV, 2 do
  local id, kept, found = ARGV[first], redis.call('HGET', key.record, ARGV[first]), 0
  if kept then
    local is_read, head = pcall(head_of, kept)
    found = (not is_read or head[R_TOKEN] == ARGV[first + 1]) and 2 or 1
  elseif redis.call('HEXISTS', key.open, id) == 1 or redis.call('HEXISTS', key.hold, id) == 1 then
    found = 1
  end
  answers[#answers + 1] = found
end
return answers
