-- Forgets that objects are complete for a tree, if its head is still the one that was marked and each of them was
-- not marked again; admissions before that become doubtful.
-- KEYS: head, complete
-- ARGV: epoch, seq, ref ('' each for a tree without head), then id, mark of each object
-- Answers: how many, or -1 if the head is another
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'ref')
if (head[1] or '') ~= ARGV[1] or (head[2] or '') ~= ARGV[2] or (head[3] or '') ~= ARGV[3] then
  return -1
end
local count, bytes = 0, 0
for arg = 4, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[arg]) == ARGV[arg + 1] then
    redis.call('HDEL', KEYS[2], ARGV[arg])
    count = count + 1
    bytes = bytes + (tonumber(string.match(ARGV[arg + 1], ':(%d+)$')) or 0)
  end
end
if count > 0 then
  redis.call('HINCRBY', KEYS[1], 'gen', 1)
  redis.call('HINCRBY', KEYS[1], 'bytes', string.format('%d', -bytes))
end
return count
