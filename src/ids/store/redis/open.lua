-- Says which codec a namespace is for, and makes it one's own if it is empty.
-- KEYS: codec, items, ids, next, free. ARGV: layout, hash, levels; without a hash nothing is made.
local held = redis.call('HMGET', KEYS[1], 'layout', 'hash', 'levels')
if held[1] or ARGV[2] == '' then
  return held
end
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]) > 0 then
  return redis.error_reply('SEMEMEFOREIGN keys without a layout')
end
redis.call('HSET', KEYS[1], 'layout', ARGV[1], 'hash', ARGV[2], 'levels', ARGV[3])
return ARGV
