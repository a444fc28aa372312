-- What can be seen of a queue's workers. Part of the Function library; see functions.lua for the rules.
--
-- The hash {stream}:posts holds, beside what `post` keeps there: passed (up to which delivered entries have been looked at), scanned (up to
-- which entries of other producers have been looked for) and seen (how many these had added then).
-- The hash {stream}:taken holds the entries in the hands of foreign consumers: id → '<deliveries> <consumer>\n<fields as JSON>',
-- and those of other producers that a worker of ours has told of and acknowledged: id → ''.

-- At most so many tracked entries are looked at in one call; of more, that many at random.
local TAKEN_LOOKS = 1000
local STALLED_MAX = 2000
-- Of one consumer: those told of are withdrawn, and then the next have their turn.
local STALLED_PAGE = 200
-- Pages of one foreign consumer's pending list.
local PENDING_PAGES = 10
-- Nothing comes after it, and XRANGE refuses to look.
local LAST_ID = '18446744073709551615-18446744073709551615'

local function is_stream(key)
  return redis.call('TYPE', key).ok == 'stream'
end

local function wanted_fields(fields, wanted)
  local found = {}
  for at = 1, #fields, 2 do
    if wanted[fields[at]] then
      found[#found + 1] = fields[at]
      found[#found + 1] = fields[at + 1]
    end
  end
  return found
end

-- Consumer and deliveries of a pending entry; nil when it is not pending.
local function holder_of(stream, group, id)
  local found = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if found then return found[2], found[4] end
end

local function entry_fields(stream, id, wanted)
  local found = redis.call('XRANGE', stream, id, id)[1]
  return found and wanted_fields(found[2], wanted) or {}
end

local function begins_with(text, beginning)
  return string.sub(text, 1, #beginning) == beginning
end

-- Consumers, and what those hold that have to be told of.
local function look_at_consumers(stream, taken, group, page, lease, prefix, wanted)
  local consumers, claims, stalled, more = {}, {}, {}, 0
  for _, raw in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local consumer = table_of(raw)
    local ours = begins_with(consumer.name, prefix)
    consumers[#consumers + 1] = { consumer.name, consumer.pending, consumer.idle }
    if consumer.pending > 0 and not ours then
      local from = '-'
      for _ = 1, PENDING_PAGES do
        local held = redis.call('XPENDING', stream, group, from, '+', page, consumer.name)
        for _, entry in ipairs(held) do
          local known = redis.call('HGET', taken, entry[1])
          if not known or not begins_with(known, entry[4] .. ' ' .. consumer.name .. '\n') then
            if #claims < page then claims[#claims + 1] = { entry[1], consumer.name, entry[4], entry_fields(stream, entry[1], wanted) } else more = 1 end
          end
        end
        if #held < page then break end
        from = '(' .. held[page][1]
      end
    elseif consumer.pending > 0 and consumer.idle > lease and #stalled < STALLED_MAX then
      for _, entry in ipairs(redis.call('XPENDING', stream, group, '-', '+', STALLED_PAGE, consumer.name)) do
        stalled[#stalled + 1] = { entry[1], consumer.name, entry[4], entry_fields(stream, entry[1], wanted) }
      end
    end
  end
  return consumers, claims, stalled, more
end

-- Tracked entries that no foreign consumer holds any more.
local function look_at_taken(stream, taken, group, prefix)
  local gone = {}
  local pairs_found = redis.call('HRANDFIELD', taken, TAKEN_LOOKS, 'WITHVALUES')
  for at = 1, #pairs_found, 2 do
    local consumer = holder_of(stream, group, pairs_found[at])
    if pairs_found[at + 1] == '' then
      gone[#gone + 1] = { pairs_found[at], '', 0 }
    elseif not consumer then
      gone[#gone + 1] = { pairs_found[at], pairs_found[at + 1], 1 }
    elseif begins_with(consumer, prefix) then
      gone[#gone + 1] = { pairs_found[at], pairs_found[at + 1], 0 }
    end
  end
  return gone
end

-- Entries that were delivered and acknowledged between two looks. Those of our workers are deleted with their acknowledgement.
local function look_at_passed(stream, taken, group, passed, last, page, wanted)
  local through = {}
  if passed == LAST_ID then return through, last, 0 end
  local entries = redis.call('XRANGE', stream, '(' .. passed, last, 'COUNT', page)
  for _, entry in ipairs(entries) do
    if not holder_of(stream, group, entry[1]) and redis.call('HEXISTS', taken, entry[1]) == 0 then
      through[#through + 1] = { entry[1], wanted_fields(entry[2], wanted) }
    end
  end
  if #entries == page then return through, entries[page][1], 1 end
  return through, last, 0
end

-- What there is to be seen of a stream and its group.
-- KEYS  stream posts taken gate held
-- ARGV  group page leaseMs prefix, then the wanted fields
-- Returns {marked 0|1} when there is no such stream, else {length, added, own, lastId, scanned|'', seen|'', group 0|1, firstPending|'', lastDelivered,
--         held, gated 0|1, consumers {name, pending, idle}, claims {id, consumer, deliveries, fields}, tracked that are gone {id, value,
--         acknowledged 0|1}, passed and acknowledged {id, fields}, stalled {id, consumer, deliveries, fields}, passed, more 0|1}.
local function look(keys, args)
  local stream, posts, taken = keys[1], keys[2], keys[3]
  if not is_stream(stream) then return { redis.call('HEXISTS', posts, 'scanned') } end
  local name, page, prefix = args[1], tonumber(args[2]), args[4]
  local wanted = {}
  for at = 5, #args do wanted[args[at]] = true end
  local info = table_of(redis.call('XINFO', 'STREAM', stream))
  local kept = redis.call('HMGET', posts, 'count', 'scanned', 'seen', 'passed')
  local group = group_of(stream, name)
  -- Marks beyond all that the stream ever held are of one that was deleted.
  if kept[2] and is_after(kept[2], info['last-generated-id']) then kept[2], kept[3], kept[4] = false, false, false end
  local reply = {
    info['length'], info['entries-added'], tonumber(kept[1] or '0'), info['last-generated-id'], kept[2] or '', kept[3] or '',
    group and 1 or 0, '', group and group['last-delivered-id'] or '0-0', redis.call('ZCARD', keys[5]), redis.call('EXISTS', keys[4]),
    {}, {}, {}, {}, {}, kept[4] or '', 0,
  }
  if not group then return reply end
  if group.pending > 0 then reply[8] = redis.call('XPENDING', stream, name)[2] end
  local more
  reply[12], reply[13], reply[16], more = look_at_consumers(stream, taken, name, page, tonumber(args[3]), prefix, wanted)
  reply[14] = look_at_taken(stream, taken, name, prefix)
  local last = group['last-delivered-id']
  -- Never past what has been scanned: an entry is adopted before anything else is told of it.
  if kept[2] and is_after(last, kept[2]) then last = kept[2] end
  if not kept[4] then
    reply[17] = group['last-delivered-id']
  elseif kept[2] and is_after(last, kept[4]) then
    local unfinished
    reply[15], reply[17], unfinished = look_at_passed(stream, taken, name, kept[4], last, page, wanted)
    if unfinished == 1 then more = 1 end
  end
  reply[18] = more
  return reply
end

-- What other producers enqueued, a page of it.
-- KEYS  stream
-- ARGV  group after upTo page ownField|'' unfinished 0|1
-- Returns {next|'', id, fields, id, fields, …}.
local function scan_foreign(keys, args)
  if not is_stream(keys[1]) or args[2] == LAST_ID then return { '' } end
  local page = tonumber(args[4])
  local group = args[6] == '1' and group_of(keys[1], args[1])
  local entries = redis.call('XRANGE', keys[1], '(' .. args[2], args[3], 'COUNT', page)
  local reply = { #entries == page and entries[page][1] or '' }
  for _, entry in ipairs(entries) do
    local foreign = true
    for at = 1, #entry[2], 2 do
      if entry[2][at] == args[5] then foreign = false end
    end
    if foreign and group and not is_after(entry[1], group['last-delivered-id']) then foreign = holder_of(keys[1], args[1], entry[1]) ~= nil end
    if foreign then
      reply[#reply + 1] = entry[1]
      reply[#reply + 1] = entry[2]
    end
  end
  return reply
end

-- Notes what has been told, so that it is not told again. A claimed entry is tracked while that consumer holds it; one that nobody holds
-- any more was acknowledged since the look, and is tracked so that the next look tells its end: it may lie before `passed` by now.
-- KEYS  stream posts taken
-- ARGV  group passed|'' scanned|'' seen|'' claims, for each claim: id consumer deliveries value; then the ids that are told of.
-- Returns 1.
local function note_look(keys, args)
  if not is_stream(keys[1]) then
    -- The next stream under this name counts from its own beginning.
    redis.call('DEL', keys[3])
    redis.call('HDEL', keys[2], 'passed', 'scanned', 'seen', 'count')
    return 1
  end
  local fields = { 'passed', 'scanned', 'seen' }
  for index = 1, 3 do
    if args[index + 1] ~= '' then redis.call('HSET', keys[2], fields[index], args[index + 1]) end
  end
  local at = 6
  local group = group_of(keys[1], args[1])
  for _ = 1, tonumber(args[5]) do
    local consumer = group and holder_of(keys[1], args[1], args[at])
    if group and (not consumer or consumer == args[at + 1]) then redis.call('HSET', keys[3], args[at], args[at + 3]) end
    at = at + 4
  end
  for index = at, #args do redis.call('HDEL', keys[3], args[index]) end
  return 1
end

-- Drops consumers that are long gone and hold nothing, and the oldest entries that every group is done with.
-- KEYS  stream
-- ARGV  group absentMs lengthMax page
-- Returns {consumers dropped, entries dropped}.
local function tidy_queue(keys, args)
  local stream = keys[1]
  if not is_stream(stream) then return { 0, 0 } end
  local gone = 0
  if group_of(stream, args[1]) then
    for _, raw in ipairs(redis.call('XINFO', 'CONSUMERS', stream, args[1])) do
      local consumer = table_of(raw)
      if consumer.pending == 0 and consumer.idle > tonumber(args[2]) then
        redis.call('XGROUP', 'DELCONSUMER', stream, args[1], consumer.name)
        gone = gone + 1
      end
    end
  end
  local surplus = math.min(redis.call('XLEN', stream) - tonumber(args[3]), tonumber(args[4]))
  if surplus <= 0 then return { gone, 0 } end
  local safe
  for _, raw in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = table_of(raw)
    local done = group['last-delivered-id']
    if group.pending > 0 then done = redis.call('XPENDING', stream, group.name)[2] end
    if not safe or is_after(safe, done) then safe = done end
  end
  if not safe or safe == '0-0' then return { gone, 0 } end
  local entries = redis.call('XRANGE', stream, '-', '(' .. safe, 'COUNT', surplus)
  if #entries == 0 then return { gone, 0 } end
  local ids = {}
  for index, entry in ipairs(entries) do ids[index] = entry[1] end
  return { gone, redis.call('XDEL', stream, unpack(ids)) }
end

redis.register_function({ function_name = '@LIBRARY@_look', callback = look, flags = { 'no-writes' } })
redis.register_function({ function_name = '@LIBRARY@_scan_foreign', callback = scan_foreign, flags = { 'no-writes' } })
redis.register_function({ function_name = '@LIBRARY@_note_look', callback = note_look, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_tidy_queue', callback = tidy_queue, flags = { 'allow-oom' } })
