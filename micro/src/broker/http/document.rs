//! A message as go-micro posts it and as it writes it to queues: `{"Header": {..}, "Body": "<base64>"}`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;

use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::metadata::Metadata;
use crate::core::metadata::title_case;

use super::ERROR_ID;

const TOPIC: &str = "Micro-Topic";
pub(in crate::broker) const ID: &str = "Micro-Id";
pub(in crate::broker) const CONTENT_TYPE: &str = "Content-Type";

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "Header")]
    header: Option<BTreeMap<String, String>>,
    #[serde(rename = "Body")]
    body: Option<String>,
}

/// What a document says of a message.
pub(in crate::broker) struct Parts {
    pub(in crate::broker) topic: Option<String>,
    pub(in crate::broker) id: Option<String>,
    pub(in crate::broker) content_type: ContentType,
    pub(in crate::broker) metadata: Metadata,
    pub(in crate::broker) body: Bytes,
}

/// Reads a posted message. Headers that no metadata can hold are left out.
pub(super) fn read(bytes: &Bytes) -> Result<Message> {
    let parts = parts(bytes)?.unwrap_or_default();
    let missing = || Error::bad_request(ERROR_ID, format!("the message has no {TOPIC}"));
    let topic = parts.topic.ok_or_else(missing)?;
    let mut message =
        Message::new(topic, parts.content_type, parts.body).with_metadata(parts.metadata);
    message.id = parts.id.unwrap_or(message.id);
    message.validate(usize::MAX)?;
    Ok(message)
}

/// Reads a message that came by a topic, whatever it says of that; `other_id` is that of one which
/// brings none, or none that a message may have.
#[cfg(feature = "nsq")]
pub(in crate::broker) fn read_of(topic: &str, other_id: &str, bytes: &Bytes) -> Result<Message> {
    let missing = || Error::bad_request(ERROR_ID, "the message has no `Header`");
    let Parts { id, content_type, metadata, body, .. } = parts(bytes)?.ok_or_else(missing)?;
    let mut message = Message::new(topic, content_type, body).with_metadata(metadata);
    message.id = id.unwrap_or_else(|| other_id.to_owned());
    if message.validate(usize::MAX).is_err() {
        other_id.clone_into(&mut message.id);
    }
    message.validate(usize::MAX)?;
    Ok(message)
}

/// Reads what a document says; `None` for an object in JSON that has no headers. Headers that no
/// metadata can hold are left out.
///
/// # Errors
/// 400 for what is no object in JSON, or has a body that is not base64.
pub(in crate::broker) fn parts(bytes: &[u8]) -> Result<Option<Parts>> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        Error::bad_request(ERROR_ID, format!("the message is malformed: {error}"))
    })?;
    let Some(header) = document.header else { return Ok(None) };
    let body = decode(document.body.unwrap_or_default().as_bytes())
        .ok_or_else(|| Error::bad_request(ERROR_ID, "the body of the message is not base64"))?;
    let mut parts = Parts { body: Bytes::from(body), ..Parts::default() };
    for (key, value) in header {
        match key.as_str() {
            key if key.eq_ignore_ascii_case(TOPIC) => parts.topic = Some(value),
            key if key.eq_ignore_ascii_case(ID) => parts.id = Some(value),
            key if key.eq_ignore_ascii_case(CONTENT_TYPE) => {
                parts.content_type = ContentType::parse(&value);
            }
            _ => {
                let _left_out = parts.metadata.insert(key, value).is_err();
            }
        }
    }
    Ok(Some(parts))
}

impl Default for Parts {
    fn default() -> Self {
        let (metadata, body) = (Metadata::new(), Bytes::new());
        Self { topic: None, id: None, content_type: ContentType::Json, metadata, body }
    }
}

/// Writes a message to be posted.
pub(in crate::broker) fn write(message: &Message) -> Result<Vec<u8>> {
    let mut header: BTreeMap<String, String> =
        message.metadata.iter().map(|(key, value)| (title_case(key), value.into())).collect();
    header.insert(TOPIC.into(), message.topic.clone());
    header.insert(ID.into(), message.id.clone());
    header.insert(CONTENT_TYPE.into(), message.content_type.as_str().into());
    let document = Document { header: Some(header), body: Some(encode(&message.body)) };
    serde_json::to_vec(&document)
        .map_err(|error| Error::internal(ERROR_ID, format!("cannot write a message: {error}")))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes standard base64 with padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| chunk.get(place).copied().map_or(0, u32::from);
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for place in 0..4 {
            let digit = usize::try_from((bits >> (18 - place * 6)) & 63).unwrap_or_default();
            let present = place <= chunk.len();
            let letter = ALPHABET.get(digit).copied().map_or('=', char::from);
            out.push(if present { letter } else { '=' });
        }
    }
    out
}

/// Reads standard base64 with padding; `None` for anything else.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut quads = text.chunks(4).peekable();
    while let Some(quad) = quads.next() {
        let padding = quad.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && quads.peek().is_some()) {
            return None;
        }
        let mut bits = 0;
        for byte in quad.iter().take(4 - padding) {
            bits = (bits << 6) | value(*byte)?;
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        out.extend(bytes.iter().skip(1).take(3 - padding));
    }
    Some(out)
}

fn value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As go-micro v2 posts it.
    const FIRST: &str = r#"{"Header":{"Content-Type":"application/json","Foo-Bar":"baz","Lower-Case":"v","Micro-Id":"dc154f89-0ca7-434c-a62e-d5442001af23","Micro-Topic":"events"},"Body":"eyJuYW1lIjoiZXZ0In0K"}"#;

    /// As go-micro v4 posts it.
    const GOLDEN: &str = r#"{"Header":{"Content-Type":"application/json","Foo-Bar":"baz","Micro-ID":"8b813bdd-7f1a","Micro-Topic":"events","lower-case":"v"},"Body":"eyJuYW1lIjoiZXZ0In0K"}"#;

    #[test]
    fn what_go_micro_posts_is_read() {
        let message = read(&Bytes::from_static(GOLDEN.as_bytes())).unwrap();
        assert_eq!((message.topic.as_str(), message.id.as_str()), ("events", "8b813bdd-7f1a"));
        assert_eq!(message.content_type, ContentType::Json);
        assert_eq!(&message.body[..], b"{\"name\":\"evt\"}\n");
        assert_eq!(message.metadata.get("foo-bar"), Some("baz"));
        assert_eq!(message.metadata.len(), 2);
    }

    #[test]
    fn what_is_written_equals_what_go_micro_writes_byte_for_byte() {
        let message = read(&Bytes::from_static(FIRST.as_bytes())).unwrap();
        assert_eq!(message.id, "dc154f89-0ca7-434c-a62e-d5442001af23");
        assert_eq!(message.metadata.get("lower-case"), Some("v"));
        assert_eq!(String::from_utf8(write(&message).unwrap()).unwrap(), FIRST);
    }

    #[test]
    fn what_is_written_has_the_keys_of_go_micro_and_is_read_again() {
        let message = read(&Bytes::from_static(GOLDEN.as_bytes())).unwrap();
        let written = write(&message).unwrap();
        let text = String::from_utf8(written.clone()).unwrap();
        assert!(
            text.starts_with(r#"{"Header":{"Content-Type":"application/json","Foo-Bar":"baz""#)
        );
        assert!(text.ends_with(r#""Body":"eyJuYW1lIjoiZXZ0In0K"}"#), "{text}");
        assert_eq!(read(&written.into()).unwrap(), message);
    }

    #[test]
    fn every_length_survives_base64_and_nothing_else_is_taken() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }
        for bad in ["a", "ab", "abc", "ab=c", "====", "a===", "ab==ab==", "ab c", "ab-_"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_message_is_a_400() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"Header":{"Micro-Topic":"a b"},"Body":""}"#,
            r#"{"Header":{"Micro-Topic":"a"},"Body":"?"}"#,
        ] {
            let error = read(&Bytes::from_static(bad.as_bytes())).unwrap_err();
            assert_eq!(error.code(), 400, "{bad}");
        }
    }
}
