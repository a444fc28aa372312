-- What is done in Redis for nodes without credentials (with worker-functions.lua as one library). Rules as in functions.lua.

-- The consumer that has the entry pending, or nil.
local function holder_of(queue, group, entry)
  local pending = redis.pcall('XPENDING', queue, group, entry, entry, 1)
  if pending.err or not pending[1] then return nil end
  return pending[1][2]
end

-- Whether the consumer is one of the node's.
local function is_of_node(consumer, node)
  for _, kind in ipairs({ 'castellan:', 'fabric:' }) do
    local prefix = kind .. node .. ':'
    if string.sub(consumer, 1, #prefix) == prefix then return true end
  end
  return false
end

-- Tells of a job, if a consumer of the node holds its entry.
-- KEYS  queue stream
-- ARGV  group entry node channel bell text maxlen expire, then the fields of the stream's entry: none for the channel alone.
--       An empty channel is not told, an empty bell is not rung; maxlen and expire 0 are none.
-- Returns the id of the stream's entry or an empty text; nil when the node does not hold the entry.
local function tell(keys, args)
  local consumer = holder_of(keys[1], args[1], args[2])
  if not consumer or not is_of_node(consumer, args[3]) then return nil end
  local id = ''
  if #args > 8 then
    local length = tonumber(args[7]) > 0 and { 'MAXLEN', '~', args[7] } or {}
    local command = { 'XADD', keys[2] }
    for _, part in ipairs(length) do command[#command + 1] = part end
    command[#command + 1] = '*'
    for index = 9, #args do command[#command + 1] = args[index] end
    id = redis.call(unpack(command))
    if tonumber(args[8]) > 0 then redis.call('EXPIRE', keys[2], args[8]) end
  end
  if args[4] ~= '' then redis.call('PUBLISH', args[4], args[6]) end
  if args[5] ~= '' then redis.call('SPUBLISH', args[5], '') end
  return id
end

-- Acknowledges an entry that a consumer of the node holds. One that Castellan put into a worker queue is dropped with it; one of another
-- producer stays, and whoever observes the queue is told when a worker of ours had it: see queue-look.lua.
-- KEYS  queue held
-- ARGV  group entry node workers' group
-- Returns 1; 0 when nobody holds it; -1 when another node does.
local function settle(keys, args)
  local queue, group, entry = keys[1], args[1], args[2]
  local consumer = holder_of(queue, group, entry)
  if not consumer then return 0 end
  if not is_of_node(consumer, args[3]) then return -1 end
  local found = redis.call('XRANGE', queue, entry, entry)[1]
  local job, ours
  for index = 1, found and #found[2] or 0, 2 do
    local name = found[2][index]
    if name == 'jobId' or name == 'job_id' then job = found[2][index + 1] end
    if name == 'attempt' then ours = true end
  end
  redis.call('XACK', queue, group, entry)
  if group == args[4] then
    if ours then
      redis.call('XDEL', queue, entry)
    elseif string.sub(consumer, 1, 10) == 'castellan:' then
      redis.call('HSET', '{' .. queue .. '}:taken', entry, '')
    end
  end
  if job then redis.call('HDEL', keys[2], job) end
  return 1
end

redis.register_function('@LIBRARY@_tell', tell)
redis.register_function('@LIBRARY@_settle', settle)
