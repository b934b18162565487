-- Sends bodies in turns, as POST, and looks at every answer; prints what came of it as one JSON object.
-- Arguments: the key of a response that tells what is right; the values that are, separated by |; the content type; the
-- files.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  right, requests, at, wrong, sample = {}, {}, 0, 0, ""
  for value in args[2]:gmatch("[^|]+") do
    -- Plain, but for the space that some write behind the colon.
    right[#right + 1] = '"' .. args[1] .. '": ?"' .. value:gsub("%p", "%%%0") .. '"'
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = args[3]
  for n = 4, #args do
    local file = assert(io.open(args[n], "rb"))
    requests[#requests + 1] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status, headers, body)
  if status == 200 then
    for n = 1, #right do
      if body:find(right[n]) then return end
    end
  end
  wrong, sample = wrong + 1, status .. " " .. body:sub(1, 300)
end

function done(summary, latency, requests)
  local wrong, sample = 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
    if thread:get("sample") ~= "" then sample = thread:get("sample") end
  end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '\n{"answers": %d, "seconds": %.6f, "wrong": %d, "lost": %d, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "sample": "%s"}\n',
    summary.requests, summary.duration / 1e6, wrong, lost, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, sample:gsub('[%c"\\]', " ")))
end
