//! A copy of the directory in memory, for watchers: told by the system of changes, and looking by
//! itself where the system is silent.
//!
//! An outage of the directory says nothing of the nodes in it. While it is missing or cannot be
//! read, only nodes whose process has certainly ended are dropped; once it is back, the others
//! have until the end of the lease that they were last known by, but at least [`GRACE`], to write
//! themselves into it again.

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
use crate::core::clock::Instant;
use crate::core::limits::RegistryLimits;
use crate::registry::local::directory::Directory;
use crate::registry::local::directory::HIDDEN;
use crate::registry::local::directory::Identity;
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

/// How long a vanished file is not judged: whoever removes the directory removes its files first.
pub(super) const VANISHED_PAUSE: Duration = Duration::from_millis(50);
/// How long nodes that run may take to be in a directory that came back, even if their lease ended
/// during the outage: one heartbeat of the usual pace with its jitter, and the writing.
const GRACE: Duration =
    RegistryLimits::DEFAULT.heartbeat_interval.saturating_add(Duration::from_secs(2));

/// How a mirror learns of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// From the system, by polling where that fails.
    System,
    /// By polling.
    #[cfg(test)]
    Poll,
}

/// What a mirror is a copy of.
pub(super) struct Place {
    pub(super) directory: Directory,
    pub(super) machine: Machine,
    pub(super) limits: RegistryLimits,
}

/// The state behind a mirror; moves between its task and the threads for blocking work.
pub(super) struct Mirror {
    directory: Directory,
    machine: Machine,
    limits: RegistryLimits,
    table: Arc<Table>,
    seen: BTreeMap<String, Seen>,
    notice: Notice,
    watcher: Option<RecommendedWatcher>,
    /// The directory that `watcher` watches.
    watched: Option<Identity>,
    /// The directory as last seen usable; another one has replaced it.
    home: Option<Identity>,
    /// Set while there is no directory that can be read.
    away: bool,
    sender: mpsc::Sender<String>,
    /// Set when a change did not fit into the queue.
    lost: Arc<AtomicBool>,
}

/// A file as it was last read.
struct Seen {
    stamp: Stamp,
    /// What it said, if that counts.
    live: Option<Live>,
    /// Set while the file is missing.
    absent: bool,
    /// Neither absence nor the end of the lease counts before this.
    judge_at: Option<Instant>,
}

impl Seen {
    fn is_judged(&self, now: Instant) -> bool {
        self.judge_at.is_none_or(|at| at <= now)
    }
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
        place: Place,
        table: Arc<Table>,
        notice: Notice,
    ) -> (Self, mpsc::Receiver<String>) {
        let Place { directory, machine, limits } = place;
        let (sender, changes) = mpsc::channel(CHANGES_QUEUED_MAX);
        let (seen, watcher, watched, lost) = (BTreeMap::new(), None, None, Arc::default());
        let mirror = Self {
            directory,
            machine,
            limits,
            table,
            seen,
            notice,
            watcher,
            watched,
            home: None,
            away: false,
            sender,
            lost,
        };
        (mirror, changes)
    }

    /// Reads the directory for the first time. Blocks.
    pub(super) fn start(mut self) -> Self {
        self.work(&Work { rescan: true, ..Work::default() }, clock::now());
        self
    }

    /// Keeps the table like the directory until dropped.
    pub(super) async fn run(mut self, mut changes: mpsc::Receiver<String>) {
        let mut check_at = clock::after(clock::now(), CHECK_INTERVAL);
        let mut rescan_at = clock::after(clock::now(), self.rescan_interval());
        loop {
            let mut work = Work::default();
            let judge_at = self.judge_at().unwrap_or(check_at).min(check_at);
            // Cancel safety: `recv` keeps what it does not return, the others only wait.
            tokio::select! {
                Some(name) = changes.recv() => {
                    work.names.insert(name);
                    while let Ok(name) = changes.try_recv() {
                        work.names.insert(name);
                    }
                }
                () = clock::sleep_until(judge_at) => work.check = judge_at == check_at,
                () = clock::sleep_until(rescan_at) => work.rescan = true,
            }
            work.rescan |= self.lost.swap(false, Ordering::AcqRel);
            if work.check {
                check_at = clock::after(clock::now(), CHECK_INTERVAL);
            }
            let rescan = work.rescan;
            let done = tokio::task::spawn_blocking(move || {
                self.work(&work, clock::now());
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

    /// Returns when the next vanished file is to be judged.
    fn judge_at(&self) -> Option<Instant> {
        if self.away {
            return None;
        }
        self.seen.values().filter(|seen| seen.absent).filter_map(|seen| seen.judge_at).min()
    }

    fn work(&mut self, work: &Work, now: Instant) {
        let replaced = self.look(now);
        if !self.away {
            work.names.iter().for_each(|name| self.read(name, now));
        }
        if work.rescan || replaced {
            self.watch();
            self.rescan(now);
        }
        if work.check {
            self.check(now);
        }
        self.judge(now);
    }

    /// Looks whether the directory is there; returns whether it is one to read from the start.
    fn look(&mut self, now: Instant) -> bool {
        let identity = self.directory.identity();
        let was_away = std::mem::replace(&mut self.away, identity.is_none());
        if self.away {
            if !was_away {
                tracing::warn!("registry directory cannot be read, known nodes are kept");
            }
            return false;
        }
        let known = std::mem::replace(&mut self.home, identity);
        let replaced = was_away || (known.is_some() && known != identity);
        if replaced {
            let machine = &self.machine;
            for seen in self.seen.values_mut() {
                // A node that lives renews its lease before it ends, however rarely that is.
                let lease = seen.live.as_ref().map(|live| live.lease.remaining(machine));
                let grace = lease.unwrap_or_default().max(GRACE);
                seen.judge_at = Some(clock::after(now, grace));
            }
        }
        replaced
    }

    /// Has the system tell of changes, again if the directory was replaced.
    fn watch(&mut self) {
        let identity = self.directory.identity();
        if identity.is_none() {
            (self.watcher, self.watched) = (None, None);
            return;
        }
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
    fn read(&mut self, name: &str, now: Instant) {
        let path = self.directory.path().join(name);
        let Ok(metadata) = fs::metadata(&path) else {
            self.vanished(name, now);
            return;
        };
        let stamp = stamp(&metadata);
        if let Some(seen) = self.seen.get_mut(name).filter(|seen| seen.stamp == stamp) {
            seen.absent = false;
            if seen.live.as_ref().is_none_or(|live| !live.lease.is_over(&self.machine)) {
                seen.judge_at = None;
            }
            return;
        }
        let live = match Entry::read(&path) {
            Ok(entry) if entry.lease.is_over(&self.machine) => {
                if self.is_spared(name, &entry.lease, now) {
                    return;
                }
                None
            }
            Ok(entry) => self.put(name, entry),
            Err(error) if error.kind() != ErrorKind::InvalidData && path.is_file() => {
                tracing::warn!(file = name, %error, "registry entry cannot be read");
                self.vanished(name, now);
                return;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.vanished(name, now);
                return;
            }
            Err(error) => {
                tracing::warn!(file = name, %error, "registry entry ignored");
                None
            }
        };
        self.replace(name, Seen { stamp, live, absent: false, judge_at: None });
    }

    /// Returns whether a known node keeps its place although the lease in its file lapsed.
    fn is_spared(&self, name: &str, lease: &Lease, now: Instant) -> bool {
        let seen = self.seen.get(name).filter(|seen| seen.live.is_some());
        seen.is_some_and(|seen| !seen.is_judged(now)) && !lease.is_dead(&self.machine)
    }

    /// Remembers a file as it is read, and drops the node that it held before.
    fn replace(&mut self, name: &str, seen: Seen) {
        let same = |old: &Live, new: &Live| old.service == new.service && old.node == new.node;
        let old = self.seen.remove(name).and_then(|seen| seen.live);
        if let Some(old) = old.filter(|old| !seen.live.as_ref().is_some_and(|new| same(old, new))) {
            self.table.remove_if(&old.service, &old.node, |_| true);
        }
        self.seen.insert(name.to_owned(), seen);
    }

    /// Takes note that a file is missing.
    fn vanished(&mut self, name: &str, now: Instant) {
        let Some(seen) = self.seen.get_mut(name) else { return };
        if !seen.absent {
            seen.absent = true;
            seen.judge_at = seen.judge_at.max(Some(clock::after(now, VANISHED_PAUSE)));
        }
    }

    /// Drops nodes that are missing for long enough, and those missing whose process has ended.
    fn judge(&mut self, now: Instant) {
        let machine = &self.machine;
        let dead = |seen: &Seen| seen.live.as_ref().is_none_or(|live| live.lease.is_dead(machine));
        let over = |seen: &Seen| {
            // Nothing is told of the files of a directory that cannot be read: all are missing.
            let due = !self.away && seen.is_judged(now);
            (seen.absent || self.away) && (due || dead(seen))
        };
        let names = self.seen.iter().filter(|(_, seen)| over(seen)).map(|(name, _)| name.clone());
        for name in names.collect::<Vec<_>>() {
            self.forget(&name);
        }
    }

    fn put(&self, name: &str, entry: Entry) -> Option<Live> {
        let node = entry.node()?;
        match self.table.put(node, &entry.record, None, &self.limits) {
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

    fn rescan(&mut self, now: Instant) {
        let Ok(files) = fs::read_dir(self.directory.path()) else { return };
        let mut present = BTreeSet::new();
        for file in files.take(FILES_MAX).flatten() {
            let Ok(name) = file.file_name().into_string() else { continue };
            if name.starts_with(HIDDEN) {
                sweep_scratch(&file.path());
                continue;
            }
            self.read(&name, now);
            present.insert(name);
        }
        let gone: Vec<String> =
            self.seen.keys().filter(|name| !present.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.vanished(name, now));
    }

    /// Drops nodes whose lease or owner has ended, and their files.
    fn check(&mut self, now: Instant) {
        if self.away {
            return;
        }
        let machine = &self.machine;
        for (name, seen) in self.seen.iter_mut().filter(|(_, seen)| !seen.absent) {
            let judged = seen.is_judged(now);
            let over = |live: &mut Live| match judged {
                true => live.lease.is_over(machine),
                false => live.lease.is_dead(machine),
            };
            let Some(live) = seen.live.take_if(over) else { continue };
            // Read again: the lease may have been renewed without this mirror having heard.
            let path = self.directory.path().join(name);
            match Entry::read(&path) {
                Ok(entry) if !entry.lease.is_over(machine) => {
                    seen.live = Some(Live { lease: entry.lease, ..live });
                }
                Err(error) if error.kind() != ErrorKind::InvalidData => {
                    seen.live = Some(live);
                    (seen.absent, seen.judge_at) = (true, Some(clock::after(now, VANISHED_PAUSE)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::local::entry::file_name;
    use crate::registry::record::Node;
    use crate::registry::record::Record;

    struct Fixture {
        temp: tempfile::TempDir,
        mirror: Mirror,
        now: Instant,
    }

    impl Fixture {
        /// Makes a mirror of a directory with node `a`, whose process runs.
        fn new(ttl: Duration) -> Self {
            let temp = tempfile::tempdir().unwrap();
            let directory = Directory::new(temp.path().join("registry"), 1);
            let table = Arc::new(Table::default());
            let place =
                Place { directory, machine: Machine::read(), limits: RegistryLimits::default() };
            let (mirror, _) = Mirror::new(place, table, Notice::Poll);
            let mut fixture = Self { temp, mirror, now: clock::now() };
            fixture.write("a", ttl);
            fixture.pass(Duration::ZERO);
            assert_eq!(fixture.nodes(), ["a"]);
            fixture
        }

        fn write(&self, id: &str, ttl: Duration) {
            let node = Node { id: id.into(), address: "127.0.0.1:1".into(), ..Node::default() };
            let record = Record { name: "s".into(), nodes: vec![node], ..Record::default() };
            let entry = Entry { record, lease: Lease::new(&self.mirror.machine, ttl) };
            self.mirror.directory.prepare().unwrap();
            let content = serde_json::to_vec(&entry).unwrap();
            self.mirror.directory.write(&file_name("s", id), &content).unwrap();
        }

        /// Has the mirror look at everything some time later.
        fn pass(&mut self, time: Duration) {
            self.now += time;
            let work = Work { check: true, rescan: true, ..Work::default() };
            self.mirror.work(&work, self.now);
        }

        fn nodes(&self) -> Vec<String> {
            let records = self.mirror.table.lookup("s").unwrap_or_default();
            records.into_iter().flat_map(|record| record.nodes).map(|node| node.id).collect()
        }
    }

    #[test]
    fn a_vanished_file_counts_after_a_pause_in_which_the_directory_stays() {
        let mut fixture = Fixture::new(GRACE * 9);
        fs::remove_file(fixture.mirror.directory.path().join("s~a")).unwrap();
        fixture.pass(Duration::ZERO);
        assert_eq!(fixture.nodes(), ["a"]);
        fixture.pass(VANISHED_PAUSE);
        assert!(fixture.nodes().is_empty());
    }

    #[test]
    fn a_removed_directory_keeps_running_nodes_until_the_grace_after_its_return() {
        let mut fixture = Fixture::new(GRACE / 2);
        let path = fixture.mirror.directory.path().to_owned();
        fs::remove_file(path.join("s~a")).unwrap();
        fixture.pass(Duration::ZERO);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "").unwrap();
        fixture.pass(GRACE * 9);
        assert_eq!(fixture.nodes(), ["a"]);
        fs::remove_file(&path).unwrap();
        fixture.write("b", GRACE / 2);
        fixture.pass(Duration::ZERO);
        fixture.pass(GRACE - Duration::from_millis(1));
        assert_eq!(fixture.nodes(), ["a", "b"]);
        fixture.pass(Duration::from_millis(1));
        assert_eq!(fixture.nodes(), ["b"]);
    }

    #[test]
    fn a_node_that_beats_rarely_is_known_until_its_lease_ends() {
        let mut fixture = Fixture::new(GRACE * 9);
        fs::remove_dir_all(fixture.mirror.directory.path()).unwrap();
        fixture.write("b", GRACE * 9);
        fixture.pass(Duration::ZERO);
        fixture.pass(GRACE * 8);
        assert_eq!(fixture.nodes(), ["a", "b"]);
        fixture.pass(GRACE * 2);
        assert_eq!(fixture.nodes(), ["b"]);
    }

    #[test]
    fn a_directory_replaced_between_two_looks_gives_running_nodes_the_grace() {
        let mut fixture = Fixture::new(GRACE * 9);
        fs::remove_dir_all(fixture.mirror.directory.path()).unwrap();
        fixture.write("b", GRACE * 9);
        fixture.pass(Duration::ZERO);
        fixture.pass(GRACE / 2);
        assert_eq!(fixture.nodes(), ["a", "b"]);
        fixture.write("a", GRACE * 9);
        fixture.pass(GRACE);
        assert_eq!(fixture.nodes(), ["a", "b"]);
    }

    #[test]
    fn a_lease_that_lapses_in_an_outage_is_judged_after_the_grace() {
        let ttl = Duration::from_millis(300);
        let mut fixture = Fixture::new(ttl);
        let (path, away) =
            (fixture.mirror.directory.path().to_owned(), fixture.temp.path().join("away"));
        fs::rename(&path, &away).unwrap();
        fixture.pass(Duration::ZERO);
        let lapsed = fixture.mirror.machine.now_millis() + 310;
        while fixture.mirror.machine.now_millis() < lapsed {
            std::thread::yield_now();
        }
        fixture.pass(ttl);
        assert_eq!(fixture.nodes(), ["a"]);
        fs::rename(&away, &path).unwrap();
        fixture.pass(Duration::ZERO);
        assert_eq!(fixture.nodes(), ["a"]);
        fixture.pass(GRACE);
        assert!(fixture.nodes().is_empty());
    }
}
