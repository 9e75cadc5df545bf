-- For wrk: presents the tokens of a file one after another, beginning somewhere.
--
-- One token is read at a time. Requests made beforehand would be long strings, of which LuaJIT looks at some
-- bytes only to tell them apart: 20,000 that differ in a few others, as ES256 tokens of one issuer do where
-- wrk happens to write the header Authorization before Host, would take it seconds.

local file, before, after

function init(arguments)
  file = assert(io.open(arguments[1]))
  local request = wrk.format(nil, nil, { Authorization = "Bearer |" })
  before, after = request:match("^(.*)|(.*)$")
  math.randomseed(os.time())
  file:seek("set", math.random(file:seek("end")) - 1)
  -- The rest of a line.
  file:read()
end

function request()
  local token = file:read()
  if not token then
    file:seek("set")
    token = file:read()
  end
  return before .. token .. after
end
