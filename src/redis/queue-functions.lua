#!lua name=@LIBRARY@
-- What leaves the engine through an outlet, as one Redis Function library. The rules are those of functions.lua.
--
-- 1. An entry is taken in once: its number is the newest of its sender, or it is dropped. Numbers are '<epoch>-<count>' and grow.

local function parts(number)
  local dash = string.find(number, '-', 1, true)
  return tonumber(string.sub(number, 1, dash - 1)), tonumber(string.sub(number, dash + 1))
end

local function is_after(left, right)
  local left_epoch, left_count = parts(left)
  local right_epoch, right_count = parts(right)
  if left_epoch ~= right_epoch then return left_epoch > right_epoch end
  return left_count > right_count
end

local function add(stream, max_length, args, from, count)
  if max_length == '' then return redis.call('XADD', stream, '*', unpack(args, from, from + count - 1)) end
  return redis.call('XADD', stream, 'MAXLEN', '~', max_length, '*', unpack(args, from, from + count - 1))
end

-- Appends numbered entries to one stream, each once and in their order.
-- KEYS  stream posts (hash: partition → highest number taken in) gate (hash) held (sorted set) entries (hash)
-- ARGV  maxLength|'', then for each entry: from, number, priority|'-', member|'', number of values, field value …
-- Returns how many were new.
local function post(keys, args)
  local stream, posts = keys[1], keys[2]
  local newest, taken = {}, 0
  local at, total = 2, #args
  while at <= total do
    local from, number, count = args[at], args[at + 1], tonumber(args[at + 4])
    local last = newest[from] or redis.call('HGET', posts, from)
    if not last or is_after(number, last) then
      add(stream, args[1], args, at + 5, count)
      newest[from] = number
      taken = taken + 1
    end
    at = at + 5 + count
  end
  for from, number in pairs(newest) do redis.call('HSET', posts, from, number) end
  return taken
end

redis.register_function('@LIBRARY@_post', post)
