-- The gate of a queue: what holds entries back, and what lets them go. Part of the Function library; see functions.lua for the rules.
--
-- KEYS of every function here: stream posts gate held entries, all of one slot.
-- {stream}:posts         hash: the highest number by source partition, count (entries that we have put into the stream, ever), and what queue-look.lua keeps
-- {stream}:gate          hash: paused, concurrency, rate_max, rate_ms, ordered, high and low (next places in the line), r<slot> (rate counts)
-- {stream}:held          sorted set: member (a job's id) by priority, then by age
-- {stream}:held:entries  hash: member → {attempt, priority, fields}
-- {stream}:withdrawn     hash: member → attempt up to which entries are dropped that arrive late
--
-- 1. Without a gate nothing is held. A priority other than 0 makes one, and it goes when nothing needs it and nothing is held.
-- 2. A member is held once: of two attempts the newer.
-- 3. Workers read the stream by themselves, so a limit bounds what lies there unread: pending + unread ≤ concurrency.
-- 4. Only entries of ours are taken back from the stream: another producer knows its entry by its id.

local GROUP = 'citadel-workers'
local OWN_FIELD = 'attempt'
-- What was withdrawn is remembered for so long, and of so many. An entry that its stream refuses for longer is handed out after all, and
-- what is told of it is late.
local WITHDRAWN_SECONDS = 86400
local WITHDRAWN_MAX = 10000
-- So many lie in the stream unread while order matters: enough to keep workers busy between two pumps, few enough to be overtaken quickly.
local ORDER_WINDOW = 32
-- As many under a rate or concurrency limit, at most.
local LIMIT_WINDOW = 100
-- A call moves or takes back at most so many: a few ms.
local MOVE_MAX = 500
-- More than the priorities' range times this would not fit a score exactly: 2^20 * 2^33 = 2^53.
local PRIORITY_STEP = 8589934592
-- A rate counts by parts of its interval; the oldest part is counted whole, so the bound holds exactly and 3 % of the rate is given away.
local RATE_PARTS = 32

-- What was to be withdrawn and was not there.
local function withdrawn_key(stream)
  return '{' .. stream .. '}:withdrawn'
end

local function table_of(pairs_found)
  local found = {}
  for at = 1, #pairs_found, 2 do found[pairs_found[at]] = pairs_found[at + 1] end
  return found
end

-- What XINFO says of the group; nil when there is none.
local function group_of(stream, name)
  if redis.call('EXISTS', stream) == 0 then return nil end
  for _, raw in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = table_of(raw)
    if group.name == name then return group end
  end
  return nil
end

local function field_of(fields, name)
  for at = 1, #fields, 2 do
    if fields[at] == name then return fields[at + 1] end
  end
  return nil
end

-- From now on it is known what passes the group: nothing delivered before is asked after. The group begins before the first entry.
function gate.begin_watch(stream, posts)
  local group = group_of(stream, GROUP)
  if not group then redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM') end
  redis.call('HSET', posts, 'passed', group and group['last-delivered-id'] or '0-0')
end

-- Holds an entry: 'high' puts it behind, 'low' before all of its priority. (2)
function gate.hold(keys, place, priority, member, fields)
  local held, entries = keys[4], keys[5]
  local attempt = tonumber(field_of(fields, OWN_FIELD) or '0') or 0
  local number = redis.call('HINCRBY', keys[3], place, place == 'high' and 1 or -1)
  if member == '' then member = '#' .. number end
  local known = redis.call('HGET', entries, member)
  if known and cmsgpack.unpack(known)[1] > attempt then return end
  redis.call('ZADD', held, string.format('%.0f', number - priority * PRIORITY_STEP), member)
  redis.call('HSET', entries, member, cmsgpack.pack({ attempt, priority, fields }))
end

-- How many may be handed out by the rate, and in how many ms the next one may when none may now.
local function rate_room(settings, now)
  local part = tonumber(settings.rate_ms) / RATE_PARTS
  local current = math.floor(now / part)
  local used, oldest = 0, current
  for slot = 0, RATE_PARTS do
    local bucket, count = string.match(settings['r' .. slot] or '', '^(%d+):(%d+)$')
    bucket = tonumber(bucket)
    if bucket and bucket >= current - RATE_PARTS and bucket <= current then
      used = used + tonumber(count)
      oldest = math.min(oldest, bucket)
    end
  end
  return math.max(0, tonumber(settings.rate_max) - used), math.ceil((oldest + RATE_PARTS + 1) * part - now)
end

local function spend_rate(key, settings, now, spent)
  local bucket = math.floor(now / (tonumber(settings.rate_ms) / RATE_PARTS))
  local field = 'r' .. (bucket % (RATE_PARTS + 1))
  local known, count = string.match(settings[field] or '', '^(%d+):(%d+)$')
  if tonumber(known) == bucket then spent = spent + tonumber(count) end
  redis.call('HSET', key, field, string.format('%.0f:%d', bucket, spent))
end

-- How many entries may lie in the stream unread, and why not more; nil: any number. (3)
local function unread_allowed(settings, group)
  if settings.paused then return 0, 'paused' end
  local allowed, because
  local function at_most(number, reason)
    if not allowed or number < allowed then allowed, because = number, reason end
  end
  if settings.ordered then at_most(ORDER_WINDOW, 'order') end
  if settings.rate_max then at_most(math.min(LIMIT_WINDOW, math.max(1, math.floor(tonumber(settings.rate_max) / 10))), 'window') end
  if settings.concurrency then
    at_most(LIMIT_WINDOW, 'window')
    at_most(math.max(0, tonumber(settings.concurrency) - (group and group.pending or 0)), 'concurrency')
  end
  return allowed, because or 'nothing'
end

-- Takes entries of ours back from the unread end of the stream, the newest first, so that those kept are the oldest. (4)
local function take_back(keys, first_unread, kept)
  local from = first_unread
  if kept > 0 then
    local keeping = redis.call('XRANGE', keys[1], first_unread, '+', 'COUNT', kept)
    from = '(' .. keeping[#keeping][1]
  end
  local entries = redis.call('XREVRANGE', keys[1], '+', from, 'COUNT', MOVE_MAX)
  local returned = 0
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    if field_of(fields, OWN_FIELD) then
      gate.hold(keys, 'low', tonumber(field_of(fields, 'priority') or '0') or 0, field_of(fields, 'jobId') or '', fields)
      redis.call('XDEL', keys[1], entry[1])
      returned = returned + 1
    end
  end
  return returned, #entries == MOVE_MAX
end

local function move(keys, count)
  local members = redis.call('ZRANGE', keys[4], 0, count - 1)
  if #members == 0 then return 0 end
  local values = redis.call('HMGET', keys[5], unpack(members))
  for index, value in ipairs(values) do
    if value then
      local held = cmsgpack.unpack(value)
      local fields = held[3]
      -- Told in the entry, so that it keeps its place when it is taken back.
      if held[2] ~= 0 and not field_of(fields, 'priority') then
        fields[#fields + 1] = 'priority'
        fields[#fields + 1] = tostring(held[2])
      end
      redis.call('XADD', keys[1], '*', unpack(fields))
    end
  end
  redis.call('ZREM', keys[4], unpack(members))
  redis.call('HDEL', keys[5], unpack(members))
  redis.call('HINCRBY', keys[2], 'count', #members)
  return #members
end

-- What is not there now may be on its way: an entry waits while its stream refuses it.
local function note_withdrawn(stream, job, attempt)
  local key = withdrawn_key(stream)
  if redis.call('HLEN', key) >= WITHDRAWN_MAX then redis.call('HDEL', key, redis.call('HRANDFIELD', key)) end
  redis.call('HSET', key, job, attempt)
  redis.call('EXPIRE', key, WITHDRAWN_SECONDS)
end

-- Whether an entry that waited on its way here was withdrawn meanwhile: what cannot be found is remembered for a day.
function gate.is_withdrawn(stream, member, args, from, last)
  local attempt = member ~= '' and redis.call('HGET', withdrawn_key(stream), member)
  if not attempt then return false end
  for at = from, last, 2 do
    if args[at] == OWN_FIELD then return (tonumber(args[at + 1]) or 0) <= tonumber(attempt) end
  end
  return false
end

-- Whether entries can be appended: the key is a stream, or nothing.
local function is_usable(stream)
  local kind = redis.call('TYPE', stream).ok
  return kind == 'stream' or kind == 'none', kind
end

-- Lets held entries go as far as the gate allows, the most urgent first, then the oldest.
-- Returns {moved, returned, held, because, againMs, more 0|1}.
function gate.pump(keys)
  local stream, gate_key, held = keys[1], keys[3], keys[4]
  local raw = redis.call('HGETALL', gate_key)
  if #raw == 0 or not is_usable(stream) then return { 0, 0, 0, 'nothing', 0, 0 } end
  local settings = table_of(raw)
  local group = group_of(stream, GROUP)
  local waiting = redis.call('ZCARD', held)
  local allowed, because = unread_allowed(settings, group)
  local moved, returned, again, more = 0, 0, 0, false
  local first_unread = group and '(' .. group['last-delivered-id'] or '-'
  local room = MOVE_MAX
  if allowed then
    local unread = #redis.call('XRANGE', stream, first_unread, '+', 'COUNT', allowed + 1)
    if unread > allowed then returned, more = take_back(keys, first_unread, allowed) end
    more = more and returned > 0
    room = math.max(0, math.min(room, allowed - unread))
  end
  if waiting > 0 and settings.rate_max and room > 0 then
    local now = now_ms()
    local tokens, next_ms = rate_room(settings, now)
    if tokens < room then room, because = tokens, 'rate' end
    if tokens < waiting then again = math.max(1, next_ms) end
    if room > 0 then spend_rate(gate_key, settings, now, math.min(room, waiting)) end
  end
  if waiting > 0 and room > 0 then moved = move(keys, room) end
  waiting = redis.call('ZCARD', held)
  if waiting == 0 then
    because = 'nothing'
    if not (settings.paused or settings.concurrency or settings.rate_max) then
      redis.call('DEL', gate_key) -- (1)
    elseif settings.ordered or settings.high or settings.low then
      redis.call('HDEL', gate_key, 'ordered', 'high', 'low')
    end
  elseif room == MOVE_MAX and moved == MOVE_MAX then
    more = true
  end
  return { moved, returned, waiting, because, again, more and 1 or 0 }
end

-- Sets what holds entries back, then lets go what may.
-- ARGV  'pause' | 'resume' | 'limits' concurrency|'' rateMax|'' rateMs|''
-- Returns as pump does.
local function set_gate(keys, args)
  local gate_key = keys[3]
  if args[1] == 'pause' then
    redis.call('HSET', gate_key, 'paused', '1')
  elseif args[1] == 'resume' then
    redis.call('HDEL', gate_key, 'paused')
  else
    redis.call('HDEL', gate_key, 'concurrency', 'rate_max', 'rate_ms')
    for slot = 0, RATE_PARTS do redis.call('HDEL', gate_key, 'r' .. slot) end
    if args[2] ~= '' then redis.call('HSET', gate_key, 'concurrency', args[2]) end
    if args[3] ~= '' then redis.call('HSET', gate_key, 'rate_max', args[3], 'rate_ms', args[4]) end
  end
  -- A gate that is empty now, but holds entries, still has to let them go.
  if redis.call('EXISTS', gate_key) == 0 and redis.call('ZCARD', keys[4]) > 0 then redis.call('HSET', gate_key, 'high', '0') end
  return gate.pump(keys)
end

-- Whether an entry is of this job, and of this attempt or an earlier one. One without an attempt is of any.
local function is_meant(fields, job, attempt)
  local id = field_of(fields, 'jobId') or field_of(fields, 'job_id')
  return id == job and (tonumber(field_of(fields, OWN_FIELD) or '0') or 0) <= attempt
end

local function remove_entry(keys, group, id)
  if group then redis.call('XACK', keys[1], GROUP, id) end
  redis.call('XDEL', keys[1], id)
  redis.call('HDEL', keys[6], id)
end

-- Takes a job's attempt (and earlier ones) out of the gate, and out of one page of the stream, whoever has it.
-- KEYS  stream posts gate held entries taken
-- ARGV  jobId attempt after page: looks at the page of the stream after an id; page 1 looks at the entry of that id alone
-- Returns {entries removed, id after which the next page begins|''}.
local function withdraw(keys, args)
  local job, attempt = args[1], tonumber(args[2])
  local removed = 0
  local held = redis.call('HGET', keys[5], job)
  if held and cmsgpack.unpack(held)[1] <= attempt then
    redis.call('ZREM', keys[4], job)
    redis.call('HDEL', keys[5], job)
    removed = 1
  end
  if not is_usable(keys[1]) then
    note_withdrawn(keys[1], job, attempt)
    return { removed, '' }
  end
  local page = tonumber(args[4])
  local group = group_of(keys[1], GROUP)
  local entries
  if page == 1 then
    entries = redis.call('XRANGE', keys[1], args[3], args[3])
    -- Trimmed by its producer while somebody held it: nothing tells whose it was but the caller.
    if #entries == 0 and group and redis.call('XACK', keys[1], GROUP, args[3]) == 1 then
      redis.call('HDEL', keys[6], args[3])
      removed = removed + 1
    end
  else
    entries = redis.call('XRANGE', keys[1], '(' .. args[3], '+', 'COUNT', page)
  end
  for _, entry in ipairs(entries) do
    if is_meant(entry[2], job, attempt) then
      remove_entry(keys, group, entry[1])
      removed = removed + 1
    end
  end
  if removed > 0 then gate.pump(keys) end
  if removed == 0 and page > 1 and #entries < page then note_withdrawn(keys[1], job, attempt) end
  return { removed, page > 1 and #entries == page and entries[page][1] or '' }
end

-- How many entries nobody has read. The group's lag is not used where it can be helped: after deletions it is wrong or missing.
local function count_unread(stream, group, max)
  local length = redis.call('XLEN', stream)
  if not group then return length end
  local last = group['last-delivered-id']
  local delivered = #redis.call('XRANGE', stream, '-', last, 'COUNT', max)
  if delivered < tonumber(max) then return length - delivered end
  local unread = #redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', max)
  if unread < tonumber(max) then return unread end
  return group.lag or length - delivered
end

-- What a person is shown of a queue.
-- KEYS  stream posts gate held entries
-- ARGV  unreadMax activeMs
-- Returns {paused, concurrency|'', rateMax|'', rateMs|'', unread, held, pending, consumers seen within activeMs, type of a key that is no
--         stream|''}.
local function view_queue(keys, args)
  local settings = table_of(redis.call('HGETALL', keys[3]))
  local usable, kind = is_usable(keys[1])
  if not usable then
    local limits = { settings.concurrency or '', settings.rate_max or '', settings.rate_ms or '' }
    return { settings.paused and 1 or 0, limits[1], limits[2], limits[3], 0, redis.call('ZCARD', keys[4]), 0, 0, kind }
  end
  local group = group_of(keys[1], GROUP)
  local workers = 0
  if group then
    for _, raw in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], GROUP)) do
      if table_of(raw).idle <= tonumber(args[2]) then workers = workers + 1 end
    end
  end
  return {
    settings.paused and 1 or 0, settings.concurrency or '', settings.rate_max or '', settings.rate_ms or '',
    count_unread(keys[1], group, args[1]), redis.call('ZCARD', keys[4]), group and group.pending or 0, workers, '',
  }
end

redis.register_function({ function_name = '@LIBRARY@_pump', callback = gate.pump, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_set_gate', callback = set_gate, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_withdraw', callback = withdraw, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_view_queue', callback = view_queue, flags = { 'no-writes' } })
