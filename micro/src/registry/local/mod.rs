//! Registry in a directory that the processes of one user on one machine share.
//!
//! One file holds one node, written whole and renamed into place. Consistency: a lookup reads the
//! directory and sees every registration that returned before it; watchers hear of changes within
//! tens of milliseconds. Durability: entries outlive nothing, a reboot ends them all.
//! Limits: 1 MiB for an entry, 100,000 files, services and nodes as `RegistryLimits` says.
//! Failure behaviour: an entry ends with its lease, and at once when its process does, however it
//! dies; where the system does not tell of changes the directory is polled. Watchers keep the nodes
//! they know while the directory is missing or unreadable, unless their process has ended, and
//! after it is back until the lease that they know of is over, at least for 7 s.
//! Configuration: the path. Not supported: other users, other machines.

mod directory;
mod entry;
mod mirror;
mod owner;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::TaskHandle;
use crate::core::shutdown::TaskTracker;
use crate::registry::Capabilities;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::check::ERROR_ID;
use crate::registry::check::RECORD_BYTES_MAX;
use crate::registry::check::check;
use crate::registry::check::own_node;
use crate::registry::local::directory::Directory;
use crate::registry::local::directory::HIDDEN;
use crate::registry::local::entry::Entry;
use crate::registry::local::entry::Lease;
use crate::registry::local::entry::file_name;
use crate::registry::local::entry::file_prefix;
use crate::registry::local::mirror::FILES_MAX;
use crate::registry::local::mirror::Mirror;
use crate::registry::local::mirror::Notice;
use crate::registry::local::mirror::Place;
use crate::registry::local::mirror::VANISHED_PAUSE;
use crate::registry::local::owner::Machine;
use crate::registry::record::Record;
use crate::registry::table::Table;

/// How long a change takes to reach every watcher, the poll of a directory that cannot be watched
/// and the pause before a missing file counts included.
const PROPAGATION: Duration = VANISHED_PAUSE.saturating_mul(2);

/// The default registry between processes: a private directory of the user.
///
/// Clones share one mirror of the directory, which runs while anyone watches.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Disk,
    notice: Notice,
    tasks: TaskTracker,
    /// The mirror that the open watches share.
    hub: Mutex<Weak<Hub>>,
}

/// The directory and the machine it is on; cheap to clone into blocking work.
#[derive(Clone, Debug)]
struct Disk {
    directory: Arc<Directory>,
    machine: Arc<Machine>,
    limits: Arc<RegistryLimits>,
    /// Whether it was logged that a service has more nodes than are found.
    overfull: Arc<AtomicBool>,
}

struct Hub {
    table: Arc<Table>,
    task: TaskHandle,
}

impl Local {
    /// Opens the user's directory: `$XDG_RUNTIME_DIR/micro/registry`, or without that
    /// `/tmp/micro-<uid>/registry`. It is created with mode 0700 if need be.
    ///
    /// # Errors
    ///
    /// 412 if the directory or its parent belongs to another user or lets others in, 503 if it
    /// cannot be created; either names the directory.
    pub fn open() -> Result<Self> {
        Self::start(Directory::new(Directory::default_path(), 2), Notice::System)
    }

    /// Opens a directory of the caller's choice, created with mode 0700 if need be.
    ///
    /// # Errors
    ///
    /// 412 if the directory belongs to another user or lets others in, 503 if it cannot be
    /// created; either names the directory.
    pub fn open_at(path: impl Into<PathBuf>) -> Result<Self> {
        Self::start(Directory::new(path.into(), 1), Notice::System)
    }

    /// Works within other limits; shares nothing with clones made before.
    #[must_use]
    pub fn limited(self, limits: RegistryLimits) -> Self {
        let disk = Disk { limits: Arc::new(limits), ..self.shared.disk.clone() };
        Self { shared: Arc::new(Shared::new(disk, self.shared.notice)) }
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        self.shared.disk.directory.path()
    }

    fn start(directory: Directory, notice: Notice) -> Result<Self> {
        directory.prepare()?;
        let machine = Arc::new(Machine::read());
        let limits = Arc::default();
        let disk =
            Disk { directory: Arc::new(directory), machine, limits, overfull: Arc::default() };
        Ok(Self { shared: Arc::new(Shared::new(disk, notice)) })
    }
}

impl Shared {
    fn new(disk: Disk, notice: Notice) -> Self {
        Self { disk, notice, tasks: TaskTracker::new(), hub: Mutex::new(Weak::new()) }
    }

    /// Returns the running mirror, started if there is none.
    async fn hub(&self) -> Result<Arc<Hub>> {
        let mut slot = self.hub.lock().await;
        if let Some(hub) = slot.upgrade().filter(|hub| !hub.task.is_finished()) {
            return Ok(hub);
        }
        let table = Arc::new(Table::default());
        let place = Place {
            directory: Directory::clone(&self.disk.directory),
            machine: Machine::clone(&self.disk.machine),
            limits: RegistryLimits::clone(&self.disk.limits),
        };
        let (mirror, changes) = Mirror::new(place, Arc::clone(&table), self.notice);
        let mirror = blocking(move || Ok(mirror.start())).await?;
        let task = self.tasks.spawn("registry.local", mirror.run(changes)).abort_on_drop();
        let hub = Arc::new(Hub { table, task });
        *slot = Arc::downgrade(&hub);
        Ok(hub)
    }
}

impl Disk {
    fn register(&self, record: &Record, ttl: Duration) -> Result<()> {
        let node = own_node(record)?;
        let name = file_name(&record.name, &node.id);
        let lease = Lease::new(&self.machine, ttl);
        let entry = Entry { record: record.clone(), lease };
        let content = serde_json::to_vec(&entry)
            .map_err(|error| Error::internal(ERROR_ID, &error).with_source(error))?;
        if content.len() > RECORD_BYTES_MAX {
            let bytes = content.len();
            let detail =
                format!("the record of {} has {bytes} bytes, at most {RECORD_BYTES_MAX}", node.id);
            return Err(Error::too_large(ERROR_ID, detail));
        }
        let written = match self.directory.write(&name, &content) {
            // Someone cleaned up: the directory is made again, and checked again.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.directory.prepare()?;
                self.directory.write(&name, &content)
            }
            written => written,
        };
        written.map_err(|error| self.directory.failed("write to", error))
    }

    fn deregister(&self, record: &Record) -> Result<()> {
        let node = own_node(record)?;
        let name = file_name(&record.name, &node.id);
        let owner = &self.machine.owner;
        // A twin at another address or in another process has taken the id since: it stays.
        let ours = |path: &Path| {
            let entry = Entry::read(path)?;
            let same_node = entry.node().is_some_and(|known| known.address == node.address);
            Ok(same_node && (entry.lease.owner == *owner || entry.lease.is_over(&self.machine)))
        };
        match self.directory.remove_if(&name, ours) {
            // What is not an entry is nobody's node.
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(()),
            removed => removed.map_err(|error| self.directory.failed("remove from", error)),
        }
    }

    fn lookup(&self, service: &str) -> Result<Option<Vec<Record>>> {
        let prefix = file_prefix(service);
        let names = self.names()?;
        let own = names.iter().filter(|name| name.starts_with(&prefix));
        let live = own.filter_map(|name| self.live(name)).filter(|record| record.name == service);
        let most = self.limits.nodes_per_service_max;
        let mut found: Vec<Record> = live.take(most.saturating_add(1)).collect();
        if found.len() > most {
            found.truncate(most);
            if !self.overfull.swap(true, Ordering::Relaxed) {
                tracing::warn!(service, most, "the service has more nodes than are found");
            }
        }
        let records = Record::merge(found);
        Ok(if records.is_empty() { None } else { Some(records) })
    }

    fn list(&self) -> Result<Vec<String>> {
        let names = self.names()?;
        let live = names.iter().filter_map(|name| self.live(name));
        let services: BTreeSet<String> = live.map(|record| record.name).collect();
        Ok(services.into_iter().collect())
    }

    /// Returns the record of a file whose lease holds.
    fn live(&self, name: &str) -> Option<Record> {
        let entry = Entry::read(&self.directory.path().join(name)).ok()?;
        (!entry.lease.is_over(&self.machine)).then_some(entry.record)
    }

    fn names(&self) -> Result<Vec<String>> {
        let files = match fs::read_dir(self.directory.path()) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.directory.failed("read", error)),
        };
        let names = files.take(FILES_MAX).map(|file| Ok(file?.file_name().into_string()));
        let names: io::Result<Vec<_>> = names.collect();
        let names = names.map_err(|error| self.directory.failed("read", error))?;
        // A name that is not text is not one of ours.
        let names = names.into_iter().flatten().filter(|name| !name.starts_with(HIDDEN));
        Ok(names.collect())
    }
}

/// Runs file operations where they may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::internal(ERROR_ID, "reading the registry directory panicked").with_source(error))
    })
}

impl Registry for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    /// Not undone by dropping the future: the file may be written all the same.
    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check(record, ttl, &self.shared.disk.limits)?;
            let (disk, record) = (self.shared.disk.clone(), record.clone());
            blocking(move || disk.register(&record, ttl)).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (disk, record) = (self.shared.disk.clone(), record.clone());
            blocking(move || disk.deregister(&record)).await
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let (disk, service) = (self.shared.disk.clone(), service.to_owned());
            blocking(move || disk.lookup(&service)).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let disk = self.shared.disk.clone();
            blocking(move || disk.list()).await
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let hub = self.shared.hub().await?;
            Ok(Watch::new(hub.table.watch(service), hub))
        })
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("path", &self.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
