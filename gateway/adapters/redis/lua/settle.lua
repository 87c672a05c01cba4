-- Write a call's record, and close the call. See settlement.lua.
--
-- keys: record order paying former open noted called later inside place hold guess tally grain age mark
-- args: id, head (JSON), digest of its response, rest, images, image tokens, tokens, money
-- Gives what `settle` does.

return settle(ARGV[1], cjson.decode(ARGV[2]), ARGV[3], ARGV[4], {ARGV[5], ARGV[6], ARGV[7], ARGV[8]})
