//! Settings under a key of a bucket on NATS.
//!
//! # Consistency
//! A load reads what was written last. A watch signals every change after it began, and once more
//! after a gap.
//!
//! # Durability
//! That of the bucket, which others make and write, as with
//! `nats kv put micro-config shop.json "$(cat shop.json)"`.
//!
//! # Limits
//! A document of [`DOCUMENT_BYTES_MAX`] bytes, in the format of the extension of its key, or JSON.
//! The key has letters, digits, `-`, `/`, `_`, `=` and dots.
//!
//! # When the server fails
//! A load fails with a 503 within 2 s, or 5 s if the server was asked already; a process that reads
//! again keeps what it had. One that starts waits 30 s for the server.
//!
//! # Configuration
//! `MICRO_CONFIG=nats://user:password@host:4222,host/bucket/key.json`.
//!
//! # Not supported
//! TLS to the server. Writing settings.
//!
//! # Tested against
//! NATS 2.15.1.

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
use crate::driver::{self, Begin, Bucket, Follower, is_key};

/// The longest first pause before a watch begins again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause before a watch begins again.
const PAUSE_MAX: Duration = Duration::from_millis(1500);

/// A document under a key of a bucket on NATS.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::config::{self, Config};
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
///
/// # async fn example() -> micro::Result<()> {
/// let server = Server::new("10.0.0.1", 4222);
/// let nats = Arc::new(driver::Nats::open(&server, &TaskTracker::new())?);
/// let source = config::Nats::new(nats, "micro-config", "shop.json")?;
/// let config = Config::load(&[Arc::new(source)]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Nats {
    bucket: Arc<Bucket>,
    key: String,
    name: String,
    format: Format,
}

impl Nats {
    /// Names a key of a bucket; nothing is read yet.
    ///
    /// # Errors
    /// 412 for names that no bucket or key can have, and for an extension without a format.
    pub fn new(nats: Arc<driver::Nats>, bucket: &str, key: &str) -> Result<Self> {
        let name = format!("nats://{}/{bucket}/{key}", nats.server());
        let refused = |why: String| {
            Error::precondition_failed("micro.config", format!("the settings in {name}: {why}"))
        };
        if !is_key(key) {
            let why = "a key has parts of letters, digits, `-`, `/`, `_` and `=` between its dots";
            return Err(refused(why.to_owned()));
        }
        let format = Format::of(key.rsplit_once('.').map(|(_, extension)| extension));
        let format = format.map_err(refused)?;
        let bucket = Arc::new(Bucket::found(nats, bucket)?);
        Ok(Self { bucket, key: key.to_owned(), name, format })
    }

    async fn document(&self) -> Result<Document> {
        let broken = |what: String| {
            let detail = format!("the settings in {}: {what}", self.name);
            Error::precondition_failed("micro.config", detail)
        };
        let entry = self.bucket.read(&self.key).await.map_err(|error| {
            let detail = format!("the settings in {}: {}", self.name, error.detail());
            let retry = error.retry();
            Error::new("micro.config", error.code(), detail).with_retry(retry).with_source(error)
        })?;
        let value = entry.and_then(|entry| entry.value);
        let value = value.ok_or_else(|| broken("there is no such key".to_owned()))?;
        let text = str::from_utf8(&value).map_err(|error| broken(error.to_string()))?;
        self.format.document(text, &self.name).map_err(broken)
    }
}

impl Source for Nats {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(self.document())
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(async {
            let (signal, changes) = Signal::channel();
            let (bucket, key) = (Arc::clone(&self.bucket), self.key.clone());
            let follower = Follower::begin(&bucket, &key, Begin::Next).await?;
            Ok(Some(changes.with_driver(follow(bucket, key, follower, signal))))
        })
    }
}

/// Signals every change until nobody watches; begins again when the server is back.
async fn follow(bucket: Arc<Bucket>, key: String, first: Follower, signal: Signal) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    let mut follower = first;
    loop {
        while follower.next().await.is_ok() {
            backoff.reset();
            if !signal.send() {
                return;
            }
        }
        // Progress: the server is away, or asked at growing intervals.
        follower = loop {
            clock::sleep(backoff.next_delay()).await;
            match Follower::begin(&bucket, &key, Begin::Next).await {
                Ok(follower) => break follower,
                Err(error) => tracing::debug!(%error, "a watch of settings waits"),
            }
        };
        // What changed while nobody watched.
        if !signal.send() {
            return;
        }
    }
}
