-- Every write that must be atomic, as one Redis Function library.
--
-- 1. All checks come before the first write: Lua is isolated but not transactional, an error leaves earlier writes.
-- 2. No more than CHUNK values are unpacked at a time (Lua's stack ends at about 8,000).
-- 3. Library and functions carry the hash of its files, so engines of two versions can share one Redis.
-- 4. A repeated call with the same arguments changes nothing more (append: as far as its entries have dedupe ids).

local CHUNK = 4000

-- command key args[from .. from + count - 1], in chunks; returns the index after the last value.
local function spread(command, key, args, from, count)
  local last = from + count - 1
  local at = from
  while at <= last do
    local to = math.min(at + CHUNK - 1, last)
    redis.call(command, key, unpack(args, at, to))
    at = to + 1
  end
  return last + 1
end

local function owns(meta, owner, epoch)
  local stored = redis.call('HMGET', meta, 'owner', 'epoch')
  return stored[1] == owner and stored[2] == epoch
end

-- The packs of a commit and their addresses: all of them or none. Returns the index after the last value.
local function add_packs(keys, args, at, feeds, time)
  local lined = {}
  local ok, fault = pcall(function()
    for feed = 1, feeds do
      local from = at + (feed - 1) * 3
      lined[feed] = redis.call('XADD', keys[10], 'MAXLEN', '~', args[11], '*', 'p', args[10], 't', args[from], 'i', args[4], 'n', args[from + 1])
    end
    for feed = 1, feeds do
      local from = at + (feed - 1) * 3
      redis.call('XADD', keys[10 + feed], args[4], 'n', args[from + 1], 't', time, 'p', args[from + 2])
    end
  end)
  if not ok then
    if #lined > 0 then redis.call('XDEL', keys[10], unpack(lined)) end
    error(fault, 0)
  end
  return at + feeds * 3
end

-- Stores one batch of a partition.
-- KEYS  meta inbox records documents timers liveness outbox invoking dead cursor, feeds…, indexes to add to…, indexes to remove from…, those of
--       post for each stream that gets posts…
-- ARGV  owner epoch previous id firedThrough|'' inbox time outboxPack|'' deadMax partition cursorMax feeds adds removes channels streams, number of
--       values of the posts; for each stream: number of values, what post has; then sections, each headed by its number of values: meta pairs, record
--       pairs, document pairs, timers (due member), timers gone, liveness (due member), liveness gone, invoking, no longer invoking, actors
--       that go, dead letters; for each feed: type count pack; for each index to add to: number (score member)…; for each index to remove from:
--       number member…; then the number of publications and for each: channel, place of the document in ARGV, bytes left out at its beginning, at its end; then arrivals (key of the
--       secret, and for each: channel, place of the record in ARGV) and announcements (channel message), each headed by their number of values; then the channels to ask after.
-- Returns {1, time, channel…} written, {2, time, channel…} written by an earlier call, with the channels that have listeners; {5, …} and
--       {6, …} the same when posts were refused and joined the outbox; {0} fenced, {3, stored} diverged, {4, entry} overtaken.
local function commit(keys, args)
  local meta, inbox = keys[1], keys[2]
  local stored = redis.call('HMGET', meta, 'owner', 'epoch', 'commit')
  if stored[1] ~= args[1] or stored[2] ~= args[2] then return {0} end
  local id = args[4]
  local newest = stored[3] or '0-0'
  local channels_at = #args - tonumber(args[15]) + 1
  if newest == id then
    local pack = redis.call('XRANGE', keys[7], id, id)[1]
    return with_listened({ (pack and pack[2][2] or '') == args[8] and 2 or 6, now_ms() }, args, channels_at)
  end
  if newest ~= args[3] then return {3, newest} end
  if args[5] ~= '' then
    local unread = redis.call('XRANGE', inbox, '(' .. args[6], '+', 'COUNT', 1)[1]
    if unread then
      local unread_ms = parts(unread[1])
      if unread_ms < tonumber(args[5]) then return {4, unread[1]} end
    end
  end

  -- The streams of our own first: only their ids could be refused, and then nothing has been written. What another system's stream refuses
  -- is caught.
  local feeds, adds, removes = tonumber(args[12]), tonumber(args[13]), tonumber(args[14])
  local time = args[7]
  local streams, at = tonumber(args[16]), 18 + tonumber(args[17])
  local meta_count = tonumber(args[at])
  local meta_at = at + 1
  at = meta_at + meta_count
  local sections = { 'HSET', 3, 'HSET', 4, 'ZADD', 5, 'ZREM', 5, 'ZADD', 6, 'ZREM', 6, 'SADD', 8, 'SREM', 8 }
  local starts, counts = {}, {}
  for section = 1, 8 do
    counts[section] = tonumber(args[at])
    starts[section] = at + 1
    at = at + 1 + counts[section]
  end
  local gone_count = tonumber(args[at])
  local gone_at = at + 1
  at = gone_at + gone_count
  local dead_count = tonumber(args[at])
  local dead_at = at + 1
  at = dead_at + dead_count
  at = add_packs(keys, args, at, feeds, time)
  local refused = streams > 0 and take_in_committed(keys, 11 + feeds + adds + removes, args, 18, streams) or {}
  local pack = args[8]
  if #refused > 0 then
    local items = table.concat(refused, ',')
    pack = pack == '' and '[' .. items .. ']' or string.sub(pack, 1, -2) .. ',' .. items .. ']'
  end
  if pack ~= '' then redis.call('XADD', keys[7], id, 'p', pack) end
  if meta_count > CHUNK then
    spread('HSET', meta, args, meta_at, meta_count)
    redis.call('HSET', meta, 'commit', id, 'time', time, 'inbox', args[6])
  else
    redis.call('HSET', meta, 'commit', id, 'time', time, 'inbox', args[6], unpack(args, meta_at, meta_at + meta_count - 1))
  end
  for section = 1, 8 do
    if counts[section] > 0 then spread(sections[section * 2 - 1], keys[sections[section * 2]], args, starts[section], counts[section]) end
  end
  if gone_count > 0 then
    spread('HDEL', keys[3], args, gone_at, gone_count)
    spread('HDEL', keys[4], args, gone_at, gone_count)
  end
  for letter = dead_at, dead_at + dead_count - 1 do
    redis.call('XADD', keys[9], 'MAXLEN', '~', args[9], '*', 'j', args[letter])
  end
  for index = 1, adds do
    at = spread('ZADD', keys[10 + feeds + index], args, at + 1, tonumber(args[at]))
  end
  for index = 1, removes do
    at = spread('ZREM', keys[10 + feeds + adds + index], args, at + 1, tonumber(args[at]))
  end
  local publications = tonumber(args[at])
  publish_documents(args, at + 1, publications)
  at = at + 1 + publications * 4
  local arrivals = tonumber(args[at])
  tell_arrivals(keys[4], args, at + 1, at + arrivals)
  at = at + 1 + arrivals
  for message = at + 1, at + tonumber(args[at]), 2 do redis.call('PUBLISH', args[message], args[message + 1]) end
  if args[6] ~= '0-0' then redis.call('XTRIM', inbox, 'MINID', '~', args[6]) end
  return with_listened({ #refused > 0 and 5 or 1, now_ms() }, args, channels_at)
end

-- {entries, actor, record|false, …}: entries of an inbox, and what is stored of the actors that they are for.
local function look_at_inbox(inbox, records, after, count)
  local entries = redis.call('XRANGE', inbox, '(' .. after, '+', 'COUNT', count)
  local reply, actors, known = { entries }, {}, {}
  for _, entry in ipairs(entries) do
    local actor = entry[2][1]
    if not known[actor] then
      known[actor] = true
      actors[#actors + 1] = actor
    end
  end
  for from = 1, #actors, CHUNK do
    for index, record in ipairs(redis.call('HMGET', records, unpack(actors, from, math.min(from + CHUNK - 1, #actors)))) do
      reply[#reply + 1] = actors[from + index - 1]
      reply[#reply + 1] = record
    end
  end
  return reply
end

-- What a few inboxes and the sources have after the given ids.
-- KEYS  for each inbox: inbox records; sources…
-- ARGV  inboxes count sourceCount, an id for each inbox, an id for each source
-- Returns {ms before the first read, for each inbox {entries, actor, record|false, …}, for each source {entries, oldest id|false}}; the
--       oldest id only beside entries.
local function look(keys, args)
  local reply = { now_ms() }
  local inboxes = tonumber(args[1])
  for index = 1, inboxes do
    reply[index + 1] = look_at_inbox(keys[index * 2 - 1], keys[index * 2], args[3 + index], args[2])
  end
  for index = inboxes + 1, #args - 3 do
    local stream = keys[inboxes + index]
    local entries = redis.call('XRANGE', stream, '(' .. args[3 + index], '+', 'COUNT', args[3])
    local oldest = #entries > 0 and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1]
    reply[index + 1] = { entries, oldest }
  end
  return reply
end

-- Drops what is too old or too much from the dedupe ids: a bounded number of them, at least as many as this call added.
local function forget_old_ids(hash, order, oldest_ms, max, added)
  local budget = added * 2 + 16
  local surplus = redis.call('LLEN', order) - max
  while budget > 0 do
    local first = redis.call('LINDEX', order, 0)
    if not first then return end
    if surplus <= 0 then
      local entry = redis.call('HGET', hash, first)
      if entry and parts(entry) > oldest_ms then return end
    end
    redis.call('LPOP', order)
    redis.call('HDEL', hash, first)
    surplus = surplus - 1
    budget = budget - 1
  end
end

-- Appends envelopes to an inbox, each dedupe id once, and rings once; for a single small one with a glance.
-- KEYS  inbox dedupe order
-- ARGV  windowMs idsMax bell prefix partition, then for each envelope: dedupe id | '', number of values, field value …
-- Returns an entry id for each envelope; with '=' before it when the dedupe id was known.
local function append(keys, args)
  local inbox, hash, order = keys[1], keys[2], keys[3]
  local window = tonumber(args[1])
  local starts, ids, wanted = {}, {}, {}
  local at, total = 6, #args
  while at <= total do
    local number = #starts + 1
    starts[number] = at
    ids[number] = args[at]
    if args[at] ~= '' then wanted[#wanted + 1] = args[at] end
    at = at + 2 + tonumber(args[at + 1])
  end
  local known, oldest = {}, 0
  if #wanted > 0 then
    oldest = now_ms() - window
    local found = redis.call('HMGET', hash, unpack(wanted))
    for index = 1, #wanted do
      local entry = found[index]
      if entry and parts(entry) > oldest then
        known[wanted[index]] = entry
      elseif entry then
        -- Expired but not dropped yet: it is about to stand at the end of the list again.
        redis.call('LREM', order, 1, wanted[index])
        redis.call('HDEL', hash, wanted[index])
      end
    end
  end
  local reply, pairs_added, ids_added = {}, {}, {}
  local glance = #starts == 1 and is_small(args, 6) and begin_glance(args[4], args[5], args[8])
  for number = 1, #starts do
    local id = ids[number]
    local entry = id ~= '' and known[id]
    if entry then
      reply[number] = '=' .. entry
    else
      local from = starts[number] + 2
      local new = redis.call('XADD', inbox, '*', unpack(args, from, from + tonumber(args[from - 1]) - 1))
      reply[number] = new
      if id ~= '' then
        known[id] = new
        ids_added[#ids_added + 1] = id
        pairs_added[#pairs_added + 1] = id
        pairs_added[#pairs_added + 1] = new
      end
    end
  end
  if #ids_added > 0 then
    redis.call('HSET', hash, unpack(pairs_added))
    redis.call('RPUSH', order, unpack(ids_added))
    forget_old_ids(hash, order, oldest, tonumber(args[2]), #ids_added)
    redis.call('PEXPIRE', hash, window)
    redis.call('PEXPIRE', order, window)
  end
  local brings = glance and string.sub(reply[1], 1, 1) ~= '='
  redis.call('SPUBLISH', args[3], brings and end_glance(args[4], glance, '', reply[1], { unpack(args, 8) }) or '1')
  return reply
end

-- Takes a partition whose lease is free, expired or the caller's.
-- KEYS  meta
-- ARGV  owner leaseMs sources (a line each)
-- Returns {1, epoch} acquired, {0, owner, remainingMs} held.
local function acquire(keys, args)
  local stored = redis.call('HMGET', keys[1], 'owner', 'until', 'epoch')
  local now = now_ms()
  local remaining = (tonumber(stored[2] or '0') or 0) - now
  if stored[1] and stored[1] ~= args[1] and remaining > 0 then return {0, stored[1], remaining} end
  local epoch = string.format('%.0f', math.max((tonumber(stored[3] or '0') or 0) + 1, now))
  redis.call('HSET', keys[1], 'owner', args[1], 'epoch', epoch, 'acknowledged', '0', 'sources', args[3], 'until', string.format('%.0f', now + tonumber(args[2])))
  return {1, epoch}
end

-- Lengthens a lease. One that ran out is renewed too as long as nobody else took the partition.
-- KEYS  meta
-- ARGV  owner epoch leaseMs
-- Returns 1 renewed, 0 fenced.
local function renew(keys, args)
  if not owns(keys[1], args[1], args[2]) then return 0 end
  redis.call('HSET', keys[1], 'until', string.format('%.0f', now_ms() + tonumber(args[3])))
  return 1
end

-- Gives a partition up; its epoch stays, so that the next one is higher.
-- KEYS  meta
-- ARGV  owner epoch
-- Returns 1 released, 0 fenced.
local function release(keys, args)
  if not owns(keys[1], args[1], args[2]) then return 0 end
  redis.call('HDEL', keys[1], 'owner', 'until')
  return 1
end

-- Drops delivered commands, keeps and forgets retries, stores dead letters.
-- KEYS  meta outbox retries dead
-- ARGV  owner epoch number firstKept|'' deadMax, then sections, each headed by its number of values: retries (key value),
--       retries gone, dead letters. The number counts the epoch's calls: a repeat, or a call that arrives after a later one,
--       changes nothing.
-- Returns 1 done, 0 fenced.
local function acknowledge(keys, args)
  local stored = redis.call('HMGET', keys[1], 'owner', 'epoch', 'acknowledged')
  if stored[1] ~= args[1] or stored[2] ~= args[2] then return 0 end
  if tonumber(args[3]) <= tonumber(stored[3] or '0') then return 1 end
  redis.call('HSET', keys[1], 'acknowledged', args[3])
  if args[4] ~= '' then redis.call('XTRIM', keys[2], 'MINID', '=', args[4]) end
  local at = spread('HSET', keys[3], args, 7, tonumber(args[6]))
  at = spread('HDEL', keys[3], args, at + 1, tonumber(args[at]))
  for letter = at + 1, at + tonumber(args[at]) do
    redis.call('XADD', keys[4], 'MAXLEN', '~', args[5], '*', 'j', args[letter])
  end
  return 1
end

-- Trims a feed's oldest packs by age and by bytes, a bounded number of them.
-- KEYS  feed
-- ARGV  bytesMax ageMsMax packsMax
-- Returns the number of packs dropped.
local function trim(keys, args)
  local feed = keys[1]
  local length = redis.call('XLEN', feed)
  if length == 0 then return 0 end
  local surplus = redis.call('MEMORY', 'USAGE', feed, 'SAMPLES', 64) - tonumber(args[1])
  local oldest = now_ms() - tonumber(args[2])
  local first_kept
  local dropped, budget = 0, tonumber(args[3])
  for _, entry in ipairs(redis.call('XRANGE', feed, '-', '+', 'COUNT', budget)) do
    local fields = entry[2]
    if surplus <= 0 and tonumber(fields[4]) >= oldest then break end
    surplus = surplus - #fields[6] - 32
    dropped = dropped + 1
    local ms, number = parts(entry[1])
    first_kept = string.format('%.0f-%.0f', ms, number + 1)
  end
  if dropped > 0 then redis.call('XTRIM', feed, 'MINID', '=', first_kept) end
  return dropped
end

-- What a person is shown of a partition.
-- KEYS  meta inbox timers liveness outbox retries
-- ARGV  scanMax: at most so many applied but untrimmed entries are looked for
-- Returns {owner|'', until, epoch, commit, inbox, entries not applied, timers, outbox, retries, now}.
local function describe(keys, args)
  local stored = redis.call('HMGET', keys[1], 'owner', 'until', 'epoch', 'inbox', 'commit')
  local position = stored[4] or '0-0'
  local applied = #redis.call('XRANGE', keys[2], '-', position, 'COUNT', args[1])
  return {
    stored[1] or '',
    stored[2] or '0',
    stored[3] or '0',
    stored[5] or '0-0',
    position,
    redis.call('XLEN', keys[2]) - applied,
    redis.call('ZCARD', keys[3]) + redis.call('ZCARD', keys[4]),
    redis.call('XLEN', keys[5]),
    redis.call('HLEN', keys[6]),
    now_ms(),
  }
end

redis.register_function('@LIBRARY@_commit', commit)
redis.register_function('@LIBRARY@_append', append)
redis.register_function('@LIBRARY@_acquire', acquire)
-- Allowed while the memory is full: they free some, or keep what is there.
redis.register_function({ function_name = '@LIBRARY@_renew', callback = renew, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_release', callback = release, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_acknowledge', callback = acknowledge, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_trim', callback = trim, flags = { 'allow-oom' } })
redis.register_function({ function_name = '@LIBRARY@_look', callback = look, flags = { 'no-writes' } })
redis.register_function({ function_name = '@LIBRARY@_describe', callback = describe, flags = { 'no-writes' } })
