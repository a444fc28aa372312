-- What the Function libraries share: the first file of each.

-- Redis's clock, ms since the epoch.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Both halves of '<ms>-<sequence>' or '<epoch>-<number>'.
local function parts(id)
  local dash = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end

local function is_after(left, right)
  local left_first, left_second = parts(left)
  local right_first, right_second = parts(right)
  if left_first ~= right_first then return left_first > right_first end
  return left_second > right_second
end

-- The newest entry that a stream holds; '0-0' when it holds none.
local function newest_in(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1] or '0-0'
end

-- A ring may carry a glance: what its owner would find if it looked at the partition. It is begun before something is appended, and only
-- while all of the inbox is applied: an owner that is behind looks anyway, and at more. Nil also when this user may not look, and on a
-- Cluster, where sources lie in other slots.
local function begin_glance(partition, meta, inbox)
  local ok, glance = pcall(function()
    local stored = redis.call('HMGET', meta, 'inbox', 'commit', 'sources')
    local before = newest_in(inbox)
    if not stored[3] or is_after(before, stored[1] or '0-0') then return nil end
    local sources = {}
    for stream in string.gmatch(stored[3], '[^\n]+') do
      sources[#sources + 1] = stream
      sources[#sources + 1] = newest_in(stream)
    end
    return { tonumber(partition), now_ms(), stored[2] or '', before, sources }
  end)
  return ok and glance or nil
end

-- Whether values of args, from an index on, are few bytes: a ring is no place for a large entry.
local function is_small(args, from)
  local bytes = 0
  for index = from, #args do bytes = bytes + #args[index] end
  return bytes <= 8192
end

-- The message for the ring. `stream`: the source that was appended to; '' for the inbox. `unknown`: nothing is stored of the entry's actor.
local function end_glance(glance, stream, id, fields, unknown)
  glance[6], glance[7], glance[8], glance[9] = stream, id, fields, unknown
  return cjson.encode(glance)
end
