-- Shuts a token or a subject out.
-- KEYS 1 revoked, 2 revoked.version
-- ARGV 1 who, 2 since ms, 3 most that may be kept
-- -> 1, or 0 if the list is full
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[2])
return 1
