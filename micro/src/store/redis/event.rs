//! The events that the scripts publish.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Event, Record, Version};

/// Reads an event; `None` for what is none.
pub(super) fn read(payload: &[u8]) -> Option<Event> {
    let end = payload.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = payload.split_at_checked(end)?;
    let body = body.get(1..)?;
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    match words.next()? {
        "D" => Some(Event::deleted(std::str::from_utf8(body).ok()?)),
        "P" => {
            let version = Version::new(words.next()?.parse().ok()?);
            let ttl = match words.next()? {
                "" => None,
                millis => Some(Duration::from_millis(millis.parse().ok()?)),
            };
            let (key, rest) = body.split_at_checked(words.next()?.parse().ok()?)?;
            let (metadata, value) = rest.split_at_checked(words.next()?.parse().ok()?)?;
            let record =
                Record::new(std::str::from_utf8(key).ok()?, Bytes::copy_from_slice(value), version);
            Some(Event::Put(record.with_metadata(facts(metadata)?).with_expiry(ttl)))
        }
        _ => None,
    }
}

/// Writes metadata; nothing where there is none.
pub(super) fn metadata(facts: &BTreeMap<String, String>) -> String {
    if facts.is_empty() {
        return String::new();
    }
    // A map of text is always JSON.
    serde_json::to_string(facts).unwrap_or_default()
}

/// Reads metadata.
pub(super) fn facts(json: &[u8]) -> Option<BTreeMap<String, String>> {
    if json.is_empty() { Some(BTreeMap::new()) } else { serde_json::from_slice(json).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whole_whatever_bytes_they_carry() {
        let put = b"P 17 2500 3 8\na\nb{\"x\":\"\"}\n\0\xff".as_slice();
        let Some(Event::Put(record)) = read(put) else { unreachable!() };
        assert_eq!((record.key.as_str(), record.version.get()), ("a\nb", 17));
        assert_eq!(record.value.as_ref(), b"\n\0\xff".as_slice());
        assert_eq!(record.expiry, Some(Duration::from_millis(2500)));
        assert_eq!(record.metadata["x"], "");
        assert_eq!(read(b"D\nk"), Some(Event::deleted("k")));
    }

    #[test]
    fn what_is_no_event_is_none() {
        let all: [&[u8]; 7] =
            [b"", b"D", b"X\nk", b"P\n", b"P 1  9 0\nk", b"P x  1 0\nk", b"D\n\xff"];
        for payload in all {
            assert_eq!(read(payload), None, "{payload:?}");
        }
    }
}
