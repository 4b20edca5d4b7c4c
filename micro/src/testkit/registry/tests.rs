//! The embedded registries pass; broken ones are caught by name.

use super::broken::Broken;
use super::broken::Flaw;
use super::*;
use crate::core::error::Error;
use crate::core::shutdown::TaskTracker;
use crate::registry::Cached;
use crate::registry::Local;
use crate::registry::Memory;
use crate::registry::StaticFile;
use crate::registry::{Capabilities, Watch};

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    let make = async || {
        let registry = Memory::new();
        Subject::new(Arc::new(registry.clone()), Arc::new(registry))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[tokio::test(start_paused = true)]
async fn cached_memory_conforms() {
    let make = async || {
        let registry = Memory::new();
        let cached = || Cached::new(Arc::new(registry.clone()), TaskTracker::new());
        Subject::new(Arc::new(cached()), Arc::new(cached()))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[tokio::test]
async fn local_conforms() {
    let make = async || {
        let temp = tempfile::tempdir().unwrap();
        let open = || Local::open_at(temp.path().join("registry")).unwrap();
        Subject::new(Arc::new(open()), Arc::new(open()))
            .with_ttl(Duration::from_millis(800))
            .with_guard(temp)
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[tokio::test]
async fn cached_local_conforms() {
    let make = async || {
        let temp = tempfile::tempdir().unwrap();
        let open = || Local::open_at(temp.path().join("registry")).unwrap();
        let cached = || Cached::new(Arc::new(open()), TaskTracker::new());
        Subject::new(Arc::new(cached()), Arc::new(cached()))
            .with_ttl(Duration::from_millis(800))
            .with_guard(temp)
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Writes the file that a registry of fixed nodes reads.
#[derive(Debug)]
struct Writer {
    path: std::path::PathBuf,
    memory: Memory,
}

impl Writer {
    async fn write(&self) -> Result<(), Error> {
        let mut records = Vec::new();
        for name in self.memory.list().await? {
            records.extend(self.memory.lookup(&name).await?.unwrap_or_default());
        }
        let scratch = self.path.with_extension("next");
        std::fs::write(&scratch, serde_json::to_vec(&records).unwrap()).unwrap();
        std::fs::rename(scratch, &self.path).unwrap();
        Ok(())
    }
}

impl Registry for Writer {
    fn name(&self) -> &'static str {
        "writer"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn register<'a>(
        &'a self,
        record: &'a Record,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.memory.register(record, ttl).await?;
            self.write().await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.memory.deregister(record).await?;
            self.write().await
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>, Error>> {
        self.memory.lookup(service)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.memory.list()
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch, Error>> {
        self.memory.watch(service)
    }
}

#[tokio::test]
async fn a_static_file_conforms() {
    for cached in [false, true] {
        let make = async || {
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("nodes.json");
            std::fs::write(&path, "[]").unwrap();
            let file: Arc<dyn Registry> = Arc::new(StaticFile::open(&path).unwrap());
            let file = if cached { Arc::new(Cached::new(file, TaskTracker::new())) } else { file };
            let writer = Writer { path, memory: Memory::new() };
            // Nothing expires here, but claims wait for parts of it.
            Subject::new(Arc::new(writer), file).with_ttl(Duration::from_secs(2)).with_guard(temp)
        };
        conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
    }
}

#[tokio::test]
async fn a_registry_that_nobody_here_can_write_passes_what_can_be_seen() {
    let make = async || {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("nodes.json");
        std::fs::write(&path, "[]").unwrap();
        let file = Arc::new(StaticFile::open(&path).unwrap());
        Subject::new(Arc::<StaticFile>::clone(&file), file).with_guard(temp)
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[cfg(feature = "mdns")]
#[tokio::test]
async fn mdns_conforms() {
    use crate::registry::Mdns;
    use crate::registry::MdnsConfig;
    let make = async || {
        // A port of its own on loopback keeps it apart from other tests and from the machine.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = MdnsConfig::default().with_port(socket.local_addr().unwrap().port());
        let open = || Arc::new(Mdns::with_config(config.clone()));
        Subject::new(open(), open()).with_ttl(Duration::from_millis(800))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Every flaw must be caught, and by the claim that names it.
#[tokio::test(start_paused = true)]
async fn broken_registries_fail() {
    let flaws = [
        (Flaw::DropsBatchTails, "a_watch_delivers_whole_batches"),
        (Flaw::SkipsTheReset, "a_watch_starts_with_the_state"),
        (Flaw::WatchesTooLate, "nothing_falls_between_a_lookup_and_a_watch"),
        (Flaw::WatchesEverything, "a_watch_tells_only_of_what_is_watched"),
        (Flaw::ExpiresSilently, "a_lease_that_is_not_renewed_ends_for_all_readers"),
        (Flaw::DeclaresAWatch, "capabilities_are_told_truthfully"),
        (Flaw::JoinsKeys, "names_are_not_confused"),
        (Flaw::IgnoresRenewals, "a_renewed_lease_lasts"),
        (Flaw::IgnoresRenewals, "a_node_returns_after_its_lease_ended"),
        (Flaw::PublishesOnce, "registering_again_replaces_and_publishes_every_change"),
        (Flaw::KeepsForever, "a_lease_that_is_not_renewed_ends_for_all_readers"),
        (Flaw::RemovesTheService, "deregistering_a_node_leaves_the_others"),
        (Flaw::RemovesTwins, "a_ghost_does_not_remove_its_restarted_twin"),
        (Flaw::FailsOnNothing, "what_nobody_serves_is_nothing_and_no_error"),
        (Flaw::LowersCase, "odd_names_survive"),
        (Flaw::ForgetsEndpoints, "a_registered_record_is_found_whole"),
        (Flaw::JoinsVersions, "versions_are_separate_records"),
        (Flaw::AcceptsAnything, "what_nobody_could_use_is_refused"),
        (Flaw::ListsUnsorted, "names_are_listed_once_and_sorted"),
    ];
    for (flaw, claim) in flaws {
        let make = async || {
            let broken = Arc::new(Broken::new(flaw));
            Subject::new(Arc::<Broken>::clone(&broken), broken)
        };
        let failures = conformance(make).await.expect_err(&format!("{flaw:?} passed"));
        let caught = failures.names().any(|name| name == claim);
        assert!(caught, "{flaw:?} was not caught by {claim} but: {failures}");
    }
}

/// Tells the addresses of what another registry holds, and nothing else of it.
#[derive(Debug)]
struct Bare(Memory);

impl Bare {
    fn unsupported<T>() -> crate::core::error::Result<T> {
        Err(Error::unimplemented("t", "not by addresses"))
    }
}

impl Registry for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { watch: false, register: false, ..self.0.capabilities() }
    }

    fn register<'a>(
        &'a self,
        _: &'a Record,
        _: Duration,
    ) -> BoxFuture<'a, crate::core::error::Result<()>> {
        Box::pin(async { Self::unsupported() })
    }

    fn deregister<'a>(&'a self, _: &'a Record) -> BoxFuture<'a, crate::core::error::Result<()>> {
        Box::pin(async { Self::unsupported() })
    }

    fn lookup<'a>(
        &'a self,
        service: &'a str,
    ) -> BoxFuture<'a, crate::core::error::Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let found = self.0.lookup(service).await?.unwrap_or_default();
            let nodes = found.into_iter().flat_map(|record| record.nodes).map(|node| {
                let address = node.address;
                Node { id: address.clone(), address, ..Node::default() }
            });
            let name = service.to_owned();
            let record = Record { name, nodes: nodes.collect(), ..Record::default() };
            Ok((!record.nodes.is_empty()).then(|| vec![record]))
        })
    }

    fn list(&self) -> BoxFuture<'_, crate::core::error::Result<Vec<String>>> {
        Box::pin(async { Self::unsupported() })
    }

    fn watch<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, crate::core::error::Result<Watch>> {
        Box::pin(async { Self::unsupported() })
    }
}

fn bare() -> Subject {
    let registry = Memory::new();
    Subject::new(Arc::new(registry.clone()), Arc::new(Bare(registry)))
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_held_to_what_it_says_to_tell() {
    let honest = conformance(async || bare().telling_addresses().without_list()).await;
    honest.unwrap_or_else(|failures| panic!("{failures}"));
    let fails = |failures: Failures, claim| {
        assert!(failures.names().any(|name| name == claim), "{claim} holds: {failures}");
    };
    let boasts = conformance(async || bare().without_list()).await.unwrap_err();
    fails(boasts, "a_registered_record_is_found_whole");
    let silent = conformance(async || bare().telling_addresses()).await.unwrap_err();
    fails(silent, "what_nobody_serves_is_nothing_and_no_error");
    let hidden = async || {
        let registry = Memory::new();
        Subject::new(Arc::new(registry.clone()), Arc::new(registry)).without_list()
    };
    fails(conformance(hidden).await.unwrap_err(), "capabilities_are_told_truthfully");
}
