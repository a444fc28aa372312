-- Leases of readers, and taking items from other systems' lists, as one Redis Function library. The rules are those of functions.lua.
--
-- 1. An item's number is its place in the processing list plus the counter of those that were settled: it is the same until the item
--    is settled, and is never another item's. A counter that was lost begins at the time in µs, beyond all that it can have given.

local function now_us()
  local time = redis.call('TIME')
  return string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
end

-- Nil when the lease is ours now, else its holder.
local function hold_lease(lease, owner, ms)
  local holder = redis.call('GET', lease)
  if holder and holder ~= owner then return holder end
  redis.call('SET', lease, owner, 'PX', ms)
  return nil
end

-- Moves items to the processing list until it holds so many.
-- KEYS  list processing settled lease
-- ARGV  owner leaseMs LEFT|RIGHT max
-- Returns {1, number of the first item, item…}, or {0, owner, remainingMs} while another reader has the lease.
local function take(keys, args)
  local holder = hold_lease(keys[4], args[1], args[2])
  if holder then return {0, holder, redis.call('PTTL', keys[4])} end
  local first = redis.call('GET', keys[3])
  if not first then
    first = now_us()
    redis.call('SET', keys[3], first)
  end
  local max = tonumber(args[4])
  local reply = {1, first}
  for _, item in ipairs(redis.call('LRANGE', keys[2], 0, max - 1)) do reply[#reply + 1] = item end
  while #reply < max + 2 do
    local item = redis.call('LMOVE', keys[1], keys[2], args[3], 'RIGHT')
    if not item then break end
    reply[#reply + 1] = item
  end
  return reply
end

-- Drops the first items of the processing list: their events are accepted.
-- KEYS  processing settled lease
-- ARGV  owner, number of the first, how many
-- Returns 1 done, 0 when the lease is not ours or they were settled before.
local function settle(keys, args)
  if redis.call('GET', keys[3]) ~= args[1] or redis.call('GET', keys[2]) ~= args[2] then return 0 end
  redis.call('LPOP', keys[1], args[3])
  redis.call('INCRBY', keys[2], args[3])
  return 1
end

-- KEYS  lease
-- ARGV  owner leaseMs
-- Returns 1 held, 0 another reader's.
local function hold(keys, args)
  return hold_lease(keys[1], args[1], args[2]) and 0 or 1
end

-- KEYS  lease
-- ARGV  owner
-- Returns 1 released, 0 not ours.
local function let_go(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  return redis.call('DEL', keys[1])
end

redis.register_function('@LIBRARY@_take', take)
redis.register_function('@LIBRARY@_hold', hold)
-- Allowed while the memory is full: they free some.
redis.register_function({ function_name = '@LIBRARY@_settle', callback = settle, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_let_go', callback = let_go, flags = { 'allow-oom' } })
