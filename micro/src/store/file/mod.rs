//! Store in a file of one process, with atomic and durable writes (redb).
//!
//! Consistency: linearizable within the process, and no other process can open the file meanwhile.
//! Durability: a write returns when it is on the disk (`fsync`); one that did not return is there
//! whole or not at all. Writes that wait together are made durable together. Limits: the length of a
//! value, the writes that wait and the cache as [`StoreLimits`] says; 1,024 watchers; the disk.
//! Failure behaviour: an error of the disk fails the writes of its batch, and the file is opened
//! again for the next. A file that was not closed is repaired when it is opened. Times to live are
//! dates: they pass while no process runs, and a clock that is set changes them. What is over is
//! removed by later writes; the file keeps its length. Configuration: the path.

mod layout;
mod queue;
mod view;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use redb::Database;
use tokio::sync::watch;

use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;
use crate::core::limits::StoreLimits;
use crate::store::Capabilities;
use crate::store::ERROR_ID;
use crate::store::Key;
use crate::store::Page;
use crate::store::Query;
use crate::store::Record;
use crate::store::Space;
use crate::store::Store;
use crate::store::Version;
use crate::store::Watch;
use crate::store::Write;
use crate::store::file::queue::{Change, Queue};
use crate::store::hub::Hub;

/// The shortest wait before it is looked again whether a time is over.
const EXPIRY_WAIT_MIN: Duration = Duration::from_millis(1);

/// A store in a file; clones share it.
#[derive(Clone)]
pub struct File {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    limits: StoreLimits,
    slot: Mutex<Slot>,
    queue: Queue,
    hub: Mutex<Hub>,
    /// When the next record ends, in milliseconds since 1970.
    next_end: watch::Sender<Option<u64>>,
}

/// The file.
enum Slot {
    Open(Arc<Database>),
    /// An error of the disk closed it; the next use opens it again.
    Broken,
    Closed,
}

impl File {
    /// Opens a file, or makes it with its directories, for this user alone.
    ///
    /// # Errors
    /// 412 when another process has it open or it is no store, 503 when it cannot be opened.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, StoreLimits::default()).await
    }

    /// Opens a file with other limits.
    ///
    /// # Errors
    /// As [`File::open`].
    pub async fn open_with(path: impl Into<PathBuf>, limits: StoreLimits) -> Result<Self> {
        let path = path.into();
        let opened = blocking(move || {
            let database = layout::open(&path, &limits)?;
            let end = layout::next_end(&database).map_err(|error| failed(&path, "read", error))?;
            Ok((path, limits, database, end))
        });
        let (path, limits, database, end) = opened.await?;
        let shared = Shared {
            path,
            queue: Queue::new(limits.pending_writes_max),
            limits,
            slot: Mutex::new(Slot::Open(Arc::new(database))),
            hub: Mutex::default(),
            next_end: watch::Sender::new(end),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns where the store of a service is by default: below the user's state directory.
    ///
    /// # Errors
    /// 412 when neither `XDG_STATE_HOME` nor `HOME` is set.
    pub fn default_path(service: &str) -> Result<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        let base = base.ok_or_else(|| {
            let detail = "the store `file` needs a path, since there is no HOME: `file:///path`";
            Error::precondition_failed(ERROR_ID, detail)
        })?;
        Ok(Self::within(base.join("micro/store"), service))
    }

    /// Returns where the store of a service is in a directory.
    pub fn within(directory: impl AsRef<Path>, service: &str) -> PathBuf {
        directory.as_ref().join(file_name(service))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs a reader on a thread where it may wait for the disk.
    async fn view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let database = shared.database()?;
            read(&database).map_err(|error| {
                shared.note(&error);
                failed(&shared.path, "read", error).with_retry(Retry::Safe)
            })
        })
        .await
    }
}

impl Shared {
    /// Returns the file, opened again if it has to be. May wait for the disk.
    fn database(&self) -> Result<Arc<Database>> {
        let mut slot = self.slot();
        match &*slot {
            Slot::Open(database) => Ok(Arc::clone(database)),
            Slot::Closed => Err(Error::unavailable(ERROR_ID, "the store is closed")),
            Slot::Broken => {
                let database = Arc::new(layout::open(&self.path, &self.limits)?);
                *slot = Slot::Open(Arc::clone(&database));
                Ok(database)
            }
        }
    }

    /// Gives the file up after an error that it does not recover from.
    fn note(&self, error: &redb::Error) {
        if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo) {
            let mut slot = self.slot();
            if matches!(*slot, Slot::Open(_)) {
                *slot = Slot::Broken;
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes records when their time is over, as long as it is polled.
    async fn expire(self: Arc<Self>) {
        let mut next_end = self.next_end.subscribe();
        loop {
            let next = *next_end.borrow_and_update();
            let wait = async {
                match next {
                    None => std::future::pending().await,
                    Some(end) => {
                        let left = Duration::from_millis(end).saturating_sub(clock::unix_now());
                        clock::sleep(left.max(EXPIRY_WAIT_MIN)).await;
                    }
                }
            };
            tokio::select! {
                // The sender lives as long as `self`.
                _ = next_end.changed() => continue,
                () = wait => {}
            }
            // A failing disk is not asked again at once: the next write does.
            if queue::submit(&self, Change::Sweep).await.is_err()
                && next_end.changed().await.is_err()
            {
                return;
            }
        }
    }
}

/// Runs work that waits for the disk apart from the tasks of the process.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::internal(ERROR_ID, "the file of the store failed").with_source(error))
    })
}

fn failed(path: &Path, what: &str, error: redb::Error) -> Error {
    let detail = format!("cannot {what} the store {}: {error}", path.display());
    Error::unavailable(ERROR_ID, detail).with_source(error)
}

/// Turns the name of a service into the name of a file; different names stay different.
fn file_name(service: &str) -> String {
    let mut out = String::new();
    for byte in service.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            // A dot is kept where the name cannot become a hidden file.
            b'.' if !out.is_empty() => out.push('.'),
            _ => out.push_str(&format!("~{byte:02x}")),
        }
    }
    out.push_str(".redb");
    out
}

impl Store for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            linearizable: true,
            ttl: true,
            cas: true,
            watch: true,
            watch_expiry: true,
            value_bytes_max: self.shared.limits.value_bytes_max,
        }
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        let (space, key) = (space.clone(), key.clone());
        Box::pin(self.view(move |database| view::read(database, &space, &key)))
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            write.check(self.name(), &self.capabilities())?;
            queue::submit(&self.shared, Change::Write(space.clone(), write)).await
        })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let change = Change::Delete(space.clone(), key.clone(), version);
            queue::submit(&self.shared, change).await.map(drop)
        })
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        let (space, query) = (space.clone(), query.clone());
        Box::pin(self.view(move |database| view::list(database, &space, &query)))
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let watch = self.shared.hub().watch(space, prefix)?;
            Ok(watch.with_driver(Arc::clone(&self.shared).expire()))
        })
    }

    /// Waits for the writes that were accepted, then lets other processes open the file.
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.queue.close().await;
            self.shared.hub().close();
            let slot = std::mem::replace(&mut *self.shared.slot(), Slot::Closed);
            blocking(move || {
                drop(slot);
                Ok(())
            })
            .await
        })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
