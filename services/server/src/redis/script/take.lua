-- Takes rows out of a shard, if they are still what they were: as lost ones, or for good.
-- KEYS: from (index or lost), to (lost, or the same as from to drop them), inline, bytes in inline
-- ARGV: id, row of each
-- Answers: how many
local count = 0
for arg = 1, #ARGV, 2 do
  local id, row = ARGV[arg], ARGV[arg + 1]
  if redis.call('HGET', KEYS[1], id) == row then
    redis.call('HDEL', KEYS[1], id)
    count = count + 1
    if KEYS[2] ~= KEYS[1] then
      redis.call('HSET', KEYS[2], id, row)
    elseif #row == 13 then
      redis.call('DECRBY', KEYS[4], redis.call('HSTRLEN', KEYS[3], id))
      redis.call('HDEL', KEYS[3], id)
    end
  end
end
return count
