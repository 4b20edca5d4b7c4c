//! What a store holds, kept in memory by following it.

use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::AcqRel;
#[cfg(feature = "jwt")]
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::shutdown::TaskTracker;
use crate::store;
use crate::store::Query;
use crate::store::Record;

/// Pause between looks at a store that has no watch.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// A value made of all records of a handle.
///
/// A change that cannot be read leaves the value as it was: what protects must not end because
/// somebody wrote nonsense. It is logged.
pub(super) struct Mirror<T> {
    handle: store::Handle,
    build: fn(Vec<Record>) -> Result<T>,
    records_max: usize,
    value: ArcSwap<T>,
    epoch: AtomicU64,
    /// Held while the store is read, so that an older reading never replaces a younger one.
    turn: Mutex<()>,
}

impl<T: Send + Sync + 'static> Mirror<T> {
    /// Reads everything and follows changes as a task of `tasks`, until all clones are dropped.
    pub(super) async fn open(
        handle: store::Handle,
        records_max: usize,
        build: fn(Vec<Record>) -> Result<T>,
        tasks: &TaskTracker,
    ) -> Result<Arc<Self>> {
        let watch = watch(&handle).await?;
        let value = ArcSwap::from_pointee(build(read(&handle, records_max).await?)?);
        let (epoch, turn) = (AtomicU64::new(0), Mutex::new(()));
        let mirror = Arc::new(Self { handle, build, records_max, value, epoch, turn });
        let weak = Arc::downgrade(&mirror);
        tasks.spawn("auth mirror", follow(weak, mirror.handle.clone(), watch));
        Ok(mirror)
    }

    pub(super) fn handle(&self) -> &store::Handle {
        &self.handle
    }

    pub(super) fn value(&self) -> arc_swap::Guard<Arc<T>> {
        self.value.load()
    }

    /// Returns a number that changes with every change of the value.
    #[cfg(feature = "jwt")]
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    /// Reads everything again.
    pub(super) async fn reload(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let value = (self.build)(read(&self.handle, self.records_max).await?)?;
        self.value.store(Arc::new(value));
        // After the value: who sees the number sees what it stands for.
        self.epoch.fetch_add(1, AcqRel);
        Ok(())
    }
}

async fn watch(handle: &store::Handle) -> Result<Option<store::Watch>> {
    if handle.capabilities().watch { handle.watch("").await.map(Some) } else { Ok(None) }
}

async fn read(handle: &store::Handle, records_max: usize) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut scan = handle.scan(Query::new());
    while let Some(record) = scan.next().await? {
        if records.len() >= records_max {
            let detail = format!("{} holds more than {records_max} records", handle.space());
            return Err(Error::too_many_requests(super::ERROR_ID, detail));
        }
        records.push(record);
    }
    Ok(records)
}

async fn follow<T: Send + Sync + 'static>(
    mirror: Weak<Mirror<T>>,
    handle: store::Handle,
    mut watched: Option<store::Watch>,
) {
    let pauses = || Backoff::new(Duration::from_millis(100), POLL_INTERVAL);
    let (mut pause, mut behind) = (pauses(), false);
    loop {
        match &mut watched {
            _ if behind => clock::sleep(pause.next_delay()).await,
            Some(watch) => {
                if watch.next().await.is_none() {
                    watched = None;
                }
            }
            None => clock::sleep(POLL_INTERVAL).await,
        }
        let Some(mirror) = mirror.upgrade() else { return };
        if watched.is_none() {
            // The watch is made before the store is read, so that no change falls between.
            watched = watch(&handle).await.unwrap_or_default();
        }
        // Changes that have arrived together are read together.
        while watched.as_mut().is_some_and(|watch| watch.try_next().is_some()) {}
        let reloaded = mirror.reload().await;
        behind = reloaded.is_err();
        match reloaded {
            Ok(()) => pause = pauses(),
            Err(error) => {
                tracing::error!(%error, space = %handle.space(), "keeping what was read before");
            }
        }
    }
}

impl<T> fmt::Debug for Mirror<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("handle", &self.handle).finish_non_exhaustive()
    }
}
