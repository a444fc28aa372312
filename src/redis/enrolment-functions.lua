-- Enrolments: the pace of polls, tokens, and whose a node's name is. Rules as in functions.lua.

-- KEYS  user device
-- ARGV  deviceId lifetimeMs intervalMs
-- Returns 1, or 0 when the user code is taken.
local function open(keys, args)
  if not redis.call('SET', keys[1], args[1], 'PX', args[2], 'NX') then return 0 end
  redis.call('HSET', keys[2], 'interval', args[3])
  redis.call('PEXPIRE', keys[2], args[2])
  return 1
end

-- The first poll is always in time. One that is too early is measured from, too: who hammers gets nowhere.
-- KEYS  device
-- ARGV  longerMs toleranceMs
-- Returns {'over'}, {'in-time'} or {'early', intervalMs}.
local function poll(keys, args)
  local stored = redis.call('HMGET', keys[1], 'interval', 'polled')
  if not stored[1] then return {'over'} end
  local now = now_ms()
  redis.call('HSET', keys[1], 'polled', string.format('%.0f', now))
  local interval = tonumber(stored[1])
  if not stored[2] or now - tonumber(stored[2]) >= interval - tonumber(args[2]) then return {'in-time'} end
  interval = interval + tonumber(args[1])
  redis.call('HSET', keys[1], 'interval', string.format('%.0f', interval))
  return {'early', string.format('%.0f', interval)}
end

-- KEYS  device token tokens
-- ARGV  principal(JSON) tokenHash
-- Returns 1, or 0 when it was redeemed before or its time has passed.
local function redeem(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then return 0 end
  if redis.call('HSETNX', keys[1], 'redeemed', '1') == 0 then return 0 end
  redis.call('SET', keys[2], args[1])
  redis.call('HSET', keys[3], 'present', args[2])
  return 1
end

-- At most two tokens of a device work: the present one, and the one before it for a while.
-- KEYS  token tokens
-- ARGV  principal(JSON) tokenHash graceMs prefixOfTokens
-- Returns 1, or 0 when the device has no token.
local function rotate(keys, args)
  local stored = redis.call('HMGET', keys[2], 'present', 'former')
  if not stored[1] then return 0 end
  if stored[2] then redis.call('DEL', args[4] .. stored[2]) end
  redis.call('PEXPIRE', args[4] .. stored[1], args[3])
  redis.call('SET', keys[1], args[1])
  redis.call('HSET', keys[2], 'present', args[2], 'former', stored[1])
  return 1
end

-- KEYS  device tokens
-- ARGV  deviceId prefixOfTokens bell
local function revoke(keys, args)
  local stored = redis.call('HMGET', keys[2], 'present', 'former')
  for _, hash in ipairs({stored[1] or '', stored[2] or ''}) do
    if hash ~= '' then redis.call('DEL', args[2] .. hash) end
  end
  redis.call('DEL', keys[1], keys[2])
  redis.call('PUBLISH', args[3], args[1])
  return 1
end

-- KEYS  node…, the wanted names in order
-- ARGV  deviceId holdMs from|''
-- Returns the index of the name that is the device's now, 0 when all are taken.
local function claim_node(keys, args)
  for index, key in ipairs(keys) do
    local owner = redis.call('GET', key)
    if owner == args[1] then return index end
    if not owner or owner == args[3] then
      redis.call('SET', key, args[1], 'PX', args[2])
      return index
    end
  end
  return 0
end

-- KEYS  node
-- ARGV  deviceId
local function keep_node(keys, args)
  redis.call('SET', keys[1], args[1])
  return 1
end

-- KEYS  node
-- ARGV  deviceId
-- Returns 1, or 0 when the name is another's.
local function release_node(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  redis.call('DEL', keys[1])
  return 1
end

redis.register_function('@LIBRARY@_open', open)
redis.register_function('@LIBRARY@_poll', poll)
redis.register_function('@LIBRARY@_redeem', redeem)
redis.register_function('@LIBRARY@_rotate', rotate)
redis.register_function({ function_name = '@LIBRARY@_revoke', callback = revoke, flags = { 'allow-oom' } })
redis.register_function('@LIBRARY@_claim_node', claim_node)
redis.register_function('@LIBRARY@_keep_node', keep_node)
redis.register_function({ function_name = '@LIBRARY@_release_node', callback = release_node, flags = { 'allow-oom' } })
