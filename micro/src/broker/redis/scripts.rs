//! What the server does at once.

use crate::driver::redis::Script;

/// Removes entries that every group has settled; at the head of the scripts that need it.
///
/// Groups of single subscriptions whose lease is over go before: nobody reads there. Where there is
/// no group, nobody gets what was published; dead letters stay all the same.
macro_rules! with_trim {
    ($rest:literal) => {
        Script::new(concat!(
            r"
local function less(a, b)
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if am ~= bm then return tonumber(am) < tonumber(bm) end
  return tonumber(as) < tonumber(bs)
end
local function trim(stream, leases, dead)
  if redis.call('EXISTS', stream) == 0 then return end
  local low = false
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = {}
    for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
    local name = group['name']
    if string.sub(name, 1, 4) == 'own:' and redis.call('EXISTS', leases .. name) == 0 then
      redis.call('XGROUP', 'DESTROY', stream, name)
    else
      local id
      if group['pending'] > 0 then
        id = redis.call('XPENDING', stream, name)[2]
      else
        local ms, seq = string.match(group['last-delivered-id'], '(%d+)-(%d+)')
        id = ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
      end
      if not low or less(id, low) then low = id end
    end
  end
  if low then
    redis.call('XTRIM', stream, 'MINID', low)
  elseif dead ~= '1' then
    redis.call('XTRIM', stream, 'MAXLEN', 0)
  end
end
",
            $rest
        ))
    };
}

/// Keys: stream. Arguments: prefix of leases, `1` for dead letters, entries at most, id, content
/// type, metadata, body. Returns for how many more there is room, -1 where there was none.
pub(super) static PUBLISH: Script = with_trim!(
    r"
local most = tonumber(ARGV[3])
local length = redis.call('XLEN', KEYS[1])
if length >= most then
  trim(KEYS[1], ARGV[1], ARGV[2])
  if ARGV[2] == '1' then redis.call('XTRIM', KEYS[1], 'MAXLEN', most - 1) end
  length = redis.call('XLEN', KEYS[1])
  if length >= most then return -1 end
end
redis.call('XADD', KEYS[1], '*', 'i', ARGV[4], 't', ARGV[5], 'm', ARGV[6], 'b', ARGV[7])
return most - length - 1
"
);

/// Keys: stream. Arguments: prefix of leases, `1` for dead letters.
pub(super) static TRIM: Script = with_trim!("trim(KEYS[1], ARGV[1], ARGV[2])\nreturn 1");

/// Keys: stream. Arguments: group, where it begins, its lease or nothing, how long that lasts in
/// milliseconds. Makes the group unless it is there.
pub(super) static JOIN: Script = Script::new(
    r"
if ARGV[3] ~= '' then redis.call('SET', ARGV[3], '1', 'PX', ARGV[4]) end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
if type(made) == 'table' and made['err'] and not string.find(made['err'], 'BUSYGROUP') then
  return made
end
return 1
",
);

/// Keys: stream. Arguments: group, consumer, idle milliseconds, where to begin, how many. Takes over
/// what nobody has touched for so long. Returns where to go on, and entries with how often each was
/// delivered.
pub(super) static CLAIM: Script = Script::new(
    r"
local group, consumer = ARGV[1], ARGV[2]
local got = redis.call(
  'XAUTOCLAIM', KEYS[1], group, consumer, ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local out = {}
for _, entry in ipairs(got[2]) do
  if entry then
    local p = redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1)
    out[#out + 1] = {entry[1], entry[2], p[1] and p[1][4] or 1}
  end
end
return {got[1], out}
",
);

/// Keys: stream. Arguments: group, consumer, how many. Returns what the consumer has, as [`CLAIM`]
/// does. An entry that the stream lost is settled.
pub(super) static MINE: Script = Script::new(
    r"
local out = {}
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])) do
  local entry = redis.call('XRANGE', KEYS[1], p[1], p[1])[1]
  if entry then
    out[#out + 1] = {entry[1], entry[2], p[4]}
  else
    redis.call('XACK', KEYS[1], ARGV[1], p[1])
  end
end
return out
",
);

/// Keys: stream. Arguments: group, consumer, count or nothing, entries. Keeps those that the
/// consumer still has from others, and sets how often they were delivered. Returns how many it has.
pub(super) static TOUCH: Script = Script::new(
    r"
local group, consumer, kept = ARGV[1], ARGV[2], 0
for i = 4, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], group, ARGV[i], ARGV[i], 1)[1]
  if p and p[2] == consumer then
    redis.call(
      'XCLAIM', KEYS[1], group, consumer, 0, ARGV[i], 'IDLE', 0, 'RETRYCOUNT',
      ARGV[3] == '' and p[4] or ARGV[3], 'JUSTID')
    kept = kept + 1
  end
end
return kept
",
);

/// Keys: stream, dead letters. Arguments: group, entry, dead letters at most, and the dead letter as
/// in [`PUBLISH`]. Returns 0 where another has settled the entry.
pub(super) static BURY: Script = Script::new(
    r"
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'i', ARGV[4], 't', ARGV[5],
  'm', ARGV[6], 'b', ARGV[7])
return 1
",
);

/// Keys: stream. Arguments: group, consumer, lease or nothing, entries whose last delivery counts.
/// Ends a group of its own; in any other, leaves what the consumer has to whoever asks first.
pub(super) static LEAVE: Script = Script::new(
    r"
local group, consumer = ARGV[1], ARGV[2]
if ARGV[3] ~= '' then
  redis.call('DEL', ARGV[3])
  redis.pcall('XGROUP', 'DESTROY', KEYS[1], group)
  return 1
end
local counted = {}
for i = 4, #ARGV do counted[ARGV[i]] = true end
for _ = 1, 1000 do
  local all = redis.pcall('XPENDING', KEYS[1], group, '-', '+', 100, consumer)
  if all['err'] or #all == 0 then break end
  for _, p in ipairs(all) do
    local count = counted[p[1]] and p[4] or math.max(0, p[4] - 1)
    local got = redis.call(
      'XCLAIM', KEYS[1], group, 'left', 0, p[1], 'IDLE', 86400000, 'RETRYCOUNT', count, 'JUSTID')
    if #got == 0 then redis.call('XACK', KEYS[1], group, p[1]) end
  end
end
redis.pcall('XGROUP', 'DELCONSUMER', KEYS[1], group, consumer)
return 1
",
);

/// Keys: stream. Arguments: group, idle milliseconds. Removes consumers that are gone for good and
/// have nothing.
pub(super) static BANISH: Script = Script::new(
    r"
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local one = {}
  for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
  if one['pending'] == 0 and one['idle'] > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], one['name'])
  end
end
return 1
",
);
