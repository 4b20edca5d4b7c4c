//! Settings kept in the store of the process.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::{Changes, DOCUMENT_BYTES_MAX, Document, Signal, Source};
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::service::settings::SECTION;
use crate::store::{Handle, Query};

/// Pause between looks at a store that has no watch.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// A source that holds one record for each setting: under its dotted key, as JSON.
///
/// The settings of the process itself, below `micro`, cannot be kept there: they say which store
/// it is.
#[derive(Clone, Debug)]
pub struct Stored {
    handle: Handle,
    name: String,
}

impl Stored {
    /// Reads the records of a handle, all of them.
    pub fn new(handle: Handle) -> Self {
        let name = format!("store {}", handle.space());
        Self { handle, name }
    }

    async fn document(&self) -> Result<Document> {
        let mut root = Map::new();
        let mut keys = Vec::new();
        let mut scan = self.handle.scan(Query::new());
        let mut bytes = 0_usize;
        while let Some(record) = scan.next().await? {
            let refused = |what: &dyn std::fmt::Display| {
                let detail = format!("the setting `{}` in {}: {what}", record.key, self.name);
                Error::precondition_failed("micro.config", detail)
            };
            bytes = bytes.saturating_add(record.bytes());
            if bytes > DOCUMENT_BYTES_MAX {
                return Err(refused(&format_args!(
                    "all are longer than {DOCUMENT_BYTES_MAX} bytes"
                )));
            }
            if record.key.split('.').next() == Some(SECTION) {
                return Err(refused(&"settings of the process cannot be kept in its store"));
            }
            let value: Value = serde_json::from_slice(&record.value)
                .map_err(|error| refused(&"is not JSON").with_source(error))?;
            insert(&mut root, &record.key, value).map_err(|what| refused(&what))?;
            keys.push(record.key);
        }
        let document = Document::new(Value::Object(root));
        let origin = |document: Document, key: String| {
            let origin = format!("{} `{key}`", self.name);
            document.with_origin(key, origin)
        };
        Ok(keys.into_iter().fold(document, origin))
    }
}

fn insert(root: &mut Map<String, Value>, key: &str, value: Value) -> Result<(), &'static str> {
    const CLASH: &str = "another setting is a part of it, or it of another";
    let (parents, leaf) = key.rsplit_once('.').map_or((None, key), |(p, leaf)| (Some(p), leaf));
    let mut table = root;
    for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let next = table.entry(part).or_insert_with(|| Value::Object(Map::new()));
        table = next.as_object_mut().ok_or(CLASH)?;
    }
    if leaf.is_empty() || table.contains_key(leaf) {
        return Err(CLASH);
    }
    table.insert(leaf.to_owned(), value);
    Ok(())
}

impl Source for Stored {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(self.document())
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(async {
            let (signal, changes) = Signal::channel();
            if !self.handle.capabilities().watch {
                let poll = async move {
                    while signal.send() {
                        clock::sleep(POLL_INTERVAL).await;
                    }
                };
                return Ok(Some(changes.with_driver(poll)));
            }
            let mut watch = self.handle.watch("").await?;
            let pass = async move { while watch.next().await.is_some() && signal.send() {} };
            Ok(Some(changes.with_driver(pass)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::core::shutdown::TaskTracker;
    use crate::store::Memory;

    #[tokio::test(start_paused = true)]
    async fn settings_in_a_store_are_read_and_followed() {
        let handle = Handle::new(Memory::new()).table("config").unwrap();
        handle.put("smtp.port", &25).await.unwrap();
        handle.put("smtp.tls", &serde_json::json!({"verify": true})).await.unwrap();
        let source: Arc<dyn Source> = Arc::new(Stored::new(handle.clone()));
        let config = Config::load(&[source]).await.unwrap();
        assert!(config.get::<bool>("smtp.tls.verify").unwrap());
        assert_eq!(config.origin("smtp.port").unwrap(), "store micro/config `smtp.port`");

        let tasks = TaskTracker::new();
        config.follow(&tasks).await;
        let mut ports = config.watch::<u16>("smtp.port").unwrap();
        assert_eq!(ports.next().await, Some(25));
        handle.put("smtp.port", &"many").await.unwrap();
        handle.put("smtp.port", &465).await.unwrap();
        assert_eq!(ports.next().await, Some(465));
        tasks.abort_all();
    }

    #[tokio::test]
    async fn what_cannot_be_a_setting_is_refused_by_name() {
        for (first, second, part) in
            [("micro.store", None, "of the process"), ("a", Some("a.b"), "`a.b`")]
        {
            let handle = Handle::new(Memory::new());
            handle.put(first, &1).await.unwrap();
            if let Some(second) = second {
                handle.put(second, &2).await.unwrap();
            }
            let error = Stored::new(handle).load().await.unwrap_err();
            assert!(error.detail().contains(part), "{error}");
        }
    }
}
