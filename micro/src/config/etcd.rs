//! Settings under a key of etcd.
//!
//! # Consistency
//! A load reads what was written last. A watch signals every change after it began, in whatever
//! time it was without a server.
//!
//! # Durability
//! That of etcd: what was written is on the disks of a majority of the members. Others write it, as
//! with `etcdctl put /micro/config/shop.json "$(cat shop.json)"`.
//!
//! # Limits
//! A document of [`DOCUMENT_BYTES_MAX`](crate::config::DOCUMENT_BYTES_MAX) bytes, in the format of
//! the extension of its key, or JSON. A key that is not there is an error: one that somebody wrote
//! down is meant.
//!
//! # When the server fails
//! A load fails within 3 s with a 503; a process that reads again keeps what it had. One that starts
//! waits 30 s for the server. A watch goes on when a member is back.
//!
//! # Configuration
//! `MICRO_CONFIG=etcd://user:password@host:2379,host2/shop.json` for the key
//! `/micro/config/shop.json`, below which go-micro has its settings.
//!
//! # Not supported
//! TLS to the server. Writing settings. A document that go-micro spreads over several keys.
//!
//! # Tested against
//! etcd 3.4.23, one member.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Source;
use crate::config::changes::{Changes, Signal};
use crate::config::document::Document;
use crate::config::format::Format;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::driver::{self, etcd};

/// Where go-micro has its settings.
const PREFIX: &str = "/micro/config/";

/// Pauses between tries to learn the present after a gap.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A document under a key of etcd.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::config::{self, Config};
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
///
/// # async fn example() -> micro::Result<()> {
/// let server = Server::new("10.0.0.1", driver::Etcd::PORT);
/// let etcd = Arc::new(driver::Etcd::open(&server, &TaskTracker::new())?);
/// let config = Config::load(&[Arc::new(config::Etcd::new(etcd, "shop.json")?)]).await?;
/// # Ok(())
/// # }
/// ```
pub struct Etcd {
    etcd: Arc<driver::Etcd>,
    key: Bytes,
    name: String,
    format: Format,
}

impl Etcd {
    /// Names a key below `/micro/config/`; nothing is read yet.
    ///
    /// # Errors
    /// 412 for an extension without a format.
    pub fn new(etcd: Arc<driver::Etcd>, key: &str) -> Result<Self> {
        let name = format!("etcd://{}/{key}", etcd.server());
        let file = key.rsplit_once('/').map_or(key, |(_, file)| file);
        let format = Format::of(file.rsplit_once('.').map(|(_, extension)| extension));
        let format = format.map_err(|what| {
            Error::precondition_failed("micro.config", format!("the settings in {name}: {what}"))
        })?;
        Ok(Self { etcd, key: format!("{PREFIX}{key}").into(), name, format })
    }

    async fn document(&self) -> Result<Document> {
        let broken = |what: &dyn fmt::Display| {
            let detail = format!("the settings in {}: {what}", self.name);
            Error::precondition_failed("micro.config", detail)
        };
        let found = self.etcd.range(etcd::Span::key(self.key.clone()).range()).await;
        let found = found.map_err(|error| {
            let detail = format!("the settings in {}: {}", self.name, error.detail());
            let retry = error.retry();
            Error::new("micro.config", error.code(), detail).with_retry(retry).with_source(error)
        })?;
        let Some(found) = found.kvs.first() else { return Err(broken(&"there is no such key")) };
        let text = std::str::from_utf8(&found.value).map_err(|error| broken(&error))?;
        self.format.document(text, &self.name).map_err(|what| broken(&what))
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.name).finish()
    }
}

impl Source for Etcd {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(self.document())
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(async {
            let span = etcd::Span::key(self.key.clone());
            let moment = present(&self.etcd, &span).await?;
            let watcher = etcd::Watcher::new(Arc::clone(&self.etcd), span.clone(), moment);
            let (signal, changes) = Signal::channel();
            Ok(Some(changes.with_driver(follow(Arc::clone(&self.etcd), span, watcher, signal))))
        })
    }
}

async fn present(etcd: &driver::Etcd, span: &etcd::Span) -> Result<etcd::Moment> {
    Ok(etcd::Moment::of(etcd.range(span.range()).await?.header))
}

/// Signals changes until nobody watches. A stream that is not read holds a document at most.
async fn follow(
    etcd: Arc<driver::Etcd>,
    span: etcd::Span,
    mut watcher: etcd::Watcher,
    signal: Signal,
) {
    loop {
        if let etcd::Told::Gap = watcher.next().await {
            let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
            let moment = loop {
                match present(&etcd, &span).await {
                    Ok(moment) => break moment,
                    Err(error) => tracing::debug!(%error, "a watch of settings waits"),
                }
                clock::sleep(backoff.next_delay()).await;
            };
            watcher.go_on_from(moment);
        }
        if !signal.send() {
            return;
        }
    }
}
