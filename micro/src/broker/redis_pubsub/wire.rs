//! Messages as they are published: a line of JSON with the facts, then the body.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::metadata::Metadata;

#[derive(Deserialize, Serialize)]
struct Facts {
    id: String,
    #[serde(rename = "type")]
    content_type: String,
    #[serde(default)]
    metadata: Metadata,
}

/// Writes a message.
pub(super) fn write(message: &Message) -> Vec<u8> {
    let facts = Facts {
        id: message.id.clone(),
        content_type: message.content_type.as_str().to_owned(),
        metadata: message.metadata.clone(),
    };
    // Text and maps of text are always JSON, in one line.
    let mut bytes = serde_json::to_vec(&facts).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(&message.body);
    bytes
}

/// Reads a message; `None` for what is none.
pub(super) fn read(topic: &str, bytes: &[u8]) -> Option<Arc<Message>> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let facts: Facts = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let body = Bytes::copy_from_slice(bytes.get(end + 1..)?);
    let content_type = ContentType::parse(&facts.content_type);
    let mut message = Message::new(topic, content_type, body).with_metadata(facts.metadata);
    message.id = facts.id;
    Some(Arc::new(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_nothing_else_is() {
        let body = Bytes::from_static(b"\n\0\xff");
        let mut message = Message::new("a.b", ContentType::parse("application/x-own"), body);
        message.metadata.insert("tenant", "acme \"s\u{f6}hne\"").unwrap();
        assert_eq!(*read("a.b", &write(&message)).unwrap(), message);
        for bytes in [&b""[..], b"{}", b"{}\n", b"hello\nworld", b"\n"] {
            assert!(read("a", bytes).is_none(), "{bytes:?}");
        }
    }
}
