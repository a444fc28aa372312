-- What workers write, as one Redis Function library. Rules as in functions.lua.

local CHUNK = 4000

-- Tells reports of jobs and acknowledges the entries that they settle: all of it or nothing, so that no entry is acknowledged whose
-- report was refused.
-- KEYS  reports, queues…
-- ARGV  group bell partitions count prefix|'' (of our keys: a glance at the only partition is wanted), for each report: 1|0 (counts) jobId
--       JSON; then for each queue: number of entries, ids…, how many of them (the first ones) are ours and are dropped.
-- Events: an entry in the stream of reports for each that counts; the JSON of each on the channel stream:v1:{jobId} when somebody listens
--         there; the bell of the sources, with the numbers of the partitions or a glance, when anything was appended.
-- Returns 1 when this user may not look: then it need not be asked for again.
local function report(keys, args)
  local group, bell, partitions, count = args[1], args[2], args[3], tonumber(args[4])
  local anyone, listeners = false, nil
  if count > 0 then
    anyone = redis.call('PUBSUB', 'NUMPAT') > 0
    if not anyone then
      local channels = {}
      for index = 1, count do channels[index] = 'stream:v1:' .. args[index * 3 + 4] end
      listeners = redis.call('PUBSUB', 'NUMSUB', unpack(channels))
    end
  end
  local appended = 0
  local glance, barred
  if args[5] ~= '' and is_small(args, 6) then glance, barred = begin_glance(args[5], partitions) end
  for index = 1, count do
    local at = index * 3 + 3
    if args[at] == '1' then
      local id = redis.call('XADD', keys[1], '*', 'jobId', args[at + 1], 'progress', args[at + 2])
      if glance then partitions = end_glance(args[5], glance, keys[1], id, { 'jobId', args[at + 1], 'progress', args[at + 2] }) or partitions end
      appended = appended + 1
    end
    if anyone or listeners[index * 2] > 0 then redis.call('PUBLISH', 'stream:v1:' .. args[at + 1], args[at + 2]) end
  end
  local at = 6 + count * 3
  for queue = 2, #keys do
    local entries = tonumber(args[at])
    local last = at + entries
    local ours = tonumber(args[last + 1])
    for from = at + 1, last, CHUNK do redis.call('XACK', keys[queue], group, unpack(args, from, math.min(from + CHUNK - 1, last))) end
    for from = at + 1, at + ours, CHUNK do redis.call('XDEL', keys[queue], unpack(args, from, math.min(from + CHUNK - 1, at + ours))) end
    -- Those of other producers stay, and whoever observes the queue must know that they were told of: see queue-look.lua.
    for from = at + ours + 1, last do redis.call('HSET', '{' .. keys[queue] .. '}:taken', args[from], '') end
    at = last + 2
  end
  if appended > 0 then redis.call('SPUBLISH', bell, partitions) end
  return barred and 1 or 0
end

-- Whether the entry is for the node: by its field, else by its payload's key.
local function is_for(fields, node)
  local payload
  for index = 1, #fields, 2 do
    local name = fields[index]
    if name == 'target_node' or name == 'targetNode' then return fields[index + 1] == node end
    if name == 'payload' then payload = fields[index + 1] end
  end
  if not payload or not string.find(payload, 'target', 1, true) then return false end
  local ok, value = pcall(cjson.decode, payload)
  return ok and type(value) == 'table' and (value['target_node'] or value['targetNode']) == node
end

-- Takes over those of the pending entries that are for this node, the first ones up to a number.
-- KEYS  queue
-- ARGV  group consumer node count, for each entry: id, the consumer that was seen to hold it
-- Returns {how many entries were looked at, the entries taken, each {id, fields}…}. One that changed hands meanwhile is left.
local function claim(keys, args)
  local taken, count, looked = { 0 }, tonumber(args[4]), 0
  for at = 5, #args, 2 do
    if #taken > count then break end
    looked = looked + 1
    local id = args[at]
    local entry = redis.call('XRANGE', keys[1], id, id)[1]
    if entry and is_for(entry[2], args[3]) then
      local pending = redis.call('XPENDING', keys[1], args[1], id, id, 1)[1]
      if pending and pending[2] == args[at + 1] then
        redis.call('XCLAIM', keys[1], args[1], args[2], 0, id)
        taken[#taken + 1] = entry
      end
    end
  end
  taken[1] = looked
  return taken
end

redis.register_function('@LIBRARY@_report', report)
redis.register_function('@LIBRARY@_claim', claim)
