-- Settle as lost what dead workers left, each only if it is still as it was when that was decided (core/leftovers.py).
-- See settlement.lua.
--
-- keys: record order paying former open noted called later inside place hold guess tally grain age mark beat
-- args: for each call: id, the open call as it was, its worker's beat as it was (empty: none; `-`: whatever it is), head
--       (JSON), digest of its response, rest, whether it is charged for the pictures that it holds, image tokens, tokens,
--       money
-- Gives for each what `settle` does, or {'left'}.

local answers = {}
for first = 1, #ARGV, 10 do
  local id, call, beat = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local answer = {'left'}
  if redis.call('HGET', key.open, id) == call then
    local found = redis.call('ZSCORE', key.beat, cjson.decode(call)[WORKER])
    if beat == '-' or (found and text(tonumber(found)) or '') == beat then
      local hold = ARGV[first + 6] == '1' and redis.call('HGET', key.hold, id)
      local images = hold and cjson.decode(hold)[2] or '0'
      local charge = {images, ARGV[first + 7], ARGV[first + 8], ARGV[first + 9]}
      answer = settle(id, cjson.decode(ARGV[first + 3]), ARGV[first + 4], ARGV[first + 5], charge)
    end
  end
  answers[#answers + 1] = answer
end
return answers
