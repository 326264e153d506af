-- Ends an upload session if it expired; admissions before that become doubtful.
-- KEYS: uploads, objects of the session, head
-- ARGV: upload, now in ms
-- Answers: 1 ended, 0 it lives
local expires = redis.call('HGET', KEYS[1], ARGV[1])
if not expires or tonumber(expires) > tonumber(ARGV[2]) then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('UNLINK', KEYS[2])
redis.call('HINCRBY', KEYS[3], 'gen', 1)
return 1
