-- Points objects of a shard that are still where they were to their places in a new pack.
-- KEYS: index, inline, bytes in inline
-- ARGV: the pack they are in ('' for inline), then id, place (pack and offset) of each
for arg = 2, #ARGV, 2 do
  local id = ARGV[arg]
  local row = redis.call('HGET', KEYS[1], id)
  if row and string.sub(row, 14, 29) == ARGV[1] then
    redis.call('HSET', KEYS[1], id, string.sub(row, 1, 13) .. ARGV[arg + 1])
    if ARGV[1] == '' then
      redis.call('DECRBY', KEYS[3], redis.call('HSTRLEN', KEYS[2], id))
      redis.call('HDEL', KEYS[2], id)
    end
  end
end
return 1
