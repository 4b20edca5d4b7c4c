//! Single settings as text: what flags give.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::Source;
use crate::config::document::Document;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;

/// A source of single settings, each a dotted key with its text and where it was written.
#[derive(Clone, Default)]
pub struct Flat {
    name: String,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    key: String,
    text: String,
    origin: String,
}

impl Flat {
    /// Names a source without settings.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), entries: Vec::new() }
    }

    /// Sets a dotted key such as `smtp.host`; a key set later wins.
    ///
    /// Text that begins with `{`, `[` or `"` is JSON; any other is read as the type asked for.
    pub fn set(
        &mut self,
        key: impl Into<String>,
        text: impl Into<String>,
        origin: impl Into<String>,
    ) {
        let key = key.into();
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry { key, text: text.into(), origin: origin.into() });
    }

    /// Returns the text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        let found = self.entries.iter().find(|entry| entry.key == key);
        found.map(|entry| entry.text.as_str())
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Builds the nested document.
    pub(super) fn document(&self) -> Result<Document> {
        let mut root = Map::new();
        for entry in &self.entries {
            let value = value_of(&entry.text).map_err(|error| {
                let detail = format!("{} is not well-formed JSON: {error}", entry.origin);
                Error::bad_request("micro.config", detail)
            })?;
            insert(&mut root, entry, value)?;
        }
        let document = Document::new(Value::Object(root)).of_text();
        let origin = |document: Document, entry: &Entry| {
            document.with_origin(entry.key.as_str(), entry.origin.as_str())
        };
        Ok(self.entries.iter().fold(document, origin))
    }
}

/// Keeps text as it is unless it says that it is JSON.
fn value_of(text: &str) -> serde_json::Result<Value> {
    if text.starts_with(['{', '[', '"']) {
        return serde_json::from_str(text);
    }
    Ok(Value::String(text.to_owned()))
}

fn insert(root: &mut Map<String, Value>, entry: &Entry, value: Value) -> Result<()> {
    let clash = || {
        let detail = format!("{} sets a part of `{}` that is a value", entry.origin, entry.key);
        Error::bad_request("micro.config", detail)
    };
    let (parents, leaf) = match entry.key.rsplit_once('.') {
        Some((parents, leaf)) => (Some(parents), leaf),
        None => (None, entry.key.as_str()),
    };
    let mut table = root;
    for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let next = table.entry(part).or_insert_with(|| Value::Object(Map::new()));
        table = next.as_object_mut().ok_or_else(clash)?;
    }
    if leaf.is_empty() || table.contains_key(leaf) {
        return Err(clash());
    }
    table.insert(leaf.to_owned(), value);
    Ok(())
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        let keys = self.entries.iter().map(|entry| &entry.key);
        f.debug_struct("Flat")
            .field("name", &self.name)
            .field("keys", &Keys(keys.collect()))
            .finish()
    }
}

struct Keys<'a>(Vec<&'a String>);

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl Source for Flat {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(async { self.document() })
    }
}
