-- Adds objects to a shard of the index. One that is there stays where it is and only becomes young again.
-- KEYS: index, lost, inline, bytes in inline
-- ARGV: id, row, body ('' for one in a pack) of each object; a row is kind and length (5 bytes), born (8), then
--       nothing for an inline one, else its place
for arg = 1, #ARGV, 3 do
  local id, row = ARGV[arg], ARGV[arg + 1]
  local before = redis.call('HGET', KEYS[1], id)
  if before then
    row = string.sub(before, 1, 5) .. string.sub(row, 6, 13) .. string.sub(before, 14)
  else
    redis.call('HDEL', KEYS[2], id)
    if #row == 13 then
      redis.call('HSET', KEYS[3], id, ARGV[arg + 2])
      redis.call('INCRBY', KEYS[4], #ARGV[arg + 2])
    end
  end
  redis.call('HSET', KEYS[1], id, row)
end
return 1
