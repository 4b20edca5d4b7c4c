//! Messages that failed for good.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::METADATA_VALUE_BYTES_MAX;
use crate::core::metadata::Metadata;

use super::message::Message;

/// What the topic of a message is followed by to name the topic of its dead letters.
pub const DEAD_SUFFIX: &str = ".dead";

const ID: &str = "micro-dead-id";
const TOPIC: &str = "micro-dead-topic";
const QUEUE: &str = "micro-dead-queue";
const REASON: &str = "micro-dead-reason";
const ATTEMPTS: &str = "micro-dead-attempts";
const FIRST: &str = "micro-dead-first-millis";
const LAST: &str = "micro-dead-last-millis";

/// A message that was rejected or failed too often, and what is known of that.
///
/// It travels as a message of the topic `<topic>.dead` with the body and the metadata of the
/// original. What is known stands in metadata whose keys start with `micro-dead-`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message as it was published.
    pub message: Arc<Message>,
    /// The queue group that gave it up, if it was one.
    pub queue: Option<String>,
    /// Why.
    pub reason: String,
    /// How often it was delivered to the group.
    pub attempts: u32,
    /// When it was delivered first, since 1970-01-01 UTC.
    pub first: Duration,
    /// When it was delivered last, since 1970-01-01 UTC.
    pub last: Duration,
}

impl DeadLetter {
    /// Makes a dead letter, for a backend.
    pub fn new(message: Arc<Message>, reason: impl Into<String>) -> Self {
        let none = Duration::ZERO;
        let reason = reason.into();
        Self { message, queue: None, reason, attempts: 0, first: none, last: none }
    }

    /// Returns the message to publish, or `None` if the message was a dead letter already.
    ///
    /// # Errors
    ///
    /// A topic that no backend takes is a 400.
    pub fn to_message(&self) -> Result<Option<Message>> {
        let topic = format!("{}{DEAD_SUFFIX}", self.message.topic);
        if is_dead(&self.message.topic) {
            return Ok(None);
        }
        super::topic::validate_topic(&topic)?;
        let mut metadata = Metadata::new();
        metadata.insert(ID, self.message.id.as_str())?;
        metadata.insert(TOPIC, self.message.topic.as_str())?;
        if let Some(queue) = &self.queue {
            metadata.insert(QUEUE, fitting(queue))?;
        }
        metadata.insert(REASON, fitting(&self.reason))?;
        metadata.insert(ATTEMPTS, self.attempts.to_string())?;
        metadata.insert(FIRST, self.first.as_millis().to_string())?;
        metadata.insert(LAST, self.last.as_millis().to_string())?;
        for (key, value) in &self.message.metadata {
            // Where not all fits, what is known of the failure comes first.
            let _dropped = metadata.insert(key, value).is_err();
        }
        let (content_type, body) = (self.message.content_type.clone(), self.message.body.clone());
        Ok(Some(Message::new(topic, content_type, body).with_metadata(metadata)))
    }

    /// Reads a message of a `.dead` topic; `message` then is the original, with its own id and
    /// topic, ready to be published again.
    ///
    /// # Errors
    ///
    /// A message without the metadata of a dead letter is a 400.
    pub fn from_message(dead: &Message) -> Result<Self> {
        let get = |key: &str| {
            let text = || format!("message {} of {} has no {key}", dead.id, dead.topic);
            dead.metadata.get(key).ok_or_else(|| Error::bad_request("micro.broker", text()))
        };
        let number = |key: &str| get(key).map(|text| text.parse::<u64>().unwrap_or_default());
        let mut original = dead.clone();
        original.id = get(ID)?.into();
        original.topic = get(TOPIC)?.into();
        original.metadata.retain(|key, _| !key.starts_with("micro-dead-"));
        Ok(Self {
            message: Arc::new(original),
            queue: dead.metadata.get(QUEUE).map(Into::into),
            reason: get(REASON)?.into(),
            attempts: u32::try_from(number(ATTEMPTS)?).unwrap_or(u32::MAX),
            first: Duration::from_millis(number(FIRST)?),
            last: Duration::from_millis(number(LAST)?),
        })
    }
}

pub(super) fn is_dead(topic: &str) -> bool {
    topic.ends_with(DEAD_SUFFIX)
}

/// Returns the text as metadata takes it: a part without control characters.
fn fitting(text: &str) -> String {
    let mut fitting: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Metadata as a whole has room for this and for the original's.
    let mut end = fitting.len().min(METADATA_VALUE_BYTES_MAX / 4);
    while !fitting.is_char_boundary(end) {
        end -= 1;
    }
    fitting.truncate(end);
    fitting
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::content_type::ContentType;

    fn message() -> Message {
        let mut metadata = Metadata::new();
        metadata.insert("tenant", "acme").expect("fits");
        Message::new("orders.created", ContentType::Json, Bytes::from_static(b"{}"))
            .with_metadata(metadata)
    }

    /// K4.
    #[test]
    fn a_dead_letter_carries_what_is_known_and_leads_back_to_the_message() {
        let letter = DeadLetter {
            queue: Some("mailer".into()),
            attempts: 5,
            first: Duration::from_millis(1_000),
            last: Duration::from_millis(9_000),
            ..DeadLetter::new(Arc::new(message()), "smtp: no route")
        };
        let dead = letter.to_message().expect("valid").expect("not dead yet");
        assert_eq!(dead.topic, "orders.created.dead");
        assert_ne!(dead.id, letter.message.id);
        assert_eq!(dead.metadata.get("tenant"), Some("acme"));
        assert_eq!(dead.metadata.get("micro-dead-attempts"), Some("5"));
        assert_eq!(DeadLetter::from_message(&dead).expect("complete"), letter);
    }

    #[test]
    fn a_dead_letter_does_not_die_again() {
        let dead = Message { topic: "orders.created.dead".into(), ..message() };
        assert_eq!(DeadLetter::new(Arc::new(dead), "no").to_message().expect("valid"), None);
    }

    #[test]
    fn hostile_reasons_and_full_metadata_still_fit() {
        let mut message = message();
        for n in 0..63 {
            message.metadata.insert(format!("key-{n}"), "x".repeat(200)).expect("fits");
        }
        let reason = format!("a\nb\u{1b}[31m{}", "\u{fc}".repeat(METADATA_VALUE_BYTES_MAX));
        let letter = DeadLetter::new(Arc::new(message), reason);
        let dead = letter.to_message().expect("valid").expect("not dead yet");
        assert!(dead.metadata.get(REASON).expect("kept").starts_with("a b [31m"));
    }

    #[test]
    fn an_ordinary_message_is_no_dead_letter() {
        assert_eq!(DeadLetter::from_message(&message()).expect_err("no metadata").code(), 400);
    }
}
