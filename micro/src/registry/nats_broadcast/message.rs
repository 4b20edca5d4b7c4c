//! What processes tell each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::core::error::{Error, Result};
use crate::registry::check::{ERROR_ID, RECORD_BYTES_MAX};
use crate::registry::record::Record;

/// The subject of questions.
pub(super) const QUERY: &str = "micro.nats.query";

/// The subject of announcements.
pub(super) const WATCH: &str = "micro.nats.watch";

/// What a message says or asks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// Who serves a service?
    Get,
    /// Who serves anything?
    List,
    /// A node serves.
    Create,
    /// A node serves, and what it says of itself has changed.
    Update,
    /// A node serves no more.
    Delete,
}

/// A question or an announcement, with the names of go-micro's fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    pub(super) action: Action,
    pub(super) service: Option<Record>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written<'a> {
    action: Action,
    service: Option<&'a Record>,
}

impl Message {
    /// Reads a message; `None` if it is none.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        if body.len() > RECORD_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(body).ok()
    }

    /// Writes a message.
    ///
    /// # Errors
    /// 413 when it is too long.
    pub(super) fn write(action: Action, service: Option<&Record>) -> Result<Bytes> {
        write(&Written { action, service })
    }
}

/// Reads an answer: the records of its nodes, one for each.
pub(super) fn read_answer(body: &[u8]) -> Vec<Record> {
    if body.len() > RECORD_BYTES_MAX {
        return Vec::new();
    }
    serde_json::from_slice::<Record>(body).map_or_else(|_| Vec::new(), |r| r.split().collect())
}

/// Writes an answer.
///
/// # Errors
/// 413 when it is too long.
pub(super) fn write_answer(record: &Record) -> Result<Bytes> {
    write(record)
}

fn write(value: &impl Serialize) -> Result<Bytes> {
    let body = serde_json::to_vec(value).map_err(|error| {
        let detail = "a record cannot be written as JSON";
        Error::bad_request(ERROR_ID, detail).with_source(error)
    })?;
    if body.len() > RECORD_BYTES_MAX {
        let (bytes, max) = (body.len(), RECORD_BYTES_MAX);
        let detail = format!("a record as a message has {bytes} bytes, at most {max}");
        return Err(Error::too_large(ERROR_ID, detail));
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::record::Node;

    fn record() -> Record {
        let node = Node { id: "shop-1".into(), address: "10.0.0.5:1".into(), ..Node::default() };
        let (name, version) = ("shop".to_owned(), "1.0.0".to_owned());
        Record { name, version, nodes: vec![node], ..Record::default() }
    }

    #[test]
    fn messages_are_go_micros() {
        let written = Message::write(Action::Create, Some(&record())).unwrap();
        let text = r#"{"Action":"create","Service":{"name":"shop","version":"1.0.0","metadata":{},"endpoints":[],"nodes":[{"id":"shop-1","address":"10.0.0.5:1","metadata":{}}]}}"#;
        assert_eq!(str::from_utf8(&written).unwrap(), text);
        let asked = r#"{"Action":"get","Service":{"name":"shop","version":"","metadata":null,"endpoints":null,"nodes":null}}"#;
        let read = Message::read(asked.as_bytes()).unwrap();
        assert_eq!((read.action, read.service.unwrap().name.as_str()), (Action::Get, "shop"));
        let all = Message::read(br#"{"Action":"list","Service":null}"#).unwrap();
        assert!(all.action == Action::List && all.service.is_none());
        let written = Message::write(Action::List, None).unwrap();
        assert_eq!(&written[..], br#"{"Action":"list","Service":null}"#);
    }

    #[test]
    fn an_answer_is_a_bare_service() {
        let answer = write_answer(&record()).unwrap();
        assert!(answer.starts_with(br#"{"name":"shop","#));
        assert_eq!(read_answer(&answer), [record()]);
    }

    #[test]
    fn what_is_no_message_is_none() {
        for body in ["", "{}", "[]", r#"{"Action":"burn"}"#, r#"{"Action":"get","Service":7}"#] {
            assert!(Message::read(body.as_bytes()).is_none(), "{body}");
            assert!(read_answer(body.as_bytes()).is_empty(), "{body}");
        }
    }

    #[test]
    fn the_longest_message_is_taken_and_a_longer_one_is_not() {
        let of = |bytes: usize| {
            let mut long = record();
            let empty = write_answer(&long).unwrap().len();
            long.version.push_str(&"x".repeat(bytes - empty));
            long
        };
        let longest = write_answer(&of(RECORD_BYTES_MAX)).unwrap();
        assert_eq!(read_answer(&longest).len(), 1);
        for bytes in [RECORD_BYTES_MAX + 1, RECORD_BYTES_MAX * 10] {
            assert_eq!(write_answer(&of(bytes)).unwrap_err().code(), 413);
            assert!(read_answer(&serde_json::to_vec(&of(bytes)).unwrap()).is_empty());
        }
    }
}
