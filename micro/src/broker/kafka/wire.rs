//! A message as Kafka carries it: the value is go-micro's document, `{"Header": {..}, "Body": ..}`.
//!
//! A value that is none was written by another program: it is the body, and the record's headers
//! are the metadata.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};

use crate::broker::http::document::{self, CONTENT_TYPE, ID};
use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::metadata::Metadata;

/// Writes the value of a record.
pub(super) fn write(message: &Message) -> crate::core::error::Result<Vec<u8>> {
    document::write(message)
}

/// Reads a record of a topic.
pub(super) fn read(topic: &str, record: &BorrowedMessage<'_>) -> Message {
    let place = format!("{topic}:{}:{}", record.partition(), record.offset());
    let value = record.payload().unwrap_or_default();
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let headers =
        headers.filter_map(|header| Some((header.key, std::str::from_utf8(header.value?).ok()?)));
    read_parts(topic, &place, value, headers)
}

/// Reads a message of its parts; `place` is the id of one that has none.
fn read_parts<'a>(
    topic: &str,
    place: &str,
    value: &[u8],
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Message {
    let (id, content_type, metadata, body) = match document::parts(value) {
        Ok(Some(parts)) => (parts.id, parts.content_type, parts.metadata, parts.body),
        _ => {
            let (mut id, mut kind, mut metadata) = (None, ContentType::Json, Metadata::new());
            for (key, text) in headers {
                if key.eq_ignore_ascii_case(ID) {
                    id = Some(text.to_owned());
                } else if key.eq_ignore_ascii_case(CONTENT_TYPE) {
                    kind = ContentType::parse(text);
                } else {
                    // What is more than metadata holds is not ours, and the rest is worth having.
                    let _left_out = metadata.insert(key, text).is_err();
                }
            }
            (id, kind, metadata, Bytes::copy_from_slice(value))
        }
    };
    let mut message = Message::new(topic, content_type, body).with_metadata(metadata);
    message.id = id.unwrap_or_else(|| place.to_owned());
    if message.validate(usize::MAX).is_err() {
        place.clone_into(&mut message.id);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8], headers: &[(&str, &str)]) -> Message {
        read_parts("a.b", "a.b:3:7", value, headers.iter().copied())
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let body = Bytes::from_static(b"\0\xff{");
        let mut message = Message::new("a.b", ContentType::parse("application/x-own"), body);
        message.metadata.insert("tenant", "acme \"s\u{f6}hne\"").unwrap();
        assert_eq!(read(&write(&message).unwrap(), &[("other", "x")]), message);
    }

    /// As go-micro's plugin for Kafka writes it.
    #[test]
    fn a_message_of_go_micro_is_read() {
        let value = r#"{"Header":{"Content-Type":"application/json","Foo":"bar","Micro-Topic":"x"},"Body":"eyJuIjoxfQ=="}"#;
        let message = read(value.as_bytes(), &[]);
        assert_eq!((message.topic.as_str(), message.id.as_str()), ("a.b", "a.b:3:7"));
        assert_eq!(
            (&message.body[..], message.metadata.get("foo")),
            (&b"{\"n\":1}"[..], Some("bar"))
        );
        let empty = read(br#"{"Header":{"Micro-Id":"7"},"Body":null}"#, &[]);
        assert_eq!((empty.id.as_str(), empty.body.len()), ("7", 0));
    }

    #[test]
    fn a_record_of_another_program_is_the_body_of_a_message() {
        for value in ["{\"n\":1}", "", "plain", "{\"Header\":{},\"Body\":\"?\"}", "[]"] {
            let headers = [("Content-Type", "text/plain"), ("Tenant", "acme"), ("Micro-Id", "9")];
            let message = read(value.as_bytes(), &headers);
            assert_eq!(message.body, value.as_bytes());
            assert_eq!((message.id.as_str(), message.metadata.get("tenant")), ("9", Some("acme")));
            assert_eq!(message.content_type.as_str(), "text/plain");
        }
        let spaced = read(b"x", &[("Micro-Id", "not an id")]);
        assert_eq!((spaced.id.as_str(), spaced.content_type), ("a.b:3:7", ContentType::Json));
    }
}
