//! A document in memory: defaults, and tests.

use serde_json::Value;

use crate::config::Source;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// A source that holds a document.
#[derive(Clone)]
pub struct Memory {
    name: String,
    document: Value,
}

impl Memory {
    /// Names a document, an object.
    pub fn new(name: impl Into<String>, document: Value) -> Self {
        Self { name: name.into(), document }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The document may hold secrets.
        f.debug_struct("Memory").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Value>> {
        Box::pin(async { Ok(self.document.clone()) })
    }
}
