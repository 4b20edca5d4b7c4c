//! A message as brokers carry it.

use std::fmt;

use bytes::Bytes;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::metadata::Metadata;

use super::topic::validate_topic;

/// Bytes of a message id; more is a 400.
pub const MESSAGE_ID_BYTES_MAX: usize = 128;

/// What is published: a body and facts about it. `Debug` shows the length of the body only.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Unique among all messages. Publishing the same message again keeps it, so that
    /// subscribers can tell.
    pub id: String,
    /// The topic that it is published to.
    pub topic: String,
    /// Facts that travel with the body.
    pub metadata: Metadata,
    /// How the body is encoded.
    pub content_type: ContentType,
    /// The encoded payload.
    pub body: Bytes,
}

impl Message {
    /// Makes a message with an id of its own.
    pub fn new(topic: impl Into<String>, content_type: ContentType, body: Bytes) -> Self {
        Self { id: unique_id(), topic: topic.into(), metadata: Metadata::new(), content_type, body }
    }

    /// Sets the facts that travel with the body.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Checks what every backend has to check before it takes a message.
    ///
    /// # Errors
    ///
    /// An invalid topic, or an id that is empty, too long or not of visible ASCII characters, is a
    /// 400; a body longer than `body_bytes_max` is a 413.
    pub fn validate(&self, body_bytes_max: usize) -> Result<()> {
        validate_topic(&self.topic)?;
        let visible = self.id.bytes().all(|byte| byte.is_ascii_graphic());
        if self.id.is_empty() || self.id.len() > MESSAGE_ID_BYTES_MAX || !visible {
            let text = "a message id has 1 to 128 visible ASCII characters";
            return Err(Error::bad_request("micro.broker", text));
        }
        if self.body.len() > body_bytes_max {
            let text = format!(
                "publish to {}: a body of {} bytes, the limit is {body_bytes_max}",
                self.topic,
                self.body.len()
            );
            return Err(Error::too_large("micro.broker", text));
        }
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("metadata", &self.metadata)
            .field("content_type", &self.content_type)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Returns an id that sorts by the millisecond of its making: a ULID.
fn unique_id() -> String {
    let millis = clock::unix_now().as_millis() & 0xffff_ffff_ffff;
    let bits = (millis << 80) | (fastrand::u128(..) >> 48);
    // Five bits a character: the first takes the top three of 128.
    (0..26).rev().map(|place| base32(bits >> (place * 5))).collect()
}

/// Returns the character of the lowest five bits in Crockford's alphabet.
fn base32(bits: u128) -> char {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = usize::try_from(bits & 31).unwrap_or_default();
    ALPHABET.get(digit).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn message() -> Message {
        Message::new("orders.created", ContentType::Json, Bytes::from_static(b"{}"))
    }

    #[test]
    fn every_message_has_an_id_of_its_own() {
        let ids: HashSet<_> = (0..10_000).map(|_| message().id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 26 && id.as_bytes()[0] <= b'7'));
    }

    #[test]
    fn ids_sort_by_time() {
        assert_eq!(base32(31), 'Z');
        let id = unique_id();
        let digit = |c: char| (0..32).find(|bits| base32(*bits) == c).expect("in the alphabet");
        let millis = id.chars().take(10).fold(0_u128, |sum, c| sum * 32 + digit(c));
        assert!(clock::unix_now().as_millis().abs_diff(millis) < 60_000);
    }

    #[test]
    fn debug_shows_no_payload() {
        let text = format!("{:?}", Message { body: "hunter2".into(), ..message() });
        assert!(text.contains("bytes: 7") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_no_backend_may_take_is_refused() {
        assert!(message().validate(2).is_ok());
        assert_eq!(message().validate(1).expect_err("too long").code(), 413);
        for id in ["", "a b", "a\n", &"x".repeat(MESSAGE_ID_BYTES_MAX + 1)] {
            let bad = Message { id: id.into(), ..message() };
            assert_eq!(bad.validate(9).expect_err("bad id").code(), 400, "{id:?}");
        }
        let bad = Message { topic: "orders.*".into(), ..message() };
        assert_eq!(bad.validate(9).expect_err("a pattern").code(), 400);
    }
}
