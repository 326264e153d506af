-- Shows that this user's scripts may write, read a stream and publish here.
-- KEYS: a key of the service's own, which is removed again
redis.call('XADD', KEYS[1], '1-0', 'r', 'probe')
local found = #redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
redis.call('SPUBLISH', KEYS[1], '')
redis.call('UNLINK', KEYS[1])
return found
