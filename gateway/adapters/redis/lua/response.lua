-- What pays for a response. See settlement.lua.
--
-- keys: record paying open noted called
-- args: response, its digest
-- Gives {id, record}; {id, open call, what is noted of it}; {}: nothing.

local id = redis.call('HGET', key.paying, ARGV[1])
if id then return {id, redis.call('HGET', key.record, id)} end
local called = payer_of(ARGV[1], ARGV[2])
if called then return {called, redis.call('HGET', key.open, called), redis.call('HGET', key.noted, called)} end
return {}
