-- Forgets items and keeps their IDs from being given out again; says how many there were.
-- KEYS: codec, items, ids, next, free, last. ARGV: hash, levels, serial, then keys.
local held = redis.call('HMGET', KEYS[1], 'hash', 'levels')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return redis.error_reply('SEMEMECODEC ' .. (held[1] or 'none') .. ' with ' .. (held[2] or 'no') .. ' levels')
end
redis.call('ZCARD', KEYS[3])
redis.call('ZCARD', KEYS[5])
-- Sent again, as its answer was lost: nothing is left to be deleted, and what was is told.
local before = redis.call('GET', KEYS[6])
if before and string.sub(before, 1, #ARGV[3] + 1) == ARGV[3] .. ':' then
  return tonumber(string.sub(before, #ARGV[3] + 2))
end
local gone = 0
for at = 4, #ARGV do
  local id = redis.call('HGET', KEYS[2], ARGV[at])
  if id then
    redis.call('HDEL', KEYS[2], ARGV[at])
    redis.call('ZREM', KEYS[3], id .. ARGV[at])
    redis.call('ZADD', KEYS[5], 0, id)
    gone = gone + 1
  end
end
if gone > 0 then
  redis.call('SET', KEYS[6], ARGV[3] .. ':' .. gone, 'EX', 3600)
end
return gone
