//! Messages as they travel: metadata as attributes, the body as it is.
//!
//! The id is the attribute `micro-message-id`, the kind of the body `content-type`. An attribute has
//! 1,024 bytes at most and metadata more: entries that are longer, or whose key means something
//! else on the way, go together into `micro-more-0` and the attributes that follow it: the key and
//! the value in turn, each with the end of a line behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::broker::message::MESSAGE_ID_BYTES_MAX;
use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::metadata::Metadata;

use super::ERROR_ID;
use super::messages::PubsubMessage;

/// Bytes of the value of an attribute.
const VALUE_BYTES_MAX: usize = 1024;

/// Bytes of a message as the servers take it: 10 MB for a request, of which some are the topic's.
const MESSAGE_BYTES_MAX: usize = 10_000_000 - 1_024;

const ID: &str = "micro-message-id";
const CONTENT_TYPE: &str = "content-type";
const MORE: &str = "micro-more-";

/// What attributes may not begin with.
const RESERVED: &str = "goog";

/// Encodes a message to publish.
///
/// # Errors
/// 413 for one that is longer than the servers take, 400 for a content type that is.
pub(super) fn write(message: &Message) -> Result<Bytes> {
    let mut attributes = BTreeMap::new();
    let mut more = String::new();
    for (key, value) in &message.metadata {
        if value.len() > VALUE_BYTES_MAX || is_taken(key) {
            // Neither has an end of a line within it.
            more.extend([key, "\n", value, "\n"]);
        } else {
            attributes.insert(key.to_owned(), value.to_owned());
        }
    }
    for (n, part) in parts(&more).into_iter().enumerate() {
        attributes.insert(format!("{MORE}{n}"), part.to_owned());
    }
    let content_type = message.content_type.as_str();
    if content_type.len() > VALUE_BYTES_MAX {
        let text = format!("publish to {}: a content type of over 1024 bytes", message.topic);
        return Err(Error::bad_request(ERROR_ID, text));
    }
    attributes.insert(CONTENT_TYPE.to_owned(), content_type.to_owned());
    attributes.insert(ID.to_owned(), message.id.clone());
    let raw = PubsubMessage { data: message.body.clone(), attributes, ..PubsubMessage::default() };
    let bytes = raw.encoded_len();
    if bytes > MESSAGE_BYTES_MAX {
        let topic = &message.topic;
        let text = format!("publish to {topic}: {bytes} bytes, pubsub takes {MESSAGE_BYTES_MAX}");
        return Err(Error::too_large(ERROR_ID, text));
    }
    Ok(raw.encode_to_vec().into())
}

/// Reads a message that came to a topic. What others publish may bring no id, or one that no message
/// has: then the server's is taken. Attributes that are no metadata are left out.
pub(super) fn read(topic: &str, raw: PubsubMessage) -> Message {
    let mut metadata = Metadata::new();
    let (mut id, mut content_type, mut more) = (None, None, BTreeMap::new());
    for (key, value) in raw.attributes {
        if key == ID {
            id = Some(value);
        } else if key.eq_ignore_ascii_case(CONTENT_TYPE) {
            content_type = Some(value);
        } else if let Some(n) = key.strip_prefix(MORE).and_then(|n| n.parse::<usize>().ok()) {
            more.insert(n, value);
        } else {
            let _left_out = metadata.insert(key, value).is_err();
        }
    }
    let more: String = more.into_values().collect();
    let mut lines = more.split('\n');
    while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
        let _left_out = metadata.insert(key, value).is_err();
    }
    let content_type = content_type.map_or(ContentType::Json, |text| ContentType::parse(&text));
    let mut message = Message::new(topic, content_type, raw.data).with_metadata(metadata);
    let given = id.filter(|id| is_id(id)).or(Some(raw.message_id).filter(|id| is_id(id)));
    if let Some(id) = given {
        message.id = id;
    }
    message
}

/// Returns when the server took a message, since 1970-01-01 UTC, if it says so.
pub(super) fn taken_at(raw: &PubsubMessage) -> Option<Duration> {
    let time = raw.publish_time?;
    Some(Duration::new(time.seconds.try_into().ok()?, time.nanos.try_into().ok()?))
}

fn is_taken(key: &str) -> bool {
    let is_reserved = key.get(..RESERVED.len()).is_some_and(|head| head == RESERVED);
    is_reserved || key == ID || key == CONTENT_TYPE || key.starts_with(MORE)
}

fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MESSAGE_ID_BYTES_MAX
        && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Cuts a text into parts that fit into an attribute each.
fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let mut end = text.len().min(VALUE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::METADATA_BYTES_MAX;
    use crate::core::limits::METADATA_ENTRIES_MAX;

    /// Attributes of one message.
    const ATTRIBUTES_MAX: usize = 100;
    /// Bytes of the key of an attribute.
    const KEY_BYTES_MAX: usize = 256;

    fn message(metadata: Metadata) -> Message {
        Message::new("orders.created", ContentType::Json, Bytes::from_static(b"{}"))
            .with_metadata(metadata)
    }

    fn sent(message: &Message) -> PubsubMessage {
        PubsubMessage::decode(write(message).unwrap()).unwrap()
    }

    fn fits(raw: &PubsubMessage) -> bool {
        raw.attributes.len() <= ATTRIBUTES_MAX
            && raw.attributes.iter().all(|(key, value)| {
                key.len() <= KEY_BYTES_MAX
                    && value.len() <= VALUE_BYTES_MAX
                    && !key.starts_with(RESERVED)
            })
    }

    #[test]
    fn a_message_comes_back_as_it_went() {
        let mut metadata = Metadata::new();
        metadata.insert("Tenant", "acme & s\u{f6}hne").unwrap();
        metadata.insert("empty", "").unwrap();
        let message = message(metadata);
        let raw = sent(&message);
        assert_eq!(raw.attributes["tenant"], "acme & s\u{f6}hne");
        assert_eq!(raw.attributes[CONTENT_TYPE], "application/json");
        assert_eq!(read("orders.created", raw), message);
    }

    #[test]
    fn metadata_that_attributes_have_no_room_for_arrives_all_the_same() {
        for bytes in [VALUE_BYTES_MAX, VALUE_BYTES_MAX + 1, 8 * 1024] {
            let mut metadata = Metadata::new();
            metadata.insert("long", "x".repeat(bytes)).unwrap();
            metadata.insert("wide", "\u{20ac}".repeat(1_500)).unwrap();
            for key in ["goog-x", "google", ID, CONTENT_TYPE, "micro-more-0", "micro-more-x"] {
                metadata.insert(key, "1").unwrap();
            }
            let message = message(metadata);
            let raw = sent(&message);
            assert!(fits(&raw), "{bytes}: {:?}", raw.attributes.keys());
            assert_eq!(read("orders.created", raw), message, "{bytes}");
        }
    }

    #[test]
    fn the_fullest_metadata_fits() {
        // As many entries as there may be, and all bytes in the longest values.
        let mut metadata = Metadata::new();
        for n in 0..METADATA_ENTRIES_MAX - 2 {
            metadata.insert(format!("{n:02}"), "").unwrap();
        }
        metadata.insert("a", "x".repeat(8 * 1024)).unwrap();
        let left = METADATA_BYTES_MAX - metadata.bytes() - 1;
        metadata.insert("b", "\u{20ac}".repeat(left / 3)).unwrap();
        let message = message(metadata);
        let raw = sent(&message);
        assert!(fits(&raw), "{}", raw.attributes.len());
        assert_eq!(read("orders.created", raw), message);
    }

    #[test]
    fn a_message_that_no_request_has_room_for_is_refused() {
        let of = |bytes: usize| Message { body: vec![0; bytes].into(), ..message(Metadata::new()) };
        // Attributes, keys and lengths take 90 bytes.
        let around = write(&of(9_000_000)).unwrap().len() - 9_000_000;
        assert!(write(&of(MESSAGE_BYTES_MAX - around)).is_ok());
        for bytes in [MESSAGE_BYTES_MAX - around + 1, MESSAGE_BYTES_MAX * 10] {
            assert_eq!(write(&of(bytes)).unwrap_err().code(), 413, "{bytes}");
        }
        let content_type = ContentType::parse(&format!("text/{}", "x".repeat(VALUE_BYTES_MAX)));
        let long = Message { content_type, ..message(Metadata::new()) };
        assert_eq!(write(&long).unwrap_err().code(), 400);
    }

    #[test]
    fn what_others_publish_is_read_as_far_as_it_is_known() {
        let attributes = [("Content-Type", "text/plain"), ("a b", "no key"), ("Tenant", "acme")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let publish_time = Some(super::super::messages::Time { seconds: 7, nanos: 5 });
        let raw = PubsubMessage {
            data: Bytes::from_static(b"x"),
            attributes: attributes.into(),
            message_id: "42".to_owned(),
            publish_time,
        };
        assert_eq!(taken_at(&raw), Some(Duration::new(7, 5)));
        let message = read("a.b", raw.clone());
        assert_eq!((message.id.as_str(), message.content_type.as_str()), ("42", "text/plain"));
        assert_eq!(message.metadata.iter().collect::<Vec<_>>(), [("tenant", "acme")]);
        for id in ["", "a b", &"x".repeat(129)] {
            let mut raw = raw.clone();
            raw.attributes.insert(ID.to_owned(), id.to_owned());
            assert_eq!(read("a.b", raw).id, "42");
        }
        let raw = PubsubMessage { message_id: String::new(), publish_time: None, ..raw };
        assert_eq!((taken_at(&raw), read("a.b", raw).id.len()), (None, 26));
    }
}
