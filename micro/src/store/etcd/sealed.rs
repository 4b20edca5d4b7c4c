//! A record as the value of its key: a line of JSON for what stands beside the value, then the
//! value as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::driver::etcd::{KeyValue, LeaseLife};
use crate::store::{ERROR_ID, Record, Write};

/// What stands beside the value.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seal {
    /// When the record ends, in milliseconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<u64>,
    /// How long the record lasts from its writing, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// Writes a record, whose time begins here.
pub(super) fn seal(write: &Write) -> Result<Bytes> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ends = write.ttl.map(|ttl| millis(clock::unix_now().saturating_add(ttl)));
    let (life, metadata) = (write.ttl.map(millis), write.metadata.clone());
    let seal = Seal { ends, life, metadata };
    let seal = serde_json::to_vec(&seal).map_err(|error| {
        let detail = format!("the metadata of `{}` cannot be written", write.key);
        Error::bad_request(ERROR_ID, detail).with_source(error)
    })?;
    let mut sealed = BytesMut::with_capacity(seal.len() + 1 + write.value.len());
    sealed.extend_from_slice(&seal);
    // JSON as it is written here has no line break of its own.
    sealed.put_u8(b'\n');
    sealed.extend_from_slice(&write.value);
    Ok(sealed.freeze())
}

/// Reads a record; `None` once its time is over.
///
/// # Errors
/// 550 when something else is under the key.
pub(super) fn open(name: &str, found: &KeyValue) -> Result<Option<Record>> {
    let Some((seal, value)) = split(&found.value) else {
        let detail = format!("what is under `{name}` in etcd was not written by a store");
        return Err(Error::data_loss(ERROR_ID, detail));
    };
    let left = match seal.ends.map(left) {
        Some(None) => return Ok(None),
        Some(left) => left,
        None => None,
    };
    let record = Record::new(name, value, super::version(found));
    Ok(Some(record.with_metadata(seal.metadata).with_expiry(left)))
}

/// Returns whether the time of a record is over by the servers' clock, to a second: nothing is left
/// of its lease but what that was rounded up by.
pub(super) fn is_over_by(found: &KeyValue, lease: LeaseLife) -> bool {
    let life = split(&found.value).and_then(|(seal, _)| seal.life).map(Duration::from_millis);
    let rounded = life.map_or(Duration::ZERO, |life| lease.granted.saturating_sub(life));
    lease.left <= rounded
}

/// Returns whether the time of a record is over by the clock here.
pub(super) fn is_over(found: &KeyValue) -> bool {
    let ends = split(&found.value).and_then(|(seal, _)| seal.ends);
    ends.is_some_and(|ends| left(ends).is_none())
}

fn split(sealed: &Bytes) -> Option<(Seal, Bytes)> {
    let at = sealed.iter().position(|byte| *byte == b'\n')?;
    // A list would be read as an object, too.
    if sealed.first() != Some(&b'{') {
        return None;
    }
    let seal = serde_json::from_slice(sealed.get(..at)?).ok()?;
    Some((seal, sealed.slice(at + 1..)))
}

/// Returns how much time is left; `None` if none is.
fn left(ends: u64) -> Option<Duration> {
    let left = Duration::from_millis(ends).checked_sub(clock::unix_now())?;
    Some(left).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Key, Version};

    fn found(value: impl Into<Bytes>) -> KeyValue {
        KeyValue { value: value.into(), mod_revision: 7, ..KeyValue::default() }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let value = Bytes::from_static(b"\n{\n\0");
        let metadata = BTreeMap::from([("a\nb".to_owned(), "\u{e9}\n".to_owned())]);
        let write = Write::new(Key::new("k").unwrap(), value.clone())
            .with_metadata(metadata.clone())
            .with_ttl(Duration::from_secs(60));
        let sealed = found(seal(&write).unwrap());
        let record = open("k", &sealed).unwrap().unwrap();
        assert_eq!((record.value, record.metadata), (value, metadata));
        assert_eq!(record.version, Version::new(7));
        assert!(record.expiry.unwrap() > Duration::from_secs(50));
        assert!(!is_over(&sealed));
    }

    #[test]
    fn a_record_whose_time_is_over_is_none() {
        let sealed = found(&b"{\"ends\":5}\nx"[..]);
        assert_eq!(open("k", &sealed).unwrap(), None);
        assert!(is_over(&sealed));
        let longest = Write::new(Key::new("k").unwrap(), "x").with_ttl(Duration::MAX);
        assert!(open("k", &found(seal(&longest).unwrap())).unwrap().is_some());
    }

    #[test]
    fn the_lease_of_a_record_says_to_a_second_whether_its_time_is_over() {
        for (life, left, granted, is_over) in [
            (300, 0, 2, true),
            (300, 1, 2, true),
            (300, 2, 2, false),
            (5200, 0, 6, true),
            (5200, 1, 6, false),
            (5000, 0, 5, true),
            (5000, 1, 5, false),
        ] {
            let write = Write::new(Key::new("k").unwrap(), "x");
            let write = write.with_ttl(Duration::from_millis(life));
            let sealed = found(seal(&write).unwrap());
            let (left, granted) = (Duration::from_secs(left), Duration::from_secs(granted));
            let lease = LeaseLife { left, granted };
            assert_eq!(is_over_by(&sealed, lease), is_over, "{life} {lease:?}");
        }
    }

    #[test]
    fn what_a_store_did_not_write_is_no_record() {
        for value in [&b""[..], b"x", b"x\ny", b"[]\n"] {
            assert_eq!(open("k", &found(value)).unwrap_err().code(), 550, "{value:?}");
        }
    }
}
