//! A copy of the directory in memory, for watchers: told by the system of changes, and looking by
//! itself where the system is silent.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use tokio::sync::mpsc;

use crate::core::clock;
use crate::core::limits::RegistryLimits;
use crate::registry::local::directory::Directory;
use crate::registry::local::directory::HIDDEN;
use crate::registry::local::entry::Entry;
use crate::registry::local::entry::Lease;
use crate::registry::local::owner::Machine;
use crate::registry::table::Table;

/// Pause between looks at whether the owners of entries still run and their leases hold.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Pause between readings of the whole directory, in case a change was not told.
const RESCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Pause between readings of the directory where the system does not tell of changes.
const POLL_INTERVAL: Duration = Duration::from_millis(40);
/// Told changes that wait to be read; beyond it the whole directory is read.
const CHANGES_QUEUED_MAX: usize = 1024;
/// Files that are read at all; a directory with more is not this crate's.
pub(super) const FILES_MAX: usize = 100_000;
/// Age at which a hidden file counts as left behind by a process that died while writing.
const SCRATCH_AGE_MAX: Duration = Duration::from_secs(60);

/// How a mirror learns of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// From the system, by polling where that fails.
    System,
    /// By polling.
    #[cfg(test)]
    Poll,
}

/// The state behind a mirror; moves between its task and the threads for blocking work.
pub(super) struct Mirror {
    directory: Directory,
    machine: Machine,
    table: Arc<Table>,
    seen: BTreeMap<String, Seen>,
    notice: Notice,
    watcher: Option<RecommendedWatcher>,
    /// The directory that `watcher` watches.
    watched: Option<(u64, u64)>,
    sender: mpsc::Sender<String>,
    /// Set when a change did not fit into the queue.
    lost: Arc<AtomicBool>,
}

/// A file as it was last read.
struct Seen {
    stamp: Stamp,
    /// What it said, if that counts.
    live: Option<Live>,
}

struct Live {
    service: String,
    node: String,
    lease: Lease,
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Stamp(Option<SystemTime>, u64, u64);

/// What to look at in one go.
#[derive(Default)]
struct Work {
    names: BTreeSet<String>,
    check: bool,
    rescan: bool,
}

impl Mirror {
    /// Makes a mirror and the queue of the changes it is told; reads nothing yet.
    pub(super) fn new(
        directory: Directory,
        machine: Machine,
        table: Arc<Table>,
        notice: Notice,
    ) -> (Self, mpsc::Receiver<String>) {
        let (sender, changes) = mpsc::channel(CHANGES_QUEUED_MAX);
        let (seen, watcher, watched, lost) = (BTreeMap::new(), None, None, Arc::default());
        let mirror =
            Self { directory, machine, table, seen, notice, watcher, watched, sender, lost };
        (mirror, changes)
    }

    /// Reads the directory for the first time. Blocks.
    pub(super) fn start(mut self) -> Self {
        self.work(&Work { rescan: true, ..Work::default() });
        self
    }

    /// Keeps the table like the directory until dropped.
    pub(super) async fn run(mut self, mut changes: mpsc::Receiver<String>) {
        let mut check_at = clock::after(clock::now(), CHECK_INTERVAL);
        let mut rescan_at = clock::after(clock::now(), self.rescan_interval());
        loop {
            let mut work = Work::default();
            // Cancel safety: `recv` keeps what it does not return, the others only wait.
            tokio::select! {
                Some(name) = changes.recv() => {
                    work.names.insert(name);
                    while let Ok(name) = changes.try_recv() {
                        work.names.insert(name);
                    }
                }
                () = clock::sleep_until(check_at) => work.check = true,
                () = clock::sleep_until(rescan_at) => work.rescan = true,
            }
            work.rescan |= self.lost.swap(false, Ordering::AcqRel);
            if work.check {
                check_at = clock::after(clock::now(), CHECK_INTERVAL);
            }
            let rescan = work.rescan;
            let done = tokio::task::spawn_blocking(move || {
                self.work(&work);
                self
            });
            let Ok(back) = done.await else {
                tracing::error!("registry mirror ended: reading the directory panicked");
                return;
            };
            self = back;
            if rescan {
                rescan_at = clock::after(clock::now(), self.rescan_interval());
            }
        }
    }

    fn rescan_interval(&self) -> Duration {
        if self.watcher.is_some() { RESCAN_INTERVAL } else { POLL_INTERVAL }
    }

    fn work(&mut self, work: &Work) {
        for name in &work.names {
            self.read(name);
        }
        if work.rescan {
            self.watch();
            self.rescan();
        }
        if work.check {
            self.check();
        }
    }

    /// Has the system tell of changes, again if the directory was replaced.
    fn watch(&mut self) {
        let identity = self.directory.identity();
        if self.notice != Notice::System || (self.watcher.is_some() && self.watched == identity) {
            return;
        }
        let (sender, lost) = (self.sender.clone(), Arc::clone(&self.lost));
        let watcher = notify::recommended_watcher(move |event| tell(event, &sender, &lost));
        let watcher = watcher.and_then(|mut watcher: RecommendedWatcher| {
            watcher.watch(self.directory.path(), RecursiveMode::NonRecursive).map(|()| watcher)
        });
        match watcher {
            Ok(watcher) => (self.watcher, self.watched) = (Some(watcher), identity),
            Err(error) => {
                tracing::debug!(%error, "registry directory is polled: it cannot be watched");
                (self.watcher, self.watched) = (None, None);
            }
        }
    }

    /// Brings the table up to date with one file.
    fn read(&mut self, name: &str) {
        let path = self.directory.path().join(name);
        let Ok(metadata) = fs::metadata(&path) else {
            self.forget(name);
            return;
        };
        let stamp = stamp(&metadata);
        if self.seen.get(name).is_some_and(|seen| seen.stamp == stamp) {
            return;
        }
        let live = match Entry::read(&path) {
            Ok(entry) if entry.lease.is_over(&self.machine) => None,
            Ok(entry) => self.put(name, entry),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = name, %error, "registry entry ignored");
                None
            }
        };
        let same = |old: &Live, new: &Live| old.service == new.service && old.node == new.node;
        let old = self.seen.remove(name).and_then(|seen| seen.live);
        if let Some(old) = old.filter(|old| !live.as_ref().is_some_and(|new| same(old, new))) {
            self.table.remove_if(&old.service, &old.node, |_| true);
        }
        self.seen.insert(name.to_owned(), Seen { stamp, live });
    }

    fn put(&self, name: &str, entry: Entry) -> Option<Live> {
        let node = entry.node()?;
        match self.table.put(node, &entry.record, None, &RegistryLimits::DEFAULT) {
            Ok(()) => Some(Live {
                service: entry.record.name.clone(),
                node: node.id.clone(),
                lease: entry.lease,
            }),
            Err(error) => {
                tracing::warn!(file = name, %error, "registry entry ignored");
                None
            }
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(live) = self.seen.remove(name).and_then(|seen| seen.live) {
            self.table.remove_if(&live.service, &live.node, |_| true);
        }
    }

    fn rescan(&mut self) {
        let Ok(files) = fs::read_dir(self.directory.path()) else {
            // The directory is gone, and with it every entry; whoever registers makes it again.
            let names: Vec<String> = self.seen.keys().cloned().collect();
            names.iter().for_each(|name| self.forget(name));
            return;
        };
        let mut present = BTreeSet::new();
        for file in files.take(FILES_MAX).flatten() {
            let Ok(name) = file.file_name().into_string() else { continue };
            if name.starts_with(HIDDEN) {
                sweep_scratch(&file.path());
                continue;
            }
            self.read(&name);
            present.insert(name);
        }
        let gone: Vec<String> =
            self.seen.keys().filter(|name| !present.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// Drops nodes whose lease or owner has ended, and their files.
    fn check(&mut self) {
        let machine = &self.machine;
        for (name, seen) in &mut self.seen {
            let Some(live) = seen.live.take_if(|live| live.lease.is_over(machine)) else {
                continue;
            };
            // Read again: the lease may have been renewed without this mirror having heard.
            let path = self.directory.path().join(name);
            match Entry::read(&path) {
                Ok(entry) if !entry.lease.is_over(machine) => {
                    seen.live = Some(Live { lease: entry.lease, ..live });
                }
                _ => {
                    // The file first: who is told that a node is gone finds no trace of it.
                    sweep(&self.directory, name, machine);
                    self.table.remove_if(&live.service, &live.node, |_| true);
                }
            }
        }
    }
}

/// Removes the file of an entry that is over.
pub(super) fn sweep(directory: &Directory, name: &str, machine: &Machine) {
    let over = |path: &Path| Ok(Entry::read(path)?.lease.is_over(machine));
    if let Err(error) = directory.remove_if(name, over) {
        tracing::debug!(file = name, %error, "registry entry that is over not removed");
    }
}

fn sweep_scratch(path: &Path) {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|at| clock::system_now().duration_since(at).ok());
    if age.is_some_and(|age| age > SCRATCH_AGE_MAX) {
        // Another process may have been faster.
        fs::remove_file(path).ok();
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Stamp(metadata.modified().ok(), metadata.len(), inode)
}

/// Queues the names in an event of the system; runs on the watcher's thread and never waits.
fn tell(event: notify::Result<notify::Event>, sender: &mpsc::Sender<String>, lost: &AtomicBool) {
    let event = match event {
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
        Ok(event) => event,
        Err(error) => {
            tracing::debug!(%error, "registry directory watch failed");
            lost.store(true, Ordering::Release);
            return;
        }
    };
    if event.need_rescan() {
        lost.store(true, Ordering::Release);
    }
    for name in event.paths.iter().filter_map(|path| path.file_name()?.to_str()) {
        if !name.starts_with(HIDDEN) && sender.try_send(name.to_owned()).is_err() {
            lost.store(true, Ordering::Release);
        }
    }
}
