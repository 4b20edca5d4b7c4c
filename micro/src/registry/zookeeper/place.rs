//! Where records are and what is in them.

use crate::core::error::{Error, Result};
use crate::registry::check::ERROR_ID;
use crate::registry::record::Record;

/// Where the records are.
const PREFIX: &str = "/micro/registry";

/// Bytes of a record: what servers take as they come, without what stands around it.
const VALUE_BYTES_MAX: usize = 1_000_000;

/// The paths of a registry: `/micro/registry/{service}/{node}`.
#[derive(Clone, Debug)]
pub(super) struct Place {
    prefix: String,
}

impl Place {
    /// Makes the paths of a namespace; empty for none.
    pub(super) fn within(namespace: &str) -> Self {
        let parts = namespace.split('/').filter(|part| !part.is_empty());
        let namespace: String = parts.map(|part| format!("/{}", escape(part))).collect();
        Self { prefix: namespace + PREFIX }
    }

    /// Returns the path below which all services are.
    pub(super) fn root(&self) -> &str {
        &self.prefix
    }

    /// Returns the path below which the nodes of a service are.
    pub(super) fn service(&self, service: &str) -> String {
        format!("{}/{}", self.prefix, escape(service))
    }

    /// Returns the path of a node.
    pub(super) fn node(&self, service: &str, node: &str) -> String {
        format!("{}/{}/{}", self.prefix, escape(service), escape(node))
    }

    /// Returns whether a path is that of a node.
    pub(super) fn is_node(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/'));
        below.is_some_and(|below| below.matches('/').count() == 1)
    }
}

/// Writes a name as a part of a path; different names stay different.
fn escape(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'@' | b':') {
            part.push(char::from(byte));
        } else {
            part.push_str(&format!("%{byte:02X}"));
        }
    }
    part
}

/// Reads a name from a part of a path; `None` for what is no name.
pub(super) fn unescape(part: &str) -> Option<String> {
    let (mut name, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            name.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(name).ok()
}

/// Writes a record as the content of its node.
///
/// # Errors
/// 413 when it is too long.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(record).map_err(|error| {
        let detail = format!("the record of {} cannot be written", record.name);
        Error::bad_request(ERROR_ID, detail).with_source(error)
    })?;
    if json.len() > VALUE_BYTES_MAX {
        let (name, bytes) = (&record.name, json.len());
        let detail = format!("the record of {name} has {bytes} bytes, at most {VALUE_BYTES_MAX}");
        return Err(Error::too_large(ERROR_ID, detail));
    }
    Ok(json)
}

/// Reads the record of one node; `None` for what is none.
pub(super) fn decode(content: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(content).ok()?;
    let [node] = record.nodes.as_slice() else { return None };
    (!record.name.is_empty() && !node.id.is_empty()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_paths_and_names_again() {
        for name in ["greeter", ".", "..", "a/b", "a-b", "%2F", "na\u{fc}me", "\u{1f980} \\"] {
            let part = escape(name);
            assert!(!part.contains(['/', '.', ' ']), "{part}");
            assert_eq!(unescape(&part).as_deref(), Some(name));
        }
        assert_eq!(unescape("%f"), None);
        let place = Place::within("a/b.c");
        assert_eq!(place.node("com/shop", "1"), "/a/b%2Ec/micro/registry/com%2Fshop/1");
        assert!(place.is_node(&place.node("s", "n")) && !place.is_node(&place.service("s")));
    }

    #[test]
    fn a_record_is_limited() {
        let empty = encode(&Record::default()).unwrap().len();
        for (more, code) in [(0, 0), (1, 413), (VALUE_BYTES_MAX * 9, 413)] {
            let version = "x".repeat(VALUE_BYTES_MAX - empty + more);
            let result = encode(&Record { version, ..Record::default() });
            assert_eq!(result.map_or_else(|error| error.code(), |_| 0), code);
        }
    }
}
