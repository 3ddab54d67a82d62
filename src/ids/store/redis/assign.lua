-- Gives every item of a batch an ID. Everything is read and judged before the first write, since Redis undoes nothing.
-- KEYS: codec, items, ids, next, free, last. ARGV: hash, levels, serial, reuse (0 or 1), then key and codes of each item, by key.
-- Returns one flag an item (1 if its ID is new), and all IDs in a row.
local held = redis.call('HMGET', KEYS[1], 'hash', 'levels')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return redis.error_reply('SEMEMECODEC ' .. (held[1] or 'none') .. ' with ' .. (held[2] or 'no') .. ' levels')
end
-- Keys of another type are found before anything is written.
redis.call('ZCARD', KEYS[3])
redis.call('ZCARD', KEYS[5])

-- Arguments of one call: Lua's stack holds 8,000; even, so that pairs stay together.
local MOST = 4000
local function each_part(list, call)
  for from = 1, #list, MOST do
    call(from, math.min(from + MOST - 1, #list))
  end
end
local function get_all(hash, fields)
  local out = {}
  each_part(fields, function(from, to)
    local got = redis.call('HMGET', hash, unpack(fields, from, to))
    for i = 1, to - from + 1 do
      out[from + i - 1] = got[i]
    end
  end)
  return out
end
local function write_all(command, key, list)
  each_part(list, function(from, to)
    redis.call(command, key, unpack(list, from, to))
  end)
end

local keys, codes_of = {}, {}
for at = 5, #ARGV, 2 do
  keys[#keys + 1] = ARGV[at]
  codes_of[#codes_of + 1] = ARGV[at + 1]
end
local id_of = get_all(KEYS[2], keys)

-- New items by their codes, in the order of their keys.
local same, groups = {}, {}
for i, codes in ipairs(codes_of) do
  if not id_of[i] then
    if not same[codes] then
      same[codes] = {}
      groups[#groups + 1] = codes
    end
    table.insert(same[codes], i)
  end
end
local next_of = get_all(KEYS[4], groups)
local items, ids, nexts, reused = {}, {}, {}, {}
local flags = {}
for i = 1, #keys do
  flags[i] = '0'
end
for g, codes in ipairs(groups) do
  local free = {}
  if ARGV[4] == '1' then
    local from, to = '[' .. codes .. '\0\0\0\0', '[' .. codes .. '\255\255\255\255'
    free = redis.call('ZRANGEBYLEX', KEYS[5], from, to, 'LIMIT', 0, #same[codes])
  end
  local first = tonumber(next_of[g] or '0')
  local counter = first
  for at, i in ipairs(same[codes]) do
    local id = free[at]
    if id then
      reused[#reused + 1] = id
    else
      if counter > 4294967295 then
        return redis.error_reply('SEMEMEFULL ' .. i)
      end
      id = codes .. struct.pack('>I4', counter)
      counter = counter + 1
    end
    id_of[i] = id
    flags[i] = '1'
    items[#items + 1] = keys[i]
    items[#items + 1] = id
    ids[#ids + 1] = '0'
    ids[#ids + 1] = id .. keys[i]
  end
  if counter > first then
    nexts[#nexts + 1] = codes
    nexts[#nexts + 1] = string.format('%.0f', counter)
  end
end

-- A batch that is sent again, as its answer was lost, is told what was new the first time.
local before = redis.call('GET', KEYS[6])
if before and string.sub(before, 1, #ARGV[3] + 1) == ARGV[3] .. ':' then
  for i = 1, #keys do
    if string.sub(before, #ARGV[3] + 1 + i, #ARGV[3] + 1 + i) == '1' then
      flags[i] = '1'
    end
  end
end
local told = table.concat(flags)
if #items > 0 then
  write_all('HSET', KEYS[2], items)
  write_all('ZADD', KEYS[3], ids)
  write_all('HSET', KEYS[4], nexts)
  write_all('ZREM', KEYS[5], reused)
  redis.call('SET', KEYS[6], ARGV[3] .. ':' .. told, 'EX', 3600)
end
return { told, table.concat(id_of) }
