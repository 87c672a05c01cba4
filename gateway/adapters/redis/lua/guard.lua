-- Nothing is written where the ledger has gone. Part of every act that writes, after ledger.lua.
--
-- A server that was emptied, or that came back without what it had, is no new ledger: every budget would begin anew, and
-- nobody would notice. `version` is written when a gateway starts (fitness.py). The last key is there as long as the ledger
-- is that the gateway has found then: one that was begun in its place by another gateway is another one.

if redis.call('HGET', key.mark, 'version') ~= '1' or redis.call('EXISTS', KEYS[#KEYS]) == 0 then
  return redis.error_reply('GONE the ledger is not there any more, or is another one')
end
