//! A message as MQTT 5 carries it: facts in properties, the body as the payload.
//!
//! The kind of the body is the property of that name, the id and each entry of the metadata a user
//! property. What other programs publish is read alike, whatever it leaves out.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

use crate::broker::dead_letter::DeadLetter;
use crate::broker::message::{MESSAGE_ID_BYTES_MAX, Message};
use crate::broker::topic::validate_topic;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;

use super::ERROR_ID;
use super::names;

/// User properties beside the metadata, whose keys are in lower case.
const MESSAGE_ID: &str = "Micro-Message-Id";
const TOPIC: &str = "Micro-Topic";
const ATTEMPTS: &str = "Micro-Attempts";

/// Bytes of a packet beside its topic, properties and payload: the fixed header, the packet id and
/// lengths, at most.
const FRAME_BYTES_MAX: usize = 16;

/// Bytes of a property beside its texts, at most.
const PROPERTY_BYTES_MAX: usize = 5;

/// The longest text that the protocol carries, in bytes.
const TEXT_BYTES_MAX: usize = 65_535;

/// The most characters of the reason in a dead letter that is shortened.
const SHORT_REASON_MAX: usize = 64;

/// What is published.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) name: String,
    pub(super) properties: PublishProperties,
    pub(super) payload: Bytes,
}

impl Letter {
    /// Writes a message.
    ///
    /// # Errors
    /// 400 for a text that the protocol does not carry, and 413 for one that is too long for it.
    pub(super) fn new(message: &Message) -> Result<Self> {
        let kind = message.content_type.as_str();
        let mut user_properties = Vec::with_capacity(message.metadata.len() + 1);
        user_properties.push((MESSAGE_ID.to_owned(), message.id.clone()));
        for (key, value) in &message.metadata {
            user_properties.push((key.to_owned(), value.to_owned()));
        }
        let texts = user_properties.iter().map(|(_, value)| value.as_str());
        if let Some(text) = texts.chain([kind]).find(|text| !is_carried(text)) {
            let (topic, text) = (&message.topic, text.escape_debug());
            let text = format!("publish to {topic}: mqtt carries no text such as `{text}`");
            return Err(Error::bad_request(ERROR_ID, text));
        }
        let mut lengths = user_properties.iter().map(|(key, value)| key.len().max(value.len()));
        if kind.len() > TEXT_BYTES_MAX || lengths.any(|bytes| bytes > TEXT_BYTES_MAX) {
            let topic = &message.topic;
            let text = format!("publish to {topic}: mqtt carries texts of {TEXT_BYTES_MAX} bytes");
            return Err(Error::too_large(ERROR_ID, text));
        }
        let content_type = Some(kind.to_owned());
        let properties =
            PublishProperties { user_properties, content_type, ..PublishProperties::default() };
        let name = names::name(&message.topic);
        Ok(Self { name, properties, payload: message.body.clone() })
    }

    /// Writes a message that a member gives back to its group, delivered so often before.
    ///
    /// # Errors
    /// As [`Letter::new`].
    pub(super) fn back(message: &Message, attempts: u32, returns: &str) -> Result<Self> {
        let mut letter = Self::new(message)?;
        letter.name = returns.to_owned();
        let facts = [(TOPIC, message.topic.clone()), (ATTEMPTS, attempts.to_string())];
        let facts = facts.map(|(key, value)| (key.to_owned(), value));
        letter.properties.user_properties.extend(facts);
        Ok(letter)
    }

    /// Returns the bytes of the packet, or a few more.
    pub(super) fn bytes(&self) -> usize {
        let pairs = self.properties.user_properties.iter();
        let pairs = pairs.map(|(key, value)| key.len() + value.len() + PROPERTY_BYTES_MAX);
        let kind = self.properties.content_type.as_ref().map_or(0, String::len);
        let properties = pairs.sum::<usize>() + kind + PROPERTY_BYTES_MAX;
        FRAME_BYTES_MAX + self.name.len() + properties + self.payload.len()
    }
}

/// Returns a dead letter that is hardly longer than its message; `None` for what is none.
pub(super) fn short(dead: &Message) -> Option<Message> {
    let mut letter = DeadLetter::from_message(dead).ok()?;
    letter.reason = letter.reason.chars().take(SHORT_REASON_MAX).collect();
    let message = Message { metadata: Metadata::new(), ..Message::clone(&letter.message) };
    letter.message = Arc::new(message);
    letter.to_message().ok().flatten()
}

/// Reads a message that came to a topic. One without an id gets one that differs with each
/// delivery.
pub(super) fn read(topic: String, publish: Publish) -> Message {
    let properties = publish.properties.unwrap_or_default();
    let mut metadata = Metadata::new();
    let mut id = None;
    for (key, value) in properties.user_properties {
        match key.as_str() {
            MESSAGE_ID => id = Some(value).filter(|id| is_id(id)),
            TOPIC | ATTEMPTS => {}
            // What is more than metadata holds is not ours, and the rest is worth having.
            _ => drop(metadata.insert(key, value)),
        }
    }
    // What says nothing of its kind is what most programs send.
    let content_type = properties.content_type.as_deref().map_or(ContentType::Json, kind);
    let body = publish.payload;
    match id {
        Some(id) => Message { id, topic, metadata, content_type, body },
        None => Message::new(topic, content_type, body).with_metadata(metadata),
    }
}

/// Reads where a message that was given back comes from and how often it was delivered.
pub(super) fn read_back(publish: &Publish) -> Option<(String, u32)> {
    let pairs = &publish.properties.as_ref()?.user_properties;
    let find = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let topic = find(TOPIC).filter(|topic| validate_topic(topic).is_ok())?;
    Some((topic.clone(), find(ATTEMPTS)?.parse().ok()?))
}

/// Reads how a body is encoded; what we write ourselves without a copy.
fn kind(text: &str) -> ContentType {
    let known = [ContentType::Json, ContentType::MsgPack, ContentType::Proto, ContentType::Bytes];
    let written = known.into_iter().find(|kind| kind.as_str() == text);
    written.unwrap_or_else(|| ContentType::parse(text))
}

fn is_id(id: &str) -> bool {
    (1..=MESSAGE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Tells whether servers take a text: they may close the connection of who sends them a control
/// character, or a code point that is no character.
fn is_carried(text: &str) -> bool {
    let is_none = |c: char| {
        let code = u32::from(c);
        c.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
    };
    !text.chars().any(is_none)
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;

    fn message() -> Message {
        let mut message = Message::new(
            "orders.created",
            ContentType::parse("application/x-own"),
            Bytes::from_static(b"\0\xff"),
        );
        message.metadata.insert("tenant", " acme s\u{f6}hne ").unwrap();
        message.metadata.insert("micro-message-id", "mine").unwrap();
        message
    }

    fn packet(letter: &Letter) -> Publish {
        let (payload, properties) = (letter.payload.clone(), Some(letter.properties.clone()));
        let mut publish = Publish::new(letter.name.clone(), QoS::AtLeastOnce, payload, properties);
        publish.pkid = 1;
        publish
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let letter = Letter::new(&message()).unwrap();
        let message = message();
        let written = Letter::new(&message).unwrap();
        assert_eq!(letter.name, "orders/created");
        assert_eq!(read("orders.created".into(), packet(&written)), message);
        assert_eq!(read_back(&packet(&written)), None);
    }

    #[test]
    fn what_is_given_back_says_whence_and_how_often() {
        let message = message();
        let letter = Letter::back(&message, 3, "micro=return/q/x").unwrap();
        let packet = packet(&letter);
        assert_eq!(read_back(&packet), Some(("orders.created".to_owned(), 3)));
        assert_eq!(packet.topic, "micro=return/q/x");
        assert_eq!(read("orders.created".into(), packet), message);
    }

    #[test]
    fn a_packet_is_not_longer_than_is_reckoned() {
        for body in [0, 1, 127, 128, 20_000, 3_000_000] {
            let message = Message { body: vec![0; body].into(), ..message() };
            let letter = Letter::new(&message).unwrap();
            let (bytes, most) = (packet(&letter).size(), letter.bytes());
            assert!(bytes <= most && most <= bytes + 64, "{bytes} {most}");
        }
    }

    #[test]
    fn a_message_of_another_program_is_read_as_far_as_it_goes() {
        let pairs = [("Tenant", "acme"), ("bad key", "x"), ("Micro-Message-Id", "a b")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let properties =
            PublishProperties { user_properties: pairs.into(), ..PublishProperties::default() };
        let publish = Publish::new("t", QoS::AtMostOnce, "{}", Some(properties));
        let read = read("t".into(), publish);
        assert_eq!((read.id.len(), &read.content_type), (26, &ContentType::Json));
        assert_eq!(read.metadata.iter().collect::<Vec<_>>(), [("tenant", "acme")]);
    }

    #[test]
    fn a_short_dead_letter_leads_back_to_its_message() {
        let message = Arc::new(message());
        let letter = DeadLetter::new(Arc::clone(&message), "x".repeat(SHORT_REASON_MAX * 10));
        let dead = letter.to_message().unwrap().unwrap();
        let read = DeadLetter::from_message(&short(&dead).unwrap()).unwrap();
        assert_eq!((&read.message.id, &read.message.body), (&message.id, &message.body));
        assert_eq!(read.reason.len(), SHORT_REASON_MAX);
        assert!(read.message.metadata.is_empty());
        assert_eq!(short(&message), None);
    }

    #[test]
    fn a_text_longer_than_the_protocol_carries_is_a_413() {
        for (bytes, code) in [
            (TEXT_BYTES_MAX, None),
            (TEXT_BYTES_MAX + 1, Some(413)),
            (TEXT_BYTES_MAX * 10, Some(413)),
        ] {
            let kind = ContentType::parse(&format!("a/{}", "x".repeat(bytes - 2)));
            let long = Message { content_type: kind, ..message() };
            assert_eq!(long.content_type.as_str().len(), bytes);
            assert_eq!(Letter::new(&long).err().map(|error| error.code()), code);
        }
    }

    #[test]
    fn a_text_for_which_servers_hang_up_is_a_400() {
        for text in ["\u{fffe}", "\u{fdd0}", "\u{1ffff}"] {
            let mut message = message();
            message.metadata.insert("k", text).unwrap();
            assert_eq!(Letter::new(&message).unwrap_err().code(), 400, "{text:?}");
        }
    }
}
