//! What is under a key of a bucket, read from the messages that it is made of.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use bytes::Bytes;

/// Says what else than a value a message is.
pub(super) const OPERATION: &str = "KV-Operation";

/// The operation that stands for a key without a value.
pub(super) const REMOVED: &str = "PURGE";

/// How long a message is kept, in seconds.
pub(super) const LIFE: &str = "Nats-TTL";

/// Says that the server wrote a message in place of one whose time was over.
const MARKER: &str = "Nats-Marker-Reason";

/// What is said of a value, in one line.
pub(super) const NOTE: &str = "Micro-Note";

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key, within its bucket.
    pub(crate) key: String,
    /// Grows with every write to the bucket.
    pub(crate) revision: u64,
    /// `None` where the value was removed or its time is over.
    pub(crate) value: Option<Bytes>,
    /// What was said of the value.
    pub(crate) note: Option<String>,
    /// When its time is over, in time since 1970 by the clock of the server.
    pub(crate) ends: Option<Duration>,
}

impl Entry {
    /// Reads a message that was asked for.
    pub(super) fn of_stored(bucket: &str, message: jetstream::message::StreamMessage) -> Self {
        let written = since_1970(message.time);
        let key = within(bucket, &message.subject);
        let revision = message.sequence;
        Self::read(key, revision, message.payload, (&message.headers, written))
    }

    /// Reads a message that came by itself; `None` if it is not one of a stream.
    pub(super) fn of_delivered(bucket: &str, message: &jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        let (revision, written) = (info.stream_sequence, since_1970(info.published));
        let none = HeaderMap::new();
        let headers = message.headers.as_ref().unwrap_or(&none);
        let key = within(bucket, &message.subject);
        Some(Self::read(key, revision, message.payload.clone(), (headers, written)))
    }

    fn read(
        key: String,
        revision: u64,
        value: Bytes,
        (headers, written): (&HeaderMap, Duration),
    ) -> Self {
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        let gone = headers.get(OPERATION).is_some() || headers.get(MARKER).is_some();
        let life = header(LIFE).and_then(|life| read_life(&life)).filter(|_| !gone);
        Self {
            key,
            revision,
            value: (!gone).then_some(value),
            note: header(NOTE),
            ends: life.map(|life| written.saturating_add(life)),
        }
    }
}

/// Reads a number of seconds, as this crate and the server write it.
fn read_life(text: &str) -> Option<Duration> {
    text.trim_end_matches('s').parse().ok().map(Duration::from_secs)
}

fn since_1970(time: impl Into<std::time::SystemTime>) -> Duration {
    time.into().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn within(bucket: &str, subject: &str) -> String {
    let key = subject.strip_prefix("$KV.").and_then(|rest| rest.strip_prefix(bucket));
    key.and_then(|rest| rest.strip_prefix('.')).unwrap_or(subject).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Entry {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let written = Duration::from_secs(1_000_000);
        Entry::read("k".to_owned(), 7, Bytes::from_static(b"x"), (&map, written))
    }

    #[test]
    fn a_value_has_its_end_and_its_note() {
        let entry = read(&[(LIFE, "5"), (NOTE, "{}")]);
        assert_eq!(entry.ends, Some(Duration::from_secs(1_000_005)));
        assert_eq!((entry.note.as_deref(), entry.value.is_some()), (Some("{}"), true));
        assert_eq!(read(&[(LIFE, "5s")]).ends, entry.ends);
        assert_eq!(read(&[]).ends, None);
    }

    #[test]
    fn what_was_removed_has_no_value() {
        for headers in [
            [(OPERATION, "DEL"), (LIFE, "5")],
            [(MARKER, "MaxAge"), (LIFE, "5")],
            [(OPERATION, REMOVED), (LIFE, "5")],
        ] {
            let entry = read(&headers);
            assert!(entry.value.is_none() && entry.ends.is_none(), "{headers:?}");
        }
    }

    #[test]
    fn a_key_is_what_follows_its_bucket() {
        assert_eq!(within("micro", "$KV.micro.a.b"), "a.b");
        assert_eq!(within("micro", "elsewhere"), "elsewhere");
    }
}
