-- What a commit tells on channels, best effort: nobody may listen. Part of the engine's library.

-- A larger actor, bytes, is told by its address alone: everybody who waits for one hears of all, and the one who waited for it reads it.
local ARRIVAL_BYTES_MAX = 1024

-- Tells parts of documents, to those channels alone that someone listens to.
local function publish_documents(args, from, count)
  if count == 0 then return end
  local anyone = redis.call('PUBSUB', 'NUMPAT') > 0
  local listeners
  if not anyone then
    local channels = {}
    for index = 1, count do channels[index] = args[from + (index - 1) * 4] end
    listeners = redis.call('PUBSUB', 'NUMSUB', unpack(channels))
  end
  for index = 1, count do
    if anyone or listeners[index * 2] > 0 then
      local at = from + (index - 1) * 4
      redis.call('PUBLISH', args[at], string.sub(args[tonumber(args[at + 1])], tonumber(args[at + 2]) + 1, -1 - tonumber(args[at + 3])))
    end
  end
end

-- Tells actors, to those channels alone that someone listens to. args[from .. to]: key of the secret; for each: channel, place of the record
-- in args (its actor stands before it).
local function tell_arrivals(documents, args, from, to)
  local heard = {}
  for index = from + 1, to, 2 do
    local channel, place = args[index], tonumber(args[index + 1])
    if heard[channel] == nil then heard[channel] = redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0 end
    if heard[channel] then
      local actor, record = args[place - 1], args[place]
      local document = redis.call('HGET', documents, actor) or ''
      local whole = #record + #document <= ARRIVAL_BYTES_MAX
      redis.call('PUBLISH', channel, whole and sealed(args[from], actor .. '\n' .. record .. '\n' .. document) or actor)
    end
  end
end

-- Those of the channels in args, from an index on, to which someone listens, appended to a reply.
local function with_listened(reply, args, from)
  if from > #args then return reply end
  local anyone = redis.call('PUBSUB', 'NUMPAT') > 0
  local listeners = not anyone and redis.call('PUBSUB', 'NUMSUB', unpack(args, from))
  for index = from, #args do
    if anyone or listeners[(index - from + 1) * 2] > 0 then reply[#reply + 1] = args[index] end
  end
  return reply
end
