-- Opens or renews an upload session and adds objects to it.
-- KEYS: uploads, objects of the session, trees
-- ARGV: upload, expires in ms, ids (32 bytes each), the tree to open it or '' to renew it
-- Answers: 1 done, 0 it is not open
if ARGV[4] ~= '' then
  redis.call('SADD', KEYS[3], ARGV[4])
elseif redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for from = 1, #ARGV[3], 32 do
  redis.call('SADD', KEYS[2], string.sub(ARGV[3], from, from + 31))
end
return 1
