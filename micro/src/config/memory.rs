//! A document in memory: defaults, and what a program changes while it runs.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::config::Source;
use crate::config::changes::{Changes, Signal};
use crate::config::document::Document;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// A source that holds a document; clones share it.
#[derive(Clone)]
pub struct Memory {
    name: Arc<str>,
    document: watch::Sender<Arc<Value>>,
}

impl Memory {
    /// Names a document, an object.
    pub fn new(name: impl Into<String>, document: Value) -> Self {
        let document = watch::Sender::new(Arc::new(document));
        Self { name: name.into().into(), document }
    }

    /// Replaces the document; whoever follows it hears of it.
    pub fn set(&self, document: Value) {
        self.document.send_replace(Arc::new(document));
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

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        let document = Arc::clone(&self.document.borrow());
        Box::pin(async move { Ok(Document::new(Value::clone(&document))) })
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        let mut document = self.document.subscribe();
        Box::pin(async move {
            let (signal, changes) = Signal::channel();
            let driver = async move { while document.changed().await.is_ok() && signal.send() {} };
            Ok(Some(changes.with_driver(driver)))
        })
    }
}
