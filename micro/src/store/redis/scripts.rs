//! What the server does at once: each change with its version, its place in the order of keys, its
//! end and its event.
//!
//! A record is a hash of version `v`, metadata `m` and data `d`. Beside the records of a space are
//! two sorted sets: the keys in the order of their bytes, and those that end by the time of it.

use crate::driver::redis::Script;

/// Removes what is over and tells it; at the head of the scripts that need it.
macro_rules! with_sweep {
    ($rest:literal) => {
        concat!(
            r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function sweep(keys, ends, prefix, channel, most)
  local due = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, most)
  for _, member in ipairs(due) do
    if redis.call('EXISTS', prefix .. member) == 0 then
      redis.call('ZREM', ends, member)
      redis.call('ZREM', keys, member)
      redis.call('PUBLISH', channel, 'D\n' .. member)
    end
  end
end
",
            $rest
        )
    };
}

/// Keys: record, keys, ends, version. Arguments: channel, prefix of records, key, condition, time
/// to live in milliseconds or nothing, metadata, data. Returns the version, or nothing where the
/// condition does not hold.
///
/// The version is the time in microseconds, or one more than the last where that is later: it never
/// comes back, even if the server forgot the last one.
pub(super) static WRITE: Script = Script::new(with_sweep!(
    r"
local channel, prefix, key, condition, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local found = redis.call('HGET', KEYS[1], 'v')
if condition == 'absent' then
  if found then return false end
elseif condition ~= 'any' and found ~= condition then
  return false
end
local last = tonumber(redis.call('GET', KEYS[4]) or '0')
local version = t[1] * 1000000 + t[2]
if version <= last then version = last + 1 end
version = string.format('%.0f', version)
redis.call('SET', KEYS[4], version)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', version, 'm', ARGV[6], 'd', ARGV[7])
redis.call('ZADD', KEYS[2], 0, key)
if ttl == '' then
  redis.call('ZREM', KEYS[3], key)
else
  local ends = string.format('%.0f', now + tonumber(ttl))
  redis.call('PEXPIREAT', KEYS[1], ends)
  redis.call('ZADD', KEYS[3], ends, key)
end
local head = 'P ' .. version .. ' ' .. ttl .. ' ' .. #key .. ' ' .. #ARGV[6] .. '\n'
redis.call('PUBLISH', channel, head .. key .. ARGV[6] .. ARGV[7])
sweep(KEYS[2], KEYS[3], prefix, channel, 16)
return version
"
));

/// Keys: record, keys, ends. Arguments: channel, key, version or nothing. Returns 0 where another
/// version is there.
pub(super) static DELETE: Script = Script::new(
    r"
local found = redis.call('HGET', KEYS[1], 'v')
if ARGV[3] ~= '' and found ~= ARGV[3] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[2])
if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then
  redis.call('PUBLISH', ARGV[1], 'D\n' .. ARGV[2])
end
return 1
",
);

/// Keys: record. Returns version, metadata, data and the milliseconds it still lives.
pub(super) static READ: Script = Script::new(
    r"
local r = redis.call('HMGET', KEYS[1], 'v', 'm', 'd')
if not r[1] then return false end
return {r[1], r[2], r[3], redis.call('PTTL', KEYS[1])}
",
);

/// Keys: keys, ends. Arguments: channel, prefix of records, first and last of the range, suffix,
/// records, bytes and candidates at most, `1` for keys only. Returns the key after which the next
/// page begins or nothing, and the records as in [`READ`] after their keys.
pub(super) static LIST: Script = Script::new(
    r"
local channel, prefix, suffix = ARGV[1], ARGV[2], ARGV[5]
local records, bytes, scan = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local found = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[3], ARGV[4], 'LIMIT', 0, scan + 1)
local out, size = {}, 0
for i, member in ipairs(found) do
  if suffix == '' or (#member >= #suffix and string.sub(member, -#suffix) == suffix) then
    local key = prefix .. member
    local r
    if ARGV[9] == '1' then
      r = {redis.call('HGET', key, 'v'), '', ''}
    else
      r = redis.call('HMGET', key, 'v', 'm', 'd')
    end
    if r[1] then
      out[#out + 1] = {member, r[1], r[2], r[3], redis.call('PTTL', key)}
      size = size + #member + #r[2] + #r[3]
    else
      redis.call('ZREM', KEYS[1], member)
      redis.call('ZREM', KEYS[2], member)
      redis.call('PUBLISH', channel, 'D\n' .. member)
    end
  end
  if #out >= records or size >= bytes or i >= scan then
    return {found[i + 1] and member or false, out}
  end
end
return {false, out}
",
);

/// Keys: keys, ends. Arguments: channel, prefix of records. Returns the milliseconds until the next
/// record ends, -1 where none does.
pub(super) static SWEEP: Script = Script::new(with_sweep!(
    r"
sweep(KEYS[1], KEYS[2], ARGV[2], ARGV[1], 256)
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not first[1] then return -1 end
return math.max(0, first[2] - now)
"
));
