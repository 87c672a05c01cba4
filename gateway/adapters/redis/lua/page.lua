-- Records in the order of all, of a team or of a key, newest first.
--
-- keys: record order
-- args: the last place that counts, the first that counts no more, how many at most, signs before a place's `at`
-- Gives {place, record …}.

local answers = {}
for _, place in ipairs(redis.call('ZREVRANGEBYLEX', key.order, '(' .. ARGV[2], '[' .. ARGV[1], 'LIMIT', 0, ARGV[3])) do
  answers[#answers + 1] = place
  answers[#answers + 1] = redis.call('HGET', key.record, string.sub(place, ARGV[4] + 21))
end
return answers
