-- Moves a tree's head by compare-and-set: head, seq, epoch, ref log, lineage and wake-up, or nothing.
-- KEYS: head, log, lineage, complete, trees, channel
-- ARGV: tree, expected ref ('' for none), expected gen, epoch, seq, ref, now in ms, wake-up,
--       ids to mark complete (32 bytes each, then its length, u32 BE), then seq, ref, row of each new revision in order
-- Answers: 1 done, 0 the head or the gen is another, -1 the log has such a seq already
local at = redis.call('HGET', KEYS[3], ARGV[6])
if at == ARGV[5] then
  return 1 -- done before: the answer was lost, and the call came again
end
local head = redis.call('HMGET', KEYS[1], 'ref', 'gen')
if (head[1] or '') ~= ARGV[2] or (head[2] or '0') ~= ARGV[3] then
  return 0
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local seq = last and tonumber(string.match(last[1], '^%d+')) or 0
for arg = 10, #ARGV, 3 do
  if tonumber(ARGV[arg]) <= seq then
    return -1
  end
  seq = tonumber(ARGV[arg])
end

for arg = 10, #ARGV, 3 do
  redis.call('XADD', KEYS[2], ARGV[arg] .. '-0', 'r', ARGV[arg + 2])
  redis.call('HSET', KEYS[3], ARGV[arg + 1], ARGV[arg])
end
local bytes = 0
for from = 1, #ARGV[9], 36 do
  local length = struct.unpack('>I4', ARGV[9], from + 32)
  local mark = ARGV[7] .. ':' .. string.format('%d', length)
  if redis.call('HSET', KEYS[4], string.sub(ARGV[9], from, from + 31), mark) == 1 then
    bytes = bytes + length
  end
end
redis.call('HINCRBY', KEYS[1], 'bytes', string.format('%d', bytes))
redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'seq', ARGV[5], 'ref', ARGV[6])
redis.call('SADD', KEYS[5], ARGV[1])
redis.call('SPUBLISH', KEYS[6], ARGV[8])
return 1
