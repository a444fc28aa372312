-- What leaves the engine through an outlet. The rules are those of functions.lua.
--
-- Part of two libraries: that of the queues (this file, queue-gate.lua, queue-look.lua) and the engine's (this file, queue-gate.lua, functions.lua).
--
-- 1. An entry is taken in once: it is part of the commit that decided it; or its number is the newest of its sender, or it is dropped.
--    Numbers are '<epoch>-<count>' and grow.

-- What holds entries back; queue-gate.lua fills it.
local gate = {}

local function add(stream, max_length, args, from, count)
  if max_length == '' then return redis.call('XADD', stream, '*', unpack(args, from, from + count - 1)) end
  return redis.call('XADD', stream, 'MAXLEN', '~', max_length, '*', unpack(args, from, from + count - 1))
end

-- How far the entries of one stream have been taken in. `at`: the index of the next one in the arguments.
local function begun(at)
  return { at = at, newest = {}, taken = 0, added = 0, held = false }
end

-- Takes in the entries that stand in args up to an index, in their order. With a gate, or with a priority other than 0 (which makes one),
-- an entry is held instead, and goes as soon as the gate lets it. An error leaves in `done` what was taken in before.
-- args  for each entry: from, number, priority|'-', member|'', number of values, field value …
-- numbered  1 holds: the entries may have been taken in before
local function take_in(keys, args, last, max_length, numbered, done)
  local stream, posts = keys[1], keys[2]
  local gated
  while done.at <= last do
    local at = done.at
    local from, number, count = args[at], args[at + 1], tonumber(args[at + 4])
    local known = numbered and (done.newest[from] or redis.call('HGET', posts, from))
    if not known or is_after(number, known) then
      local priority = tonumber(args[at + 2])
      if priority and gated == nil then
        if redis.call('HEXISTS', posts, 'passed') == 0 then gate.begin_watch(stream, posts) end
        gated = redis.call('EXISTS', keys[3]) == 1
      end
      if priority and priority ~= 0 then gated = redis.call('HSET', keys[3], 'ordered', '1') ~= nil end
      if numbered and gate.is_withdrawn(stream, args[at + 3], args, at + 5, at + 4 + count) then
        -- Nobody wants it any more.
      elseif priority and gated then
        gate.hold(keys, 'high', priority, args[at + 3], { unpack(args, at + 5, at + 4 + count) })
        done.held = true
      else
        add(stream, max_length, args, at + 5, count)
        done.added = done.added + 1
      end
      if numbered then done.newest[from] = number end
      done.taken = done.taken + 1
    end
    done.at = at + 5 + count
  end
end

-- Stores what was taken in, and lets go what may.
local function note_taken(keys, done)
  if done.added > 0 then redis.call('HINCRBY', keys[2], 'count', done.added) end
  for from, number in pairs(done.newest) do redis.call('HSET', keys[2], from, number) end
  if done.held then gate.pump(keys) end
end

-- Appends numbered entries to one stream, each once and in their order.
-- KEYS  stream posts (hash) gate (hash) held (sorted set) entries (hash): see queue-gate.lua
-- ARGV  maxLength|'', then entries as take_in has them
-- Returns how many were new.
local function post(keys, args)
  local done = begun(2)
  local ok, fault = pcall(take_in, keys, args, #args, args[1], true, done)
  note_taken(keys, done)
  if not ok then error(fault, 0) end
  return done.taken
end

-- One entry of the arguments as an item of an outbox.
local function as_outbox_item(stream, max_length, args, at)
  local post = { stream = stream, from = tonumber(args[at]), number = args[at + 1], priority = tonumber(args[at + 2]), maxLength = tonumber(max_length) }
  if args[at + 3] ~= '' then post.member = args[at + 3] end
  post.fields = { unpack(args, at + 5, at + 4 + tonumber(args[at + 4])) }
  return cjson.encode({ post = post })
end

-- Takes in the posts of a commit: they are part of it and need no numbers. What a stream refuses, for it may be anything, stops nothing
-- else; with all that follows for the same stream it is returned as items of the outbox.
-- keys  from an index on, those of post for each section
-- args  from an index on, for each section (entries of one stream and length): number of values, then what post has
local function take_in_committed(keys, first_key, args, at, streams)
  local refused, refusing = {}, {}
  for index = 0, streams - 1 do
    local own = { unpack(keys, first_key + index * 5, first_key + index * 5 + 4) }
    local last, max_length = at + tonumber(args[at]), args[at + 1]
    local done = begun(at + 2)
    if not refusing[own[1]] then refusing[own[1]] = not pcall(take_in, own, args, last, max_length, false, done) end
    pcall(note_taken, own, done)
    while done.at <= last do
      refused[#refused + 1] = as_outbox_item(own[1], max_length, args, done.at)
      done.at = done.at + 5 + tonumber(args[done.at + 4])
    end
    at = last + 1
  end
  return refused
end

redis.register_function('@LIBRARY@_post', post)
