//! A document in a key of Consul.
//!
//! # Consistency
//! A load reads what the leader has. A watch waits at the agent and signals once for any number of
//! changes; after a gap it signals, too.
//!
//! # Durability
//! That of Consul.
//!
//! # Limits
//! 512 KiB, which is what Consul takes.
//!
//! # When the server fails
//! A load is a 503 within 4 s; a process keeps the settings that it has, and its watch goes on.
//!
//! # Configuration
//! `MICRO_CONFIG=consul://:token@127.0.0.1:8500/shop/settings.toml`: the agent and the key, whose
//! ending says the format as that of a file does.
//!
//! # Not supported
//! A tree of keys as one document, TLS to the agent.
//!
//! # Tested against
//! A stand-in that answers as Consul's description of its HTTP API says. No real Consul.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Source;
use crate::config::changes::{Changes, Signal};
use crate::config::document::Document;
use crate::config::format::Format;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::driver;

/// The longest first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_BASE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: an agent that returns is asked within it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A key that holds a document, at most [`DOCUMENT_BYTES_MAX`](crate::config::DOCUMENT_BYTES_MAX)
/// bytes long.
///
/// The format is that of the key's ending, as for files; JSON without one. A key that is not there
/// is an error: a key that somebody wrote down is meant.
#[derive(Clone, Debug)]
pub struct Consul {
    consul: Arc<driver::Consul>,
    key: String,
    name: String,
    format: Format,
}

impl Consul {
    /// Names a key; nothing is read yet.
    ///
    /// # Errors
    /// 412 for an ending without a format.
    pub fn new(consul: Arc<driver::Consul>, key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        let name = format!("consul://{}/{key}", consul.server());
        let format = Format::of(Path::new(&key).extension().and_then(|ending| ending.to_str()));
        let format = format.map_err(|what| broken(&name, &what))?;
        Ok(Self { consul, key, name, format })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Document> {
        let text = str::from_utf8(bytes).map_err(|error| broken(&self.name, &error))?;
        self.format.document(text, &self.name).map_err(|what| broken(&self.name, &what))
    }
}

fn broken(name: &str, what: &dyn std::fmt::Display) -> Error {
    Error::precondition_failed("micro.config", format!("the settings in {name}: {what}"))
}

impl Source for Consul {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(async {
            match self.consul.read(&self.key).await {
                Ok(Some(bytes)) => self.parse(&bytes),
                Ok(None) => Err(broken(&self.name, &"there is no such key")),
                Err(error) => {
                    let detail = format!("the settings in {}: {}", self.name, error.detail());
                    Err(Error::new("micro.config", error.code(), detail).with_retry(error.retry()))
                }
            }
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(async {
            // Whatever is later than this is signalled.
            let (seen, index) = self.consul.read_after(&self.key, 0).await?;
            let (signal, changes) = Signal::channel();
            let (consul, key) = (Arc::clone(&self.consul), self.key.clone());
            let follow = async move {
                let (mut seen, mut index) = (seen, index);
                let mut backoff = Backoff::new(PAUSE_BASE, PAUSE_MAX);
                loop {
                    match consul.read_after(&key, index).await {
                        Ok((found, next)) => {
                            index = next;
                            if found != seen && !signal.send() {
                                return;
                            }
                            seen = found;
                            if index == 0 {
                                // Nothing to wait from: it would be answered at once.
                                clock::sleep(backoff.next_delay()).await;
                            } else {
                                backoff.reset();
                            }
                        }
                        Err(_away) => {
                            index = 0;
                            clock::sleep(backoff.next_delay()).await;
                        }
                    }
                }
            };
            Ok(Some(changes.with_driver(follow)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DOCUMENT_BYTES_MAX;
    use crate::core::shutdown::TaskTracker;
    use crate::driver::Server;

    #[tokio::test]
    async fn the_ending_of_the_key_says_the_format_and_faults_name_it() {
        let tasks = TaskTracker::new();
        let consul = driver::Consul::open(&Server::new("127.0.0.1", 1), &tasks).unwrap();
        let source = |key: &str| Consul::new(Arc::new(consul.clone()), key).unwrap();
        let document = source("shop/a.json").parse(br#"{"a": 1}"#).unwrap();
        assert_eq!(document.value, serde_json::json!({"a": 1}));
        let long = vec![b' '; DOCUMENT_BYTES_MAX + 1];
        for (bytes, part) in [(&b"{"[..], "EOF"), (b"\xff", "utf-8"), (&long, "longer")] {
            let error = source("shop/a").parse(bytes).unwrap_err();
            assert!(error.detail().contains(part) && error.detail().contains("shop/a"), "{error}");
        }
        assert_eq!(Consul::new(Arc::new(consul.clone()), "a.ini").unwrap_err().code(), 412);
        let error = source("shop/a.json").load().await.unwrap_err();
        assert_eq!(error.code(), 503);
        assert!(error.detail().contains("shop/a.json"), "{error}");
    }
}
