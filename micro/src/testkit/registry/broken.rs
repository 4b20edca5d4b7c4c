//! A registry with one flaw of choice, each seen in the field.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::registry::Capabilities;
use crate::registry::Event;
use crate::registry::Memory;
use crate::registry::Record;
use crate::registry::Registry;
use crate::registry::Watch;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A watch returns the first event of a batch and drops the rest.
    DropsBatchTails,
    /// A watch does not begin with the state.
    SkipsTheReset,
    /// A watch begins after the state was read, not with it.
    WatchesTooLate,
    /// A watch ignores which service it is for.
    WatchesEverything,
    /// A watch does not tell of leases that end.
    ExpiresSilently,
    /// A watch is declared and not there.
    DeclaresAWatch,
    /// Service and node are one string.
    JoinsKeys,
    /// A node that is known is not renewed.
    IgnoresRenewals,
    /// Only the first record of a node is published.
    PublishesOnce,
    /// Leases never end.
    KeepsForever,
    /// Deregistering one node removes its service.
    RemovesTheService,
    /// A ghost removes the node that has taken its id.
    RemovesTwins,
    /// What nobody serves is an error.
    FailsOnNothing,
    /// Names lose their case.
    LowersCase,
    /// Endpoints are not kept.
    ForgetsEndpoints,
    /// Versions run together.
    JoinsVersions,
    /// Whatever cannot be registered is quietly ignored.
    AcceptsAnything,
    /// Names are listed as they come.
    ListsUnsorted,
}

#[derive(Debug)]
pub(super) struct Broken {
    memory: Memory,
    flaw: Flaw,
    known: Mutex<BTreeSet<(String, String)>>,
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { memory: Memory::new(), flaw, known: Mutex::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// Returns the record as this registry takes it.
    fn taken(&self, record: &Record) -> Record {
        let mut record = record.clone();
        match self.flaw {
            Flaw::LowersCase => record.name = record.name.to_lowercase(),
            Flaw::ForgetsEndpoints => record.endpoints.clear(),
            Flaw::JoinsVersions => record.version.clear(),
            _ => {}
        }
        record
    }

    async fn nodes(&self) -> Vec<Record> {
        let mut nodes = Vec::new();
        for name in self.memory.list().await.unwrap() {
            let records = self.memory.lookup(&name).await.unwrap().unwrap_or_default();
            nodes.extend(records.iter().flat_map(Record::split));
        }
        nodes
    }

    async fn flawed_register(&self, record: &Record, ttl: Duration) -> Result<()> {
        let record = self.taken(record);
        let key = (record.name.clone(), record.nodes.first().map_or("", |n| &n.id).to_owned());
        let first = self.known.lock().unwrap().insert(key);
        if self.is(Flaw::IgnoresRenewals) && !first {
            return Ok(());
        }
        let id = record.nodes.first().map(|node| &node.id);
        let old = self.nodes().await;
        let old = old.iter().find(|old| old.name == record.name && Some(&old.nodes[0].id) == id);
        match (self.flaw, old) {
            (Flaw::PublishesOnce, Some(old)) => self.memory.register(old, ttl).await,
            (Flaw::KeepsForever, _) => self.memory.register(&record, ttl * 10_000).await,
            (Flaw::AcceptsAnything, _) => {
                self.memory.register(&record, ttl).await.ok();
                Ok(())
            }
            _ => self.memory.register(&record, ttl).await,
        }
    }

    async fn flawed_deregister(&self, record: &Record) -> Result<()> {
        let record = self.taken(record);
        let node = &record.nodes[0];
        self.known.lock().unwrap().remove(&(record.name.clone(), node.id.clone()));
        for known in self.nodes().await {
            let (name, other) = (&known.name, &known.nodes[0]);
            let hit = match self.flaw {
                Flaw::JoinsKeys => {
                    format!("{name}{}", other.id) == format!("{}{}", record.name, node.id)
                }
                Flaw::RemovesTheService => *name == record.name,
                Flaw::RemovesTwins => *name == record.name && other.id == node.id,
                _ => false,
            };
            if hit {
                self.memory.deregister(&known).await?;
            }
        }
        self.memory.deregister(&record).await
    }

    async fn flawed_watch(&self, service: Option<&str>) -> Result<Watch> {
        let filter = if self.is(Flaw::WatchesEverything) { None } else { service };
        if self.is(Flaw::DeclaresAWatch) {
            return Err(Error::unimplemented("broken", "no watch"));
        }
        let mut inner = self.memory.watch(filter).await?;
        if self.is(Flaw::SkipsTheReset) {
            inner.next().await;
        }
        let early = if self.is(Flaw::WatchesTooLate) { inner.next().await } else { None };
        if early.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            inner = self.memory.watch(filter).await?;
            inner.next().await;
        }
        let (sender, events) = mpsc::channel(1024);
        if let Some(state) = early {
            sender.try_send(state).unwrap();
        }
        let flaw = self.flaw;
        let memory = self.memory.clone();
        let driver = async move {
            while let Some(event) = inner.next().await {
                let mut tail = Vec::new();
                while flaw == Flaw::DropsBatchTails && inner.try_next().is_some() {}
                tail.push(event);
                for event in tail {
                    let silent = matches!(event, Event::Remove { .. })
                        && flaw == Flaw::ExpiresSilently
                        && memory.list().await.unwrap().is_empty();
                    if !silent && sender.send(event).await.is_err() {
                        return;
                    }
                }
            }
        };
        Ok(Watch::driven(events, (), driver))
    }
}

impl Registry for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.flawed_register(record, ttl))
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.flawed_deregister(record))
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let lower = service.to_lowercase();
            let service = if self.is(Flaw::LowersCase) { lower.as_str() } else { service };
            let found = self.memory.lookup(service).await?;
            if found.is_none() && self.is(Flaw::FailsOnNothing) {
                return Err(Error::not_found("broken", "service not found"));
            }
            Ok(found)
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let mut names = self.memory.list().await?;
            if self.is(Flaw::ListsUnsorted) {
                names.reverse();
            }
            Ok(names)
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.flawed_watch(service))
    }
}
