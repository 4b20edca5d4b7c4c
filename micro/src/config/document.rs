//! What a source holds: values, and where each is set.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// The document of one source at one time.
#[derive(Clone, Default, PartialEq)]
pub struct Document {
    pub(super) value: Value,
    pub(super) is_text: bool,
    origins: BTreeMap<String, String>,
}

impl Document {
    /// Takes an object; its keys are set in the source as a whole.
    pub fn new(value: Value) -> Self {
        Self { value, is_text: false, origins: BTreeMap::new() }
    }

    /// Says that every scalar is text, to be read as whatever type the program asks for.
    #[must_use]
    pub fn of_text(mut self) -> Self {
        self.is_text = true;
        self
    }

    /// Says where exactly a dotted key is set, such as `app.json:3` or the name of a variable; it
    /// holds for the keys below it too.
    #[must_use]
    pub fn with_origin(mut self, key: impl Into<String>, origin: impl Into<String>) -> Self {
        self.origins.insert(key.into(), origin.into());
        self
    }

    /// Returns where a key, or the closest above it, is set.
    pub(super) fn origin(&self, key: &str) -> Option<&str> {
        let above = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        above.into_iter().find_map(|key| self.origins.get(key)).map(String::as_str)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        let keys = self.value.as_object().map(serde_json::Map::len).unwrap_or_default();
        f.debug_struct("Document").field("keys", &keys).finish_non_exhaustive()
    }
}
