-- Nothing is written where the ledger has gone, or may have forgotten its last moments. Part of every act that writes, after
-- ledger.lua.
--
-- A server that was emptied, or that came back without what it had, is no new ledger: every budget would begin anew, and
-- nobody would notice. `version` is written when a gateway starts (fitness.py). The last key is there as long as the ledger
-- is that the gateway has found then: one that was begun in its place by another gateway is another one.
--
-- A replica that takes its master's place, and a server that was restarted, may lack what was done last. Every start of a
-- server has a name of its own, and so has what it copies to replicas from when it became a master (`run_id`,
-- `master_replid`). The first argument, which is taken away here, names the server that has been told all that this process
-- has done (recall.py).

local RUN = table.remove(ARGV, 1)
local RECALL_US = 10000000
local RECALLING = 'RECALLING other gateways have not said yet what they hold'

local version, moving = unpack(redis.call('HMGET', key.mark, 'version', 'moving'))
if version ~= '1' or redis.call('EXISTS', KEYS[#KEYS]) == 0 then
  return redis.error_reply('GONE the ledger is not there any more, or is another one')
end
if moving and not MOVES then return redis.error_reply('GONE the ledger is being filled by a migration') end
local info = redis.call('INFO', 'server', 'replication')
local run = (string.match(info, 'run_id:(%w+)') or '') .. '.' .. (string.match(info, 'master_replid:(%w+)') or '')
if run ~= RUN then return redis.error_reply('ANOTHER ' .. run .. ' is the server now') end

-- Whether all who have served here before have told this server what they did, or had ten seconds to: before that there may
-- be holds that it does not know of.
local function is_whole(now)
  local whole, met, since = unpack(redis.call('HMGET', key.mark, 'whole', 'met', 'since'))
  if whole == RUN then return true end
  if met ~= RUN then
    since = text(now)
    redis.call('HSET', key.mark, 'met', RUN, 'since', since)
    redis.call('DEL', key.rejoined)
  end
  if now - tonumber(since) < RECALL_US then
    for _, worker in ipairs(redis.call('HKEYS', key.worker)) do
      if redis.call('SISMEMBER', key.rejoined, worker) == 0 then return false end
    end
  end
  redis.call('HSET', key.mark, 'whole', RUN)
  redis.call('HDEL', key.mark, 'met', 'since')
  redis.call('DEL', key.rejoined)
  return true
end
