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
