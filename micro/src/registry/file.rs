//! Registry in a JSON file that someone else writes: fixed nodes, read anew when it changes.
//!
//! The file holds a list of records in go-micro's JSON. Consistency: lookups see the file as it
//! is; watchers hear of changes within a second. Durability: that of the file.
//! Limits: 1 MiB; services and nodes as `RegistryLimits` says, more make the file invalid.
//! Failure behaviour: a file that became invalid or unreadable is reported once, and what it said
//! before stays. Configuration: the path. Not supported: `register`, `deregister`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::registry::Capabilities;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::check::ERROR_ID;
use crate::registry::pace::jitter;
use crate::registry::record::Record;
use crate::registry::table::Table;

/// Bytes of the file; a longer one is invalid.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Pause between looks at whether the file changed, while someone watches.
const POLL_INTERVAL: Duration = Duration::from_millis(800);
/// The coarsest step of the dates that file systems keep; a younger file is read again.
const DATE_STEP_MAX: Duration = Duration::from_secs(2);
/// How long a change takes to reach every watcher.
const PROPAGATION: Duration = Duration::from_secs(1);

/// A registry of fixed nodes, read from a JSON file. Clones share what was read.
#[derive(Clone)]
pub struct StaticFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    limits: RegistryLimits,
    table: Table,
    last: Mutex<Last>,
}

/// The file as it was last looked at.
#[derive(Default)]
struct Last {
    /// Date and length of a file that changes neither without the other; while it keeps both it is
    /// not read again.
    stamp: Option<(Option<SystemTime>, u64)>,
    /// The trouble with it that was reported.
    trouble: Option<String>,
}

impl StaticFile {
    /// Opens a file and reads it for the first time.
    ///
    /// # Errors
    ///
    /// 412 naming the file if it cannot be read, is too long or is not a list of records.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, RegistryLimits::DEFAULT)
    }

    /// Opens a file within other limits.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(path: impl Into<PathBuf>, limits: RegistryLimits) -> Result<Self> {
        let (path, table, last) = (path.into(), Table::default(), Mutex::default());
        let shared = Shared { path, limits, table, last };
        shared.reload().map_err(|why| {
            let detail = format!("cannot use the registry file {}: {why}", shared.path.display());
            Error::precondition_failed(ERROR_ID, detail)
        })?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    async fn refresh(&self) {
        let shared = Arc::clone(&self.shared);
        // A panic while reading is reported by the runtime; what was read before stays.
        tokio::task::spawn_blocking(move || shared.refresh()).await.ok();
    }

    fn unsupported(&self, what: &str) -> Error {
        let detail = format!("the registry file {} is read-only: no {what}", self.path().display());
        Error::unimplemented(ERROR_ID, detail)
    }
}

impl Shared {
    /// Reads the file if it changed; keeps what it said if that fails. Blocks.
    fn refresh(&self) {
        let trouble = self.reload().err();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = trouble.as_ref().filter(|why| last.trouble.as_ref() != Some(why)) {
            tracing::warn!(file = %self.path.display(), why, "registry file ignored, old nodes stay");
        }
        last.trouble = trouble;
    }

    fn reload(&self) -> Result<(), String> {
        let metadata = fs::metadata(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = metadata.as_ref().ok().map(|file| (file.modified().ok(), file.len()));
        if last.stamp == stamp && stamp.is_some() {
            return last.trouble.clone().map_or(Ok(()), Err);
        }
        last.stamp = stamp.filter(|(modified, _)| modified.is_some_and(is_settled));
        metadata.map_err(|error| error.to_string())?;
        let records = read(&self.path, &self.limits)?;
        self.table.replace(&records);
        Ok(())
    }

    /// Looks for changes forever.
    async fn poll(self: Arc<Self>) {
        loop {
            clock::sleep(jitter(POLL_INTERVAL, 20)).await;
            let shared = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || shared.refresh()).await.is_err() {
                return;
            }
        }
    }
}

/// Returns whether a file of this date cannot change any more without another date.
fn is_settled(modified: SystemTime) -> bool {
    clock::system_now().duration_since(modified).is_ok_and(|age| age > DATE_STEP_MAX)
}

fn read(path: &Path, limits: &RegistryLimits) -> Result<Vec<Record>, String> {
    let mut text = String::new();
    let read = |text: &mut String| -> io::Result<usize> {
        File::open(path)?.take(FILE_BYTES_MAX.saturating_add(1)).read_to_string(text)
    };
    let bytes = read(&mut text).map_err(|error| error.to_string())?;
    if u64::try_from(bytes).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let records: Vec<Record> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    validate(&records, limits)?;
    Ok(records)
}

/// Refuses what would be ambiguous or over a limit, before any of it counts.
fn validate(records: &[Record], limits: &RegistryLimits) -> Result<(), String> {
    let mut services: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in records {
        if record.name.is_empty() {
            return Err("a record has no name".to_owned());
        }
        let nodes = services.entry(&record.name).or_default();
        for node in &record.nodes {
            if node.id.is_empty() || node.address.is_empty() {
                return Err(format!("a node of {} has no id or no address", record.name));
            }
            if !nodes.insert(&node.id) {
                return Err(format!("node {} of {} stands there twice", node.id, record.name));
            }
        }
    }
    if services.len() > limits.services_max {
        return Err(format!("it has more than {} services", limits.services_max));
    }
    match services.iter().find(|(_, nodes)| nodes.len() > limits.nodes_per_service_max) {
        Some((name, _)) => {
            Err(format!("{name} has more than {} nodes", limits.nodes_per_service_max))
        }
        None => Ok(()),
    }
}

impl Registry for StaticFile {
    fn name(&self) -> &'static str {
        "file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: false, watch: true, register: false, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, _: &'a Record, _: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Err(self.unsupported("register")) })
    }

    fn deregister<'a>(&'a self, _: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Err(self.unsupported("deregister")) })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            self.refresh().await;
            Ok(self.shared.table.lookup(service))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            self.refresh().await;
            Ok(self.shared.table.list())
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            self.refresh().await;
            let events = self.shared.table.watch(service);
            Ok(Watch::driven(events, (), Arc::clone(&self.shared).poll()))
        })
    }
}

impl fmt::Debug for StaticFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticFile").field("path", &self.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Event;

    const ONE: &str = r#"[{"name":"greeter","version":"1","nodes":[{"id":"a","address":"h:1"}]}]"#;
    const TWO: &str = r#"[{"name":"greeter","version":"1","nodes":[{"id":"a","address":"h:1"},{"id":"b","address":"h:2"}]}]"#;

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("services.json");
        fs::write(&path, content).unwrap();
        (temp, path)
    }

    async fn ids(registry: &StaticFile) -> Vec<String> {
        let records = registry.lookup("greeter").await.unwrap().unwrap_or_default();
        records.into_iter().flat_map(|r| r.nodes).map(|node| node.id).collect()
    }

    #[tokio::test]
    async fn changes_are_seen_and_watched() {
        let (_temp, path) = file(ONE);
        let registry = StaticFile::open(&path).unwrap();
        let mut watch = registry.watch(None).await.unwrap();
        assert!(matches!(watch.next().await, Some(Event::Reset(records)) if records.len() == 1));
        fs::write(&path, TWO).unwrap();
        assert!(matches!(watch.next().await, Some(Event::Update(r)) if r.nodes[0].id == "b"));
        assert_eq!(ids(&registry).await, ["a", "b"]);
        fs::write(&path, "[]").unwrap();
        assert_eq!(ids(&registry).await, [""; 0]);
        assert!(matches!(watch.next().await, Some(Event::Remove { node, .. }) if node == "a"));
        assert!(registry.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_breaks_keeps_the_old_nodes() {
        let (_temp, path) = file(ONE);
        let registry = StaticFile::open(&path).unwrap();
        let twice = ONE.replace("}]}]", "},{\"id\":\"a\",\"address\":\"h:2\"}]}]");
        for broken in ["{", "", &twice, "[{\"name\":\"\",\"nodes\":[]}]"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(ids(&registry).await, ["a"], "{broken}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(ids(&registry).await, ["a"]);
        fs::write(&path, TWO).unwrap();
        assert_eq!(ids(&registry).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn it_cannot_be_written_through() {
        let (_temp, path) = file(ONE);
        let registry = StaticFile::open(&path).unwrap();
        let record = Record::default();
        let ttl = Duration::from_secs(1);
        assert_eq!(registry.register(&record, ttl).await.unwrap_err().code(), 501);
        assert_eq!(registry.deregister(&record).await.unwrap_err().code(), 501);
    }

    #[test]
    fn a_file_that_is_unusable_at_start_is_an_error_that_names_it() {
        let (_temp, path) = file("{");
        let error = StaticFile::open(&path).unwrap_err();
        assert_eq!(error.code(), 412);
        assert!(error.detail().contains("services.json"), "{error}");
        let long = format!("[{}]", " ".repeat(1024 * 1024));
        fs::write(&path, long).unwrap();
        assert_eq!(StaticFile::open(&path).unwrap_err().code(), 412);
        assert_eq!(StaticFile::open(path.join("absent")).unwrap_err().code(), 412);
    }

    #[tokio::test]
    async fn services_and_nodes_are_limited() {
        let limits =
            RegistryLimits { services_max: 3, nodes_per_service_max: 2, ..Default::default() };
        let list = |services: usize, nodes: usize| {
            let node = |s, n| format!(r#"{{"id": "{s}-{n}", "address": "h:1"}}"#);
            let record = |s| {
                let nodes: Vec<_> = (0..nodes).map(|n| node(s, n)).collect();
                format!(r#"{{"name": "s{s}", "version": "1", "nodes": [{}]}}"#, nodes.join(","))
            };
            format!("[{}]", (0..services).map(record).collect::<Vec<_>>().join(","))
        };
        for (services, nodes, fits) in
            [(3, 2, true), (4, 2, false), (30, 2, false), (3, 3, false), (3, 20, false)]
        {
            let (_temp, path) = file(&list(services, nodes));
            let opened = StaticFile::open_with(path, limits.clone());
            assert_eq!(opened.is_ok(), fits, "{services} {nodes}");
        }
    }
}
