-- Records in the order of all, of a team or of a key, newest first. See settlement.lua.
--
-- keys: record order former
-- args: the last place that counts, the first that counts no more, how many at most, signs before a place's `at`, the last
--       correction that counts: what was corrected later is given as it was before; empty: as it is
-- Gives {place, record …}.

local answers = {}
for _, place in ipairs(redis.call('ZREVRANGEBYLEX', key.order, '(' .. ARGV[2], '[' .. ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local id = string.sub(place, ARGV[4] + 21)
  local kept = redis.call('HGET', key.record, id)
  if ARGV[5] ~= '' then
    local change = head_of(kept)[R_CHANGE]
    if change ~= '' and tonumber(change) > tonumber(ARGV[5]) then kept = redis.call('HGET', key.former, id) end
  end
  answers[#answers + 1] = place
  answers[#answers + 1] = kept
end
return answers
