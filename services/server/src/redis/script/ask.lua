-- Answers questions about one tree, from one state of it.
-- KEYS: head, log, lineage, complete, uploads, then the objects of each session that is asked for
-- ARGV: chain after ('' for none), most revisions of the chain, refs (32 bytes each),
--       held (1 byte: number of the session among those below, 0 for none; 32 bytes: id), then the sessions
-- Answers: gen, epoch, seq, ref, the head's row, [seq, row] of each ref in turn,
--          one byte for each held ('c' complete, 'u' in the session, '-' neither), [seq, row] of the chain in turn
local head = redis.call('HMGET', KEYS[1], 'gen', 'epoch', 'seq', 'ref')

local function row(seq)
  local found = redis.call('XRANGE', KEYS[2], seq .. '-0', seq .. '-0')
  return found[1] and found[1][2][2]
end

local revisions = {}
for at = 1, #ARGV[3], 32 do
  local seq = redis.call('HGET', KEYS[3], string.sub(ARGV[3], at, at + 31))
  table.insert(revisions, seq)
  table.insert(revisions, seq and row(seq))
end

local held = {}
for at = 1, #ARGV[4], 33 do
  local session = string.byte(ARGV[4], at)
  local id = string.sub(ARGV[4], at + 1, at + 32)
  if redis.call('HEXISTS', KEYS[4], id) == 1 then
    table.insert(held, 'c')
  elseif session > 0 and redis.call('HEXISTS', KEYS[5], ARGV[4 + session]) == 1
      and redis.call('SISMEMBER', KEYS[5 + session], id) == 1 then
    table.insert(held, 'u')
  else
    table.insert(held, '-')
  end
end

local chain = {}
if ARGV[1] ~= '' then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])) do
    table.insert(chain, entry[1])
    table.insert(chain, entry[2][2])
  end
end

return { head[1] or '0', head[2], head[3], head[4], head[4] and row(head[3]), revisions, table.concat(held), chain }
