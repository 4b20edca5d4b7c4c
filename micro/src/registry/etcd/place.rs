//! Where records are and what is in them, as go-micro has it.

use bytes::Bytes;

use crate::core::error::{Error, Result};
use crate::driver::etcd::Span;
use crate::registry::check::{ERROR_ID, RECORD_BYTES_MAX};
use crate::registry::record::Record;

/// Where go-micro keeps its records.
const PREFIX: &str = "/micro/registry/";

/// The keys of a registry.
#[derive(Clone, Debug)]
pub(super) struct Place {
    prefix: String,
}

impl Place {
    /// Makes the keys of a namespace; empty for go-micro's own.
    pub(super) fn within(namespace: &str) -> Self {
        let namespace = namespace.trim_matches('/');
        let slash = if namespace.is_empty() { "" } else { "/" };
        Self { prefix: format!("{slash}{namespace}{PREFIX}") }
    }

    /// Spans the nodes of all services.
    pub(super) fn all(&self) -> Span {
        Span::prefix(&self.prefix)
    }

    /// Spans the nodes of a service, and of those whose name is written in the same way.
    pub(super) fn service(&self, service: &str) -> Span {
        Span::prefix(&format!("{}{}/", self.prefix, part(service)))
    }

    /// Returns the key of a node.
    pub(super) fn node(&self, service: &str, node: &str) -> Bytes {
        format!("{}{}/{}", self.prefix, part(service), part(node)).into()
    }
}

/// Writes a name as a part of a key.
fn part(name: &str) -> String {
    name.replace('/', "-")
}

/// Writes a record as the value of its key.
///
/// # Errors
/// 413 when it is too long.
pub(super) fn encode(record: &Record) -> Result<Bytes> {
    let json = serde_json::to_vec(record).map_err(|error| {
        let detail = format!("the record of {} cannot be written", record.name);
        Error::bad_request(ERROR_ID, detail).with_source(error)
    })?;
    if json.len() > RECORD_BYTES_MAX {
        let (name, bytes) = (&record.name, json.len());
        let detail = format!("the record of {name} has {bytes} bytes, at most {RECORD_BYTES_MAX}");
        return Err(Error::too_large(ERROR_ID, detail));
    }
    Ok(json.into())
}

/// Reads the record of one node; `None` for what is none.
pub(super) fn decode(value: &[u8]) -> Option<Record> {
    if value.len() > RECORD_BYTES_MAX {
        return None;
    }
    let record: Record = serde_json::from_slice(value).ok()?;
    let [node] = record.nodes.as_slice() else { return None };
    (!record.name.is_empty() && !node.id.is_empty()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::record::Node;

    #[test]
    fn keys_are_go_micros() {
        let place = Place::within("");
        let node = place.node("greeter", "greeter-1");
        assert_eq!(node, "/micro/registry/greeter/greeter-1");
        let node = place.node("com/shop", "a/b-c");
        assert_eq!(node, "/micro/registry/com-shop/a-b-c");
        let span = place.service("com/shop");
        assert_eq!(span, Span::prefix("/micro/registry/com-shop/"));
        assert_eq!(Place::within("/a/b/").node("s", "n"), "/a/b/micro/registry/s/n");
    }

    #[test]
    fn a_value_is_the_record_of_one_node() {
        let node = |id: &str| Node { id: id.into(), ..Node::default() };
        let record = |nodes| Record { name: "a".into(), nodes, ..Record::default() };
        let one = record(vec![node("n")]);
        assert_eq!(decode(&encode(&one).unwrap()), Some(one));
        for nodes in [vec![], vec![node("n"), node("m")], vec![node("")]] {
            assert_eq!(decode(&encode(&record(nodes)).unwrap()), None);
        }
        assert_eq!(decode(b"{"), None);
    }

    #[test]
    fn a_record_is_limited() {
        let empty = encode(&Record::default()).unwrap().len();
        for (more, code) in [(0, 0), (1, 413), (RECORD_BYTES_MAX * 9, 413)] {
            let version = "x".repeat(RECORD_BYTES_MAX - empty + more);
            let result = encode(&Record { version, ..Record::default() });
            assert_eq!(result.map_or_else(|error| error.code(), |_| 0), code);
        }
    }
}
