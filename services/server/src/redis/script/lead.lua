-- Makes somebody the one who collects garbage, for a while; or lets it go.
-- KEYS: who it is
-- ARGV: token, for how long in ms ('0' to let it go)
-- Answers: 1 it is the caller (or was, until now), 0 it is another
local now = redis.call('GET', KEYS[1])
if now and now ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
