//! The keys of records: where spaces end is told by the only slashes that are written as such.

use bytes::Bytes;

use crate::driver::etcd::Span;
use crate::store::Space;

/// Where the records are.
const PREFIX: &str = "/micro/store/";

/// The keys of a store.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Makes the keys of a namespace; empty for none.
    pub(super) fn within(namespace: &str) -> Self {
        let namespace = namespace.trim_matches('/');
        let slash = if namespace.is_empty() { "" } else { "/" };
        Self { prefix: format!("{slash}{namespace}{PREFIX}") }
    }

    /// Returns the key of a record: `/micro/store/{database}/{table}/{key}`, where names have no
    /// slash and the key has what it has, so that the order of keys is that of etcd.
    pub(super) fn key(&self, space: &Space, key: &str) -> Bytes {
        self.text(space, key).into()
    }

    pub(super) fn text(&self, space: &Space, key: &str) -> Vec<u8> {
        let mut text = self.space(space);
        text.push_str(key);
        text.into_bytes()
    }

    /// Spans the records of a space whose keys begin so.
    pub(super) fn prefix(&self, space: &Space, prefix: &str) -> Span {
        Span::prefix(&format!("{}{prefix}", self.space(space)))
    }

    /// Returns what a record of a space is called; `None` for what is no text.
    pub(super) fn name<'a>(&self, space: &Space, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key.strip_prefix(self.space(space).as_bytes())?).ok()
    }

    fn space(&self, space: &Space) -> String {
        let (database, table) = (part(space.database()), part(space.table()));
        format!("{}{database}/{table}/", self.prefix)
    }
}

/// Writes a name without a slash; different names stay different.
fn part(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(database: &str, table: &str) -> Space {
        Space::new(database, table).unwrap()
    }

    #[test]
    fn no_key_of_one_space_is_in_another() {
        let keys = Keys::within("");
        let names = ["a", "a/b", "a%2Fb", "..", "%", "b", "a/"];
        let mut spans = Vec::new();
        for database in names {
            for table in names {
                let span = keys.prefix(&space(database, table), "");
                spans.push(span.start);
            }
        }
        for (n, one) in spans.iter().enumerate() {
            for (m, other) in spans.iter().enumerate() {
                assert!(n == m || !one.starts_with(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_key_is_read_back() {
        let (keys, space) = (Keys::within("/x/"), space("a/b", "c%"));
        let key = keys.key(&space, "../d/e");
        assert_eq!(key, "/x/micro/store/a%2Fb/c%25/../d/e");
        assert_eq!(keys.name(&space, &key), Some("../d/e"));
        assert_eq!(keys.name(&space, b"/other"), None);
    }
}
