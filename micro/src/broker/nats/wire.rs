//! A message as NATS carries it: facts in headers, the body as the payload.
//!
//! The id is `Nats-Msg-Id`, by which a stream tells duplicates, or `Micro-Message-Id` where a
//! stream has more than one topic, and the kind of the body `Content-Type`; each entry of the
//! metadata is a header of its own name. What other programs publish is read alike, whatever it
//! leaves out.

use std::str::FromStr;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::broker::message::{MESSAGE_ID_BYTES_MAX, Message};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;

/// How the body is encoded.
const CONTENT_TYPE: &str = "Content-Type";

/// The id of the message, where `Nats-Msg-Id` is that of a publication of it.
pub(in crate::broker) const MESSAGE_ID: &str = "Micro-Message-Id";

/// What headers begin with that are between clients and servers.
const RESERVED: &str = "Nats-";

/// Returns the headers of a message that a stream takes once for each `publication`.
pub(in crate::broker) fn headers(message: &Message, publication: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, value(publication)?);
    if publication != message.id {
        headers.insert(name(MESSAGE_ID)?, value(&message.id)?);
    }
    headers.insert(name(CONTENT_TYPE)?, value(message.content_type.as_str())?);
    for (key, text) in &message.metadata {
        match is_bare(text) {
            true => headers.insert(name(key)?, value(text)?),
            false => headers.insert(name(key)?, value(&format!("\"{text}\""))?),
        }
    }
    Ok(headers)
}

/// Reads a message that came to a topic; `other_id` names one that brings no id of its own.
pub(in crate::broker) fn read(
    topic: String,
    headers: Option<&HeaderMap>,
    body: Bytes,
    other_id: impl FnOnce() -> Option<String>,
) -> Message {
    let mut metadata = Metadata::new();
    let (mut id, mut publication, mut content_type) = (None, None, None);
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let (name, Some(text)) = (name.as_ref(), values.first()) else { continue };
        let text: &str = text.as_str();
        match name {
            "Nats-Msg-Id" => publication = Some(text),
            MESSAGE_ID => id = Some(text),
            CONTENT_TYPE => content_type = Some(kind(text)),
            _ if name.starts_with(RESERVED) => {}
            // What is more than metadata holds is not ours, and the rest is worth having.
            _ => drop(metadata.insert(name, bare(text))),
        }
    }
    let id = id.or(publication).filter(|id| is_id(id)).map(str::to_owned).or_else(other_id);
    // What says nothing of its kind is what most programs send.
    let content_type = content_type.unwrap_or(ContentType::Json);
    match id {
        Some(id) => Message { id, topic, metadata, content_type, body },
        None => Message::new(topic, content_type, body).with_metadata(metadata),
    }
}

/// Reads how a body is encoded; what we write ourselves without a copy.
fn kind(text: &str) -> ContentType {
    let known = [ContentType::Json, ContentType::MsgPack, ContentType::Proto, ContentType::Bytes];
    let written = known.into_iter().find(|kind| kind.as_str() == text);
    written.unwrap_or_else(|| ContentType::parse(text))
}

/// Returns a text as one word of a subject.
pub(in crate::broker) fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => word.push(char::from(byte)),
            other => word.push_str(&format!("={other:02X}")),
        }
    }
    word
}

fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MESSAGE_ID_BYTES_MAX
        && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Tells whether a value arrives as it is: clients cut off spaces, and we quotes.
fn is_bare(text: &str) -> bool {
    text.trim() == text && !(text.starts_with('"') && text.ends_with('"'))
}

/// Undoes the quotes that [`headers`] puts around values.
fn bare(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.filter(|inner| !is_bare(inner)).unwrap_or(text)
}

fn name(text: &str) -> Result<HeaderName> {
    HeaderName::from_str(text).map_err(|error| refused(text, &error))
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| refused(text, &error))
}

fn refused(text: &str, error: &dyn std::error::Error) -> Error {
    Error::bad_request("micro.broker", format!("nats carries no header {text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(entries: &[(&str, &str)]) -> Message {
        let mut message = Message::new("t", ContentType::parse("application/x-own"), Bytes::new());
        for (key, text) in entries {
            message.metadata.insert(*key, *text).unwrap();
        }
        message
    }

    /// What a client reads of a header: it cuts the spaces around it.
    fn carried(headers: &HeaderMap) -> HeaderMap {
        let trimmed = |(name, values): (&HeaderName, &Vec<HeaderValue>)| {
            (name.clone(), HeaderValue::from(values[0].as_str().trim()))
        };
        headers.iter().map(trimmed).collect()
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let entries = [
            ("a", "plain"),
            ("b", " spaces "),
            ("c", "\"quoted\""),
            ("d", "\" both \""),
            ("e", ""),
            ("f", "\""),
            ("content-type", "mine"),
            ("nats-msg-id", "s\u{f6}hne"),
        ];
        let message = sent(&entries);
        for publication in [message.id.clone(), format!("{}-2", message.id)] {
            let headers = carried(&headers(&message, &publication).unwrap());
            let read = read("t".into(), Some(&headers), Bytes::new(), || None);
            assert_eq!(read, message, "{:?} {:?}", read.metadata, message.metadata);
        }
    }

    #[test]
    fn a_message_of_another_program_is_read_as_far_as_it_goes() {
        let mut headers = HeaderMap::new();
        headers.insert("Tenant", "acme");
        headers.insert("Nats-Expected-Stream", "x");
        headers.insert("Quoted", "\"x\"");
        let read = read("t".into(), Some(&headers), Bytes::new(), || Some("7".into()));
        assert_eq!((read.id.as_str(), &read.content_type), ("7", &ContentType::Json));
        let metadata: Vec<_> = read.metadata.iter().collect();
        assert_eq!(metadata, [("quoted", "\"x\""), ("tenant", "acme")]);
    }

    #[test]
    fn an_id_is_one_word_of_a_subject() {
        assert_eq!(word("01J-a_b"), "01J-a_b");
        assert_eq!(word("a.b*>"), "a=2Eb=2A=3E");
    }
}
