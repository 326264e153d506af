-- Puts the positions of a tree into another epoch, if its head is still the one that was seen.
-- KEYS: head, channel
-- ARGV: ref, epoch as it was, new epoch, wake-up
-- Answers: 1 done, 0 the head is another
local head = redis.call('HMGET', KEYS[1], 'ref', 'epoch')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3])
redis.call('SPUBLISH', KEYS[2], ARGV[4])
return 1
