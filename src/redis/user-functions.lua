-- What is told to users, and to the agent of their rebalance jobs. Rules as in functions.lua.

-- At most so many events dropped by one call: a bounded pause.
local DROP_MAX = 1000

-- Orders are texts 'epoch revision index'.
local function is_later(order, stored)
  if not stored then return true end
  local next_number, next_stored = string.gmatch(order, '%d+'), string.gmatch(stored, '%d+')
  for _ = 1, 3 do
    local left, right = tonumber(next_number()), tonumber(next_stored())
    if left ~= right then return left > right end
  end
  return false
end

local function id_of(ms)
  return string.format('%.0f-0', ms)
end

-- Appends an event, with an id after all that the user was ever given: after the clock was set back as well.
local function append_event(events, reached, name, data, length, kept, now)
  local stored = redis.call('HGET', reached, 'last')
  local ms, sequence = now, 0
  if stored then
    local last_ms, last_sequence = parts(stored)
    if last_ms >= now then ms, sequence = last_ms, last_sequence + 1 end
  end
  local id = string.format('%.0f-%.0f', ms, sequence)
  redis.call('XADD', events, id, 'name', name, 'data', data)
  redis.call('HSET', reached, 'last', id)
  redis.call('XTRIM', events, 'MINID', id_of(now - kept))
  local excess = math.min(redis.call('XLEN', events) - length, DROP_MAX)
  if excess > 0 then
    local dropped = redis.call('XRANGE', events, '-', '+', 'COUNT', excess)
    redis.call('HSET', reached, 'gone', dropped[#dropped][1])
    redis.call('XTRIM', events, 'MAXLEN', length)
  end
  redis.call('PEXPIRE', events, kept)
  redis.call('PEXPIRE', reached, kept * 2)
end

local function count_sockets(sockets, now)
  return redis.call('ZCOUNT', sockets, '(' .. string.format('%.0f', now), '+inf')
end

-- Writes one change of a rebalance job: the list and the record that its agent reads, and the event of its user.
-- KEYS  marker record list events reached sockets
-- ARGV  order jobId userId push|take|'' record(JSON object without its times) createdAt updatedAt recordKeptMs name data eventsMax eventsKeptMs bell
-- The list and the record belong to others, so they are written first: a key of another type there fails the call before anything else.
-- A handing out and other changes come by different ways, each in order by itself: each remembers its own newest.
-- A handing out that is told after the taking back that followed it is only told.
-- Returns {1, sockets} written, {0, sockets} written before.
local function tell(keys, args)
  local marker, record, list, events, reached, sockets = unpack(keys)
  local order, job, user, push = args[1], args[2], args[3], args[4] == 'push'
  local now = now_ms()
  local stored = redis.call('HMGET', marker, 'pushed', 'told', 'newest', 'created', 'taken')
  if not is_later(order, push and stored[1] or not push and stored[2]) then return {0, count_sockets(sockets, now)} end
  local created = stored[4] or args[6]
  local kept = tonumber(args[8])
  if push and is_later(order, stored[5]) then redis.call('RPUSH', list, job) end
  if args[4] == 'take' then
    redis.call('LREM', list, 0, job)
    redis.call('HSET', marker, 'taken', order)
  end
  if is_later(order, stored[3]) then
    local times = ',"createdAt":"' .. created .. '","updatedAt":"' .. args[7] .. '"}'
    redis.call('SET', record, string.sub(args[5], 1, -2) .. times, 'PX', kept)
    redis.call('HSET', marker, 'newest', order)
  else
    redis.call('PEXPIRE', record, kept)
  end
  redis.call('HSET', marker, push and 'pushed' or 'told', order, 'created', created)
  redis.call('PEXPIRE', marker, kept * 2)
  append_event(events, reached, args[9], args[10], tonumber(args[11]), tonumber(args[12]), now)
  redis.call('PUBLISH', args[13], user)
  return {1, count_sockets(sockets, now)}
end

-- Where a new socket begins.
-- KEYS  reached sockets
-- ARGV  socket cursor|'' eventsKeptMs claimMs seenMs
-- Returns {'from', cursor}, {'wait', ms, newest} while another socket is being given what waits, {'gone'}.
local function begin(keys, args)
  local reached, sockets = keys[1], keys[2]
  local socket, cursor, kept = args[1], args[2], tonumber(args[3])
  local now = now_ms()
  local oldest = id_of(now - kept)
  local stored = redis.call('HMGET', reached, 'at', 'last', 'gone', 'claim', 'upTo', 'until')
  local last = stored[2] or '0-0'
  -- The newest one's cursor is good at any age: nothing came after it.
  if cursor ~= '' and cursor ~= last and (is_after(oldest, cursor) or is_after(cursor, last) or (stored[3] and is_after(stored[3], cursor))) then return {'gone'} end
  redis.call('ZREMRANGEBYSCORE', sockets, '-inf', string.format('%.0f', now))
  redis.call('ZADD', sockets, string.format('%.0f', now + tonumber(args[5])), socket)
  redis.call('PEXPIRE', sockets, args[5])
  if cursor ~= '' then return {'from', cursor} end
  local at = stored[1] or '0-0'
  if is_after(oldest, at) then at = oldest end
  local ends = tonumber(stored[6] or '0')
  if stored[4] and stored[4] ~= socket and ends > now and is_after(stored[5], at) then return {'wait', string.format('%.0f', ends - now), last} end
  if is_after(last, at) then
    redis.call('HSET', reached, 'claim', socket, 'upTo', last, 'until', string.format('%.0f', now + tonumber(args[4])))
    redis.call('PEXPIRE', reached, kept * 2)
  end
  return {'from', at}
end

-- Others may wait for what this socket was given.
local function give_up_claim(reached, bell, user)
  redis.call('HDEL', reached, 'claim', 'upTo', 'until')
  redis.call('PUBLISH', bell, user)
end

-- The socket has everything up to the cursor.
-- KEYS  reached
-- ARGV  socket cursor bell userId
-- Returns 1 when the user's position moved.
local function reach(keys, args)
  local reached, cursor = keys[1], args[2]
  local stored = redis.call('HMGET', reached, 'at', 'claim', 'upTo')
  local moved = is_after(cursor, stored[1] or '0-0')
  if moved then redis.call('HSET', reached, 'at', cursor) end
  if stored[2] == args[1] and not is_after(stored[3], cursor) then give_up_claim(reached, args[3], args[4]) end
  return moved and 1 or 0
end

-- KEYS  reached sockets
-- ARGV  socket bell userId
local function leave(keys, args)
  redis.call('ZREM', keys[2], args[1])
  if redis.call('HGET', keys[1], 'claim') == args[1] then give_up_claim(keys[1], args[2], args[3]) end
  return 1
end

redis.register_function('@LIBRARY@_tell', tell)
redis.register_function('@LIBRARY@_begin', begin)
redis.register_function('@LIBRARY@_reach', reach)
redis.register_function({ function_name = '@LIBRARY@_leave', callback = leave, flags = { 'allow-oom' } })
