#!lua name=@LIBRARY@
-- What leaves the engine through an outlet, as one Redis Function library. The rules are those of functions.lua.
--
-- The library is these files in their order: this one, queue-gate.lua, queue-look.lua.
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

-- What holds entries back; queue-gate.lua fills it.
local gate = {}

local function add(stream, max_length, args, from, count)
  if max_length == '' then return redis.call('XADD', stream, '*', unpack(args, from, from + count - 1)) end
  return redis.call('XADD', stream, 'MAXLEN', '~', max_length, '*', unpack(args, from, from + count - 1))
end

-- Appends numbered entries to one stream, each once and in their order. With a gate, or with a priority other than 0 (which makes one),
-- an entry is held instead, and goes as soon as the gate lets it.
-- KEYS  stream posts (hash) gate (hash) held (sorted set) entries (hash): see queue-gate.lua
-- ARGV  maxLength|'', then for each entry: from, number, priority|'-', member|'', number of values, field value …
-- Returns how many were new.
local function post(keys, args)
  local stream, posts = keys[1], keys[2]
  local newest, taken, added, gated, held = {}, 0, 0, nil, false
  local at, total = 2, #args
  while at <= total do
    local from, number, count = args[at], args[at + 1], tonumber(args[at + 4])
    local last = newest[from] or redis.call('HGET', posts, from)
    if not last or is_after(number, last) then
      local priority = tonumber(args[at + 2])
      if priority and gated == nil then
        if redis.call('HEXISTS', posts, 'passed') == 0 then gate.begin_watch(stream, posts) end
        gated = redis.call('EXISTS', keys[3]) == 1
      end
      if priority and priority ~= 0 then gated = redis.call('HSET', keys[3], 'ordered', '1') ~= nil end
      if priority and gated then
        gate.hold(keys, 'high', priority, args[at + 3], { unpack(args, at + 5, at + 4 + count) })
        held = true
      else
        add(stream, args[1], args, at + 5, count)
        added = added + 1
      end
      newest[from] = number
      taken = taken + 1
    end
    at = at + 5 + count
  end
  if added > 0 then redis.call('HINCRBY', posts, 'count', added) end
  for from, number in pairs(newest) do redis.call('HSET', posts, from, number) end
  if held then gate.pump(keys) end
  return taken
end

redis.register_function('@LIBRARY@_post', post)
