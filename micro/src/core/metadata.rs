//! Key-value pairs that travel with a call or a message.

use std::cmp::Ordering;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::METADATA_BYTES_MAX;
use crate::core::limits::METADATA_ENTRIES_MAX;
use crate::core::limits::METADATA_KEY_BYTES_MAX;
use crate::core::limits::METADATA_VALUE_BYTES_MAX;

/// Parts of keys whose values `Debug` masks.
const SECRET_PARTS: [&str; 8] =
    ["authorization", "cookie", "token", "secret", "password", "passwd", "credential", "api-key"];

/// A small map from case-insensitive keys to values, bounded and in key order.
///
/// Keys are stored in lower case. They consist of the characters of an HTTP header name, values of
/// any text without control characters, so that every transport can carry every entry unchanged.
/// The constants `METADATA_*` of [`limits`](crate::core::limits) bound entries and bytes. An empty
/// map owns no memory.
///
/// `Debug` masks the values of keys that look secret, such as `authorization`.
///
/// ```
/// use micro::core::metadata::Metadata;
///
/// let mut metadata = Metadata::new();
/// metadata.insert("Tenant", "acme")?;
/// assert_eq!(metadata.get("tenant"), Some("acme"));
/// # Ok::<(), micro::core::error::Error>(())
/// ```
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Metadata {
    /// Invariant: strictly ascending by key, every entry valid, within the limits.
    entries: Vec<(String, String)>,
}

impl Metadata {
    /// Makes an empty map without allocating.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Returns the value of a key, in whatever case the key is written.
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.find(key).ok()?;
        self.entries.get(index).map(|entry| entry.1.as_str())
    }

    /// Tells whether the map has a key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets a key and returns the value it had.
    ///
    /// # Errors
    ///
    /// Returns a 400 and changes nothing if the key or the value has a forbidden character, or if
    /// the entry does not fit the limits.
    pub fn insert(
        &mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Option<String>> {
        let (key, value) = (valid_key(key.into())?, valid_value(value.into())?);
        let found = self.find(&key);
        let freed = found.ok().and_then(|index| self.entries.get(index)).map_or(0, entry_bytes);
        if self.bytes() - freed + key.len() + value.len() > METADATA_BYTES_MAX {
            return Err(invalid(format_args!("more than {METADATA_BYTES_MAX} bytes")));
        }
        match found {
            Ok(index) => {
                let slot = self.entries.get_mut(index);
                Ok(slot.map(|entry| std::mem::replace(&mut entry.1, value)))
            }
            Err(_) if self.entries.len() >= METADATA_ENTRIES_MAX => {
                Err(invalid(format_args!("more than {METADATA_ENTRIES_MAX} entries")))
            }
            Err(index) => {
                self.entries.insert(index, (key, value));
                Ok(None)
            }
        }
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.find(key).ok().map(|index| self.entries.remove(index).1)
    }

    /// Sets every entry of `other`, which wins where both have a key.
    ///
    /// # Errors
    ///
    /// Returns a 400 if the limits are reached; the entries set before stay.
    pub fn extend(&mut self, other: &Self) -> Result<()> {
        if self.is_empty() {
            self.entries.clone_from(&other.entries);
            return Ok(());
        }
        for (key, value) in other {
            self.insert(key, value)?;
        }
        Ok(())
    }

    /// Keeps the entries for which `keep(key, value)` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.entries.retain(|(key, value)| keep(key, value));
    }

    /// Removes every entry.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Lists the entries in key order, keys in lower case.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.entries.iter())
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(entry_bytes).sum()
    }

    fn find(&self, key: &str) -> std::result::Result<usize, usize> {
        self.entries.binary_search_by(|entry| compare(&entry.0, key))
    }
}

/// Compares a stored key with one in any case.
fn compare(stored: &str, key: &str) -> Ordering {
    stored.bytes().cmp(key.bytes().map(|byte| byte.to_ascii_lowercase()))
}

fn entry_bytes(entry: &(String, String)) -> usize {
    entry.0.len() + entry.1.len()
}

fn valid_key(mut key: String) -> Result<String> {
    if key.is_empty() || key.len() > METADATA_KEY_BYTES_MAX {
        return Err(invalid(format_args!("a key of {} bytes", key.len())));
    }
    if !key.bytes().all(is_token_byte) {
        return Err(invalid(format_args!("forbidden character in key {key:?}")));
    }
    key.make_ascii_lowercase();
    Ok(key)
}

fn valid_value(value: String) -> Result<String> {
    if value.len() > METADATA_VALUE_BYTES_MAX {
        return Err(invalid(format_args!("a value of {} bytes", value.len())));
    }
    if value.chars().any(char::is_control) {
        // The value may be a secret: the error does not show it.
        return Err(invalid(format_args!("control character in a value")));
    }
    Ok(value)
}

/// Tells the characters of an HTTP field name (RFC 9110, `tchar`).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn invalid(detail: fmt::Arguments<'_>) -> Error {
    Error::bad_request("micro.metadata", detail)
}

/// Writes a key as Go writes the names of headers: each part between dashes begins with a capital
/// letter.
pub(crate) fn title_case(key: &str) -> String {
    let mut first = true;
    let written = |letter: char| {
        let upper = std::mem::replace(&mut first, letter == '-');
        if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    key.chars().map(written).collect()
}

/// Tells the names of values that nobody is to see.
pub(crate) fn is_secret(key: &str) -> bool {
    SECRET_PARTS.iter().any(|part| key.contains(part))
}

/// Iterator over the entries of a [`Metadata`] in key order.
#[derive(Clone, Debug)]
pub struct Iter<'a>(std::slice::Iter<'a, (String, String)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Metadata {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value)| (key, if is_secret(key) { "***" } else { value });
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor)
    }
}

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Metadata, A::Error> {
        let mut metadata = Metadata::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            metadata.insert(key, value).map_err(A::Error::custom)?;
        }
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn keys_are_case_insensitive_and_stored_in_lower_case() {
        let mut metadata = Metadata::new();
        assert_eq!(metadata.insert("X-Tenant", "a").unwrap(), None);
        assert_eq!(metadata.insert("x-tenANT", "b").unwrap(), Some("a".into()));
        assert_eq!(metadata.get("X-TENANT"), Some("b"));
        assert_eq!(metadata.iter().collect::<Vec<_>>(), [("x-tenant", "b")]);
        assert_eq!(metadata.remove("X-tenant"), Some("b".into()));
        assert!(metadata.is_empty());
    }

    #[test]
    fn an_empty_map_owns_no_memory() {
        assert_eq!(Metadata::new().entries.capacity(), 0);
    }

    #[test]
    fn what_http_cannot_carry_is_refused() {
        let mut metadata = Metadata::new();
        for key in ["", "a b", "a:b", "a\n", "\u{e4}", "a\0"] {
            assert_eq!(metadata.insert(key, "v").unwrap_err().code(), 400, "{key:?}");
        }
        for value in ["a\r\nset-cookie: x", "\0", "\u{7f}", "\u{85}"] {
            assert_eq!(metadata.insert("k", value).unwrap_err().code(), 400, "{value:?}");
        }
        assert!(metadata.is_empty());
        assert!(metadata.insert("k", "gr\u{fc}n").is_ok());
    }

    #[test]
    fn each_limit_holds_at_the_limit_and_refuses_one_more() {
        let mut metadata = Metadata::new();
        let (key, value) =
            ("k".repeat(METADATA_KEY_BYTES_MAX), "v".repeat(METADATA_VALUE_BYTES_MAX));
        assert!(metadata.insert(format!("{key}k"), "").is_err());
        assert!(metadata.insert("k", format!("{value}v")).is_err());
        assert!(metadata.insert(key, value).is_ok());
        let rest = METADATA_BYTES_MAX - metadata.bytes() - 1;
        assert!(metadata.insert("r", "v".repeat(rest + 1)).is_err());
        assert!(metadata.insert("r", "v".repeat(rest)).is_ok());
        assert_eq!(metadata.bytes(), METADATA_BYTES_MAX);
        assert!(metadata.insert("r", "v".repeat(rest)).is_ok());
        assert!(metadata.insert("s", "").is_err());

        let mut metadata = Metadata::new();
        for index in 0..METADATA_ENTRIES_MAX {
            metadata.insert(format!("k{index}"), "").unwrap();
        }
        assert!(metadata.insert("one-more", "").is_err());
        assert!(metadata.insert("k0", "again").is_ok());
    }

    #[test]
    fn debug_masks_secrets() {
        let mut metadata = Metadata::new();
        for key in ["Authorization", "set-cookie", "x-api-key", "Refresh-Token", "db-password"] {
            metadata.insert(key, "hunter2").unwrap();
        }
        metadata.insert("tenant", "acme").unwrap();
        let shown = format!("{metadata:?}");
        assert!(!shown.contains("hunter2") && shown.contains("acme"), "{shown}");
    }

    #[test]
    fn a_map_from_a_peer_is_checked() {
        let good: Metadata = serde_json::from_str(r#"{"B":"2","a":"1"}"#).unwrap();
        assert_eq!(serde_json::to_string(&good).unwrap(), r#"{"a":"1","b":"2"}"#);
        assert!(serde_json::from_str::<Metadata>(r#"{"a":"\u0000"}"#).is_err());
    }

    proptest! {
        #[test]
        fn behaves_as_a_sorted_map(ops in prop::collection::vec(("[a-cA-C]{1,2}", "[x-z]{0,2}", any::<bool>()), 0..60)) {
            let (mut metadata, mut model) = (Metadata::new(), BTreeMap::new());
            for (key, value, insert) in ops {
                let lower = key.to_ascii_lowercase();
                if insert {
                    prop_assert_eq!(metadata.insert(key, value.clone()).unwrap(), model.insert(lower, value));
                } else {
                    prop_assert_eq!(metadata.remove(&key), model.remove(&lower));
                }
            }
            let model: Vec<_> = model.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            prop_assert_eq!(metadata.iter().collect::<Vec<_>>(), model);
        }
    }
}
