//! What the server does at once: each change of a record with its place in the sets and its event.
//!
//! A record is a value with a time to live. Beside the records are, by one prefix, the set
//! `services`, a set `service:NAME` of the nodes of each, the sorted set `ends` of all nodes by the
//! time when their lease ends, and `revision`, the number of the last event.

use crate::driver::redis::Script;

/// What all scripts begin with. The first argument is the prefix, the second that of channels.
macro_rules! script {
    ($rest:literal) => {
        Script::new(concat!(
            r"
local p, channels = ARGV[1], ARGV[2]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function tell(kind, service, node, json)
  local last = tonumber(redis.call('GET', p .. 'revision') or '0')
  local revision = t[1] * 1000000 + t[2]
  if revision <= last then revision = last + 1 end
  revision = string.format('%.0f', revision)
  redis.call('SET', p .. 'revision', revision)
  redis.call('PUBLISH', channels .. service, kind .. revision .. ' ' .. node .. '\n' .. json)
end
local function forget(service, node)
  redis.call('ZREM', p .. 'ends', service .. ':' .. node)
  redis.call('SREM', p .. 'service:' .. service, node)
  if redis.call('EXISTS', p .. 'service:' .. service) == 0 then
    redis.call('SREM', p .. 'services', service)
  end
  tell('R', service, node, '')
end
local function sweep(most)
  local due = redis.call('ZRANGEBYSCORE', p .. 'ends', '-inf', now, 'LIMIT', 0, most)
  for _, member in ipairs(due) do
    if redis.call('EXISTS', p .. 'node:' .. member) == 0 then
      local colon = string.find(member, ':', 1, true)
      forget(string.sub(member, 1, colon - 1), string.sub(member, colon + 1))
    end
  end
end
",
            $rest
        ))
    };
}

/// Arguments: service, node, record, time to live in milliseconds, nodes and services at most, `1` to
/// leave a node that is there as it is. Returns 1, or 0 where there is no room.
pub(super) static REGISTER: Script = script!(
    r"
local service, node, json, ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
sweep(64)
local key, nodes = p .. 'node:' .. service .. ':' .. node, p .. 'service:' .. service
local before = redis.call('GET', key)
if before and ARGV[9] == '1' then return 1 end
if not before then
  if redis.call('SCARD', nodes) >= tonumber(ARGV[7]) then return 0 end
  if redis.call('SISMEMBER', p .. 'services', service) == 0
    and redis.call('SCARD', p .. 'services') >= tonumber(ARGV[8]) then return 0 end
end
redis.call('SET', key, json, 'PX', ttl)
redis.call('SADD', nodes, node)
redis.call('SADD', p .. 'services', service)
local ends = string.format('%.0f', now + tonumber(ttl))
redis.call('ZADD', p .. 'ends', ends, service .. ':' .. node)
if before ~= json then tell('U', service, node, json) end
return 1
"
);

/// Arguments: service, node, address. A node at another address stays.
pub(super) static DEREGISTER: Script = script!(
    r"
local service, node = ARGV[3], ARGV[4]
local key = p .. 'node:' .. service .. ':' .. node
local json = redis.call('GET', key)
if not json then return 0 end
local fine, record = pcall(cjson.decode, json)
if fine and type(record) == 'table' and type(record.nodes) == 'table' then
  local own = record.nodes[1]
  if type(own) == 'table' and own.address ~= ARGV[5] then return 0 end
end
redis.call('DEL', key)
forget(service, node)
return 1
"
);

/// Arguments: services, or none for all. Returns the number of the last event and the records.
pub(super) static STATE: Script = script!(
    r"
local services = {}
for i = 3, #ARGV do services[#services + 1] = ARGV[i] end
if #services == 0 then services = redis.call('SMEMBERS', p .. 'services') end
local out = {}
for _, service in ipairs(services) do
  for _, node in ipairs(redis.call('SMEMBERS', p .. 'service:' .. service)) do
    local json = redis.call('GET', p .. 'node:' .. service .. ':' .. node)
    if json then out[#out + 1] = json end
  end
end
return {redis.call('GET', p .. 'revision') or '0', out}
"
);

/// Returns the names of the services that have nodes.
pub(super) static SERVICES: Script = script!(
    r"
sweep(10000)
return redis.call('SMEMBERS', p .. 'services')
"
);

/// Tells of leases that are over. Returns the milliseconds until the next one ends, -1 where none
/// does.
pub(super) static SWEEP: Script = script!(
    r"
sweep(1000)
local first = redis.call('ZRANGE', p .. 'ends', 0, 0, 'WITHSCORES')
if not first[1] then return -1 end
return math.max(0, first[2] - now)
"
);
