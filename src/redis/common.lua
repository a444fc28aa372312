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

-- A text under the seal that shows that it was made with the right to read our keys (seal.ts); nil where there is no secret, or this user may
-- not read it. Never an error: entries have been written by then.
local function sealed(secret_key, text)
  local secret = redis.pcall('GET', secret_key)
  return type(secret) == 'string' and redis.sha1hex(secret .. text .. secret) .. text or nil
end

-- The newest entry that a stream holds; '0-0' when it holds none.
local function newest_in(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1] or '0-0'
end

-- Whether values of args, from an index on, are few bytes: a ring is no place for a large entry.
local function is_small(args, from)
  local bytes = 0
  for index = from, #args do bytes = bytes + #args[index] end
  return bytes <= 8192
end

-- A ring may carry a glance: what its owner would find if it looked at the partition. It is begun before something is appended, and only
-- while all of the inbox is applied: an owner that is behind looks anyway, and at more. Nil also when this user may not look (then true is
-- returned beside it), and on a Cluster, where sources lie in other slots. `actor`: of whom is told whether nothing is stored.
local function begin_glance(prefix, partition, actor)
  local ok, glance = pcall(function()
    local base = prefix .. ':{p' .. partition .. '}:'
    local stored = redis.call('HMGET', base .. 'meta', 'inbox', 'commit', 'sources')
    local before = newest_in(base .. 'inbox')
    if not stored[3] or is_after(before, stored[1] or '0-0') then return nil end
    local sources = {}
    for stream in string.gmatch(stored[3], '[^\n]+') do
      sources[#sources + 1] = stream
      sources[#sources + 1] = newest_in(stream)
    end
    local unknown = actor ~= nil and redis.call('HEXISTS', base .. 'records', actor) == 0
    return { tonumber(partition), now_ms(), stored[2] or '', before, sources, '', '', '', unknown }
  end)
  return ok and glance or nil, not ok
end

-- The message for the ring, or nil. `stream`: the source that was appended to; '' for the inbox.
local function end_glance(prefix, glance, stream, id, fields)
  glance[6], glance[7], glance[8] = stream, id, fields
  return sealed(prefix .. ':secret', cjson.encode(glance))
end
