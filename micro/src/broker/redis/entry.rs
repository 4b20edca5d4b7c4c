//! Messages as entries of a stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};

use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::error::Result;
use crate::core::metadata::Metadata;
use crate::driver::redis::reply;

/// An entry that was delivered, and how often.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) message: Arc<Message>,
    pub(super) deliveries: u32,
}

impl Entry {
    /// Returns when the entry was made, by the server's clock since 1970.
    pub(super) fn made(&self) -> Duration {
        let millis = self.id.split('-').next().and_then(|millis| millis.parse().ok());
        Duration::from_millis(millis.unwrap_or_default())
    }
}

/// Adds a message to a call of a script.
pub(super) fn write(call: &mut Cmd, message: &Message) {
    call.arg(&message.id).arg(message.content_type.as_str());
    call.arg(facts(message)).arg(message.body.as_ref());
}

/// Adds a message to a command that names the fields.
pub(super) fn write_named(call: &mut Cmd, message: &Message) {
    call.arg("i").arg(&message.id).arg("t").arg(message.content_type.as_str());
    if !message.metadata.is_empty() {
        call.arg("m").arg(facts(message));
    }
    call.arg("b").arg(message.body.as_ref());
}

fn facts(message: &Message) -> String {
    if message.metadata.is_empty() {
        return String::new();
    }
    // Maps of text are always JSON.
    serde_json::to_string(&message.metadata).unwrap_or_default()
}

/// Reads what a blocking read has got.
pub(super) fn delivered(topic: &str, value: Value) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    for stream in reply::list(value)? {
        let [_name, entries] = reply::tuple(stream)?;
        for entry in reply::list(entries)? {
            let [id, fields] = reply::tuple(entry)?;
            // What the stream lost is delivered without fields, and there is nothing to settle.
            if fields != Value::Nil {
                all.push(read(topic, id, fields, 1)?);
            }
        }
    }
    Ok(all)
}

/// Reads entries with how often each was delivered.
pub(super) fn counted(topic: &str, value: Value) -> Result<Vec<Entry>> {
    let one = |entry| {
        let [id, fields, count] = reply::tuple(entry)?;
        let count = u32::try_from(reply::number(count)?).unwrap_or(u32::MAX);
        read(topic, id, fields, count)
    };
    reply::list(value)?.into_iter().map(one).collect()
}

/// Reads an entry. One that others wrote has what it has: its number serves as the id, its body is
/// the field `b`.
fn read(topic: &str, id: Value, fields: Value, deliveries: u32) -> Result<Entry> {
    let id = reply::text(id)?;
    let mut message = Message {
        id: id.clone(),
        topic: topic.to_owned(),
        metadata: Metadata::new(),
        content_type: ContentType::parse(""),
        body: Bytes::new(),
    };
    let mut fields = reply::list(fields)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let (name, value) = (reply::bytes(name)?, reply::bytes(value)?);
        match name.as_ref() {
            b"i" => message.id = String::from_utf8_lossy(&value).into_owned(),
            b"t" => message.content_type = ContentType::parse(&String::from_utf8_lossy(&value)),
            b"m" if !value.is_empty() => match serde_json::from_slice::<Metadata>(&value) {
                Ok(metadata) => message.metadata = metadata,
                Err(error) => tracing::warn!(topic, id, %error, "metadata cannot be read"),
            },
            b"b" => message.body = value,
            _ => {}
        }
    }
    Ok(Entry { id, message: Arc::new(message), deliveries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut message = Message::new("a.b", ContentType::Json, Bytes::from_static(b"\0\xff"));
        message.metadata.insert("tenant", "acme & s\u{f6}hne").unwrap();
        let mut call = redis::cmd("X");
        write(&mut call, &message);
        let words: Vec<Value> = call
            .args_iter()
            .skip(1)
            .map(|word| match word {
                redis::Arg::Simple(bytes) => Value::BulkString(bytes.to_vec()),
                _ => Value::Nil,
            })
            .collect();
        let names = ["i", "t", "m", "b"].map(bulk);
        let fields = names.into_iter().zip(words).flat_map(|(name, word)| [name, word]);
        let entry = Value::Array(vec![bulk("1700-3"), Value::Array(fields.collect())]);
        let stream = Value::Array(vec![bulk("s"), Value::Array(vec![entry])]);
        let read = delivered("a.b", Value::Array(vec![stream])).unwrap();
        assert_eq!(*read[0].message, message);
        assert_eq!((read[0].made(), read[0].deliveries), (Duration::from_millis(1700), 1));
    }

    #[test]
    fn an_entry_of_others_is_a_message_too_and_an_answer_that_is_none_is_refused() {
        let foreign = Value::Array(vec![
            bulk("5-0"),
            Value::Array(vec![bulk("x"), bulk("y"), bulk("m"), bulk("{")]),
            Value::Int(3),
        ]);
        let read = counted("a", Value::Array(vec![foreign])).unwrap();
        assert_eq!((read[0].message.id.as_str(), read[0].deliveries), ("5-0", 3));
        assert!(read[0].message.body.is_empty() && read[0].message.metadata.is_empty());
        assert!(delivered("a", Value::Nil).unwrap().is_empty());
        assert!(delivered("a", Value::Int(1)).is_err());
    }
}
