-- Reads rows of a shard.
-- KEYS: index, inline
-- ARGV: the ids
-- Answers: row, body (nothing for one in a pack) of each in turn
local found = {}
for _, id in ipairs(ARGV) do
  local row = redis.call('HGET', KEYS[1], id)
  table.insert(found, row)
  table.insert(found, row and #row == 13 and redis.call('HGET', KEYS[2], id))
end
return found
