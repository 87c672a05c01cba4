-- Nothing is written where the ledger has gone. Part of every act that writes, after ledger.lua.
--
-- A server that was emptied, or that came back without what it had, is no new ledger: every budget would begin anew, and
-- nobody would notice. `version` is written when a gateway starts (fitness.py).

if redis.call('HGET', key.mark, 'version') ~= '1' then
  return redis.error_reply('GONE the ledger is not there any more, or is of another version')
end
