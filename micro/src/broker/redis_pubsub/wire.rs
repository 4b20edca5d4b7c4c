//! Messages as they are published: a line with the lengths of what follows, then id, content type,
//! metadata in JSON where there is any, and the body.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::metadata::Metadata;

/// Writes a message.
pub(super) fn write(message: &Message) -> Vec<u8> {
    let metadata = if message.metadata.is_empty() {
        String::new()
    } else {
        // Maps of text are always JSON.
        serde_json::to_string(&message.metadata).unwrap_or_default()
    };
    let parts = [message.id.as_str(), message.content_type.as_str(), &metadata];
    let [id, kind, facts] = parts.map(str::len);
    let mut bytes = format!("{id} {kind} {facts}\n").into_bytes();
    bytes.reserve(id + kind + facts + message.body.len());
    parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    bytes.extend_from_slice(&message.body);
    bytes
}

/// Reads a message; `None` for what is none.
pub(super) fn read(topic: &str, bytes: &Bytes) -> Option<Arc<Message>> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let lengths = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut lengths = lengths.split(' ').map(str::parse::<usize>);
    let mut at = end + 1;
    let mut part = || {
        let until = at.checked_add(lengths.next()?.ok()?)?;
        let text = std::str::from_utf8(bytes.get(at..until)?).ok()?;
        at = until;
        Some(text)
    };
    let (id, kind, facts) = (part()?, part()?, part()?);
    let metadata = match facts {
        "" => Metadata::new(),
        facts => serde_json::from_str(facts).ok()?,
    };
    Some(Arc::new(Message {
        id: id.to_owned(),
        topic: topic.to_owned(),
        metadata,
        content_type: ContentType::parse(kind),
        body: bytes.slice(at..),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_nothing_else_is() {
        let body = Bytes::from_static(b"\n\0\xff");
        let mut message = Message::new("a.b", ContentType::parse("application/x-own"), body);
        assert_eq!(*read("a.b", &write(&message).into()).unwrap(), message);
        message.metadata.insert("tenant", "acme \"s\u{f6}hne\"").unwrap();
        assert_eq!(*read("a.b", &write(&message).into()).unwrap(), message);
        for text in ["", "{}", "1 1 1\n", "hello\nworld", "\n", "1 0\na", "9 0 0\na", "0 0 1\nx"] {
            assert!(read("a", &Bytes::from(text)).is_none(), "{text:?}");
        }
        let far = format!("{} 0 0\na", usize::MAX);
        assert!(read("a", &far.into()).is_none());
    }
}
