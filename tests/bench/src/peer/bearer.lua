-- Bearer tokens for nginx: header and claims by cjson, the signature by OpenSSL (luaossl). Keys are
-- parsed once per worker, as a careful operator would have it.

local json = require "cjson.safe"
local digest = require "openssl.digest"
local pkey = require "openssl.pkey"
local base64 = require "ngx.base64"

local bearer = {}
local keys, protected, issuer = {}, {}, nil

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

function bearer.init(folder, paths, expected)
  issuer = expected
  for _, id in ipairs { "rs256", "es256" } do
    keys[id] = { algorithm = id:upper(), key = pkey.new(read(folder .. id .. ".pem")) }
  end
  for path in io.lines(paths) do
    protected[path] = true
  end
end

-- An unsigned number of 32 bytes as DER.
local function integer(bytes)
  bytes = bytes:gsub("^%z+", "")
  if bytes == "" or bytes:byte() > 127 then
    bytes = "\0" .. bytes
  end
  return "\2" .. string.char(#bytes) .. bytes
end

-- The fixed form that JWS has for ECDSA, as the sequence that OpenSSL takes.
local function sequence(signature)
  if #signature ~= 64 then
    return nil
  end
  local both = integer(signature:sub(1, 32)) .. integer(signature:sub(33))
  return "\48" .. string.char(#both) .. both
end

local function decoded(part)
  local bytes = base64.decode_base64url(part)
  local value = bytes and json.decode(bytes)
  return type(value) == "table" and value or nil
end

local function in_time(claims)
  local now = ngx.time()
  local ends, begins = claims.exp, claims.nbf
  return not (type(ends) == "number" and ends < now)
    and not (type(begins) == "number" and begins > now)
end

local function verifies(token)
  local message, head, body, tail = token:match "^(([%w_-]+)%.([%w_-]+))%.([%w_-]+)$"
  if not message then
    return false
  end
  local header, claims = decoded(head), decoded(body)
  local signature = base64.decode_base64url(tail)
  local known = header and keys[header.kid]
  if not (known and claims and signature) or known.algorithm ~= header.alg then
    return false
  end
  if claims.iss ~= issuer or not in_time(claims) then
    return false
  end
  if known.algorithm == "ES256" then
    signature = sequence(signature)
  end
  return signature and known.key:verify(signature, digest.new("sha256"):update(message))
end

function bearer.check()
  local header = ngx.var.http_authorization
  local token = header and header:match "^[Bb]earer +(.*)$"
  if token then
    if not verifies(token) then
      return ngx.exit(401)
    end
    ngx.req.clear_header "Authorization"
  elseif protected[ngx.var.uri] then
    return ngx.exit(403)
  end
end

return bearer
