//! The keys of an issuer, fetched again and again within bounds.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::sync::Notify;

use crate::auth::ERROR_ID;
use crate::auth::jwt::REFETCH_INTERVAL_MIN;
use crate::auth::jwt::REFRESH_INTERVAL;
use crate::auth::jwt::STALE_MAX;
use crate::auth::jwt::claims::Reason;
use crate::auth::jwt::key::Keys;
use crate::auth::jwt::key::keys;
use crate::auth::jwt::source::KeySource;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::shutdown::TaskTracker;

/// How long one look may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys that are known.
#[derive(Debug)]
pub(super) struct Ring {
    source: Arc<dyn KeySource>,
    known: ArcSwap<Known>,
    epoch: AtomicU64,
    wanted: Notify,
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Known {
    keys: Keys,
    fetched: Instant,
}

impl Ring {
    /// Fetches the keys and goes on doing so as a task of `tasks`.
    pub(super) async fn open(source: Arc<dyn KeySource>, tasks: &TaskTracker) -> Result<Arc<Self>> {
        let ring = Arc::new(Self {
            known: ArcSwap::from_pointee(Known { keys: Keys::new(), fetched: clock::now() }),
            source,
            epoch: AtomicU64::new(0),
            wanted: Notify::new(),
            turn: Mutex::new(()),
        });
        ring.fetch().await?;
        let weak = Arc::downgrade(&ring);
        tasks.spawn("auth keys", async move {
            // Progress: each turn waits at least the pause between two looks.
            loop {
                let next = clock::after(clock::now(), REFETCH_INTERVAL_MIN);
                clock::sleep_until(next).await;
                let Some(ring) = weak.upgrade() else { return };
                let due = clock::after(ring.known.load().fetched, REFRESH_INTERVAL);
                // A failed look is repeated after the pause, not after the interval.
                let due = due.max(next);
                let _either = clock::timeout_at(due, ring.wanted.notified()).await;
                if let Err(error) = ring.fetch().await {
                    tracing::warn!(%error, "the keys could not be fetched; keeping those known");
                }
            }
        });
        Ok(ring)
    }

    /// Fetches the keys at once.
    pub(super) async fn fetch(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let json = clock::timeout(FETCH_TIMEOUT, self.source.fetch()).await;
        let json = json.map_err(|_elapsed| Error::timeout(ERROR_ID, "the keys took too long"))?;
        let keys = keys(&json?)?;
        self.known.store(Arc::new(Known { keys, fetched: clock::now() }));
        self.epoch.fetch_add(1, AcqRel);
        Ok(())
    }

    /// Returns what the source publishes, without taking it.
    pub(super) async fn published(&self) -> Result<String> {
        self.source.fetch().await
    }

    /// Returns a number that changes with every look.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    /// Returns whether the keys are too old to be trusted.
    pub(super) fn is_stale(&self) -> bool {
        clock::now() > clock::after(self.known.load().fetched, STALE_MAX)
    }

    /// Checks a signature by the key of this id; one that is unknown is looked for in the
    /// background.
    pub(super) fn verify(
        &self,
        (kid, algorithm): (&str, &str),
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Reason> {
        if self.is_stale() {
            return Err(Reason::NoKeys);
        }
        let known = self.known.load();
        let Some(key) = known.keys.get(kid) else {
            self.wanted.notify_one();
            return Err(Reason::UnknownKey);
        };
        if key.algorithm() != algorithm {
            return Err(Reason::WrongAlgorithm);
        }
        if key.verifies(message, signature) { Ok(()) } else { Err(Reason::BadSignature) }
    }
}
