//! Registry in the memory of one process, shared by clones.
//!
//! Consistency: a lookup sees every registration that returned before it. Durability: none.
//! Limits: services and nodes as [`RegistryLimits`] says; a watcher 1,024 events behind is ended.
//! Failure behaviour: never fails but for limits and malformed records. Configuration: none.

use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::registry::Capabilities;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::check::check;
use crate::registry::check::own_node;
use crate::registry::record::Record;
use crate::registry::table::Table;

/// A registry for the services of one process, and for tests.
///
/// Clones share the records. Time is tokio's: under a paused clock leases expire in virtual time.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Table,
    limits: RegistryLimits,
}

impl Memory {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty registry with other limits.
    pub fn with_limits(limits: RegistryLimits) -> Self {
        Self { shared: Arc::new(Shared { table: Table::default(), limits }) }
    }
}

impl Registry for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: Duration::ZERO }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = check(record, ttl, &self.shared.limits)?;
            let expires = Some(clock::after(clock::now(), ttl));
            self.shared.table.put(node, record, expires, &self.shared.limits)
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = own_node(record)?;
            // Another address means that a twin has taken the id since: it stays.
            self.shared.table.remove_if(&record.name, &node.id, |known| {
                known.nodes.iter().all(|known| known.address == node.address)
            });
            Ok(())
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move { Ok(self.shared.table.lookup(service)) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move { Ok(self.shared.table.list()) })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let events = self.shared.table.watch(service);
            let shared = Arc::clone(&self.shared);
            Ok(Watch::driven(events, (), async move { shared.table.expire().await }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Event;
    use crate::registry::record::Node;

    const TTL: Duration = Duration::from_secs(15);

    fn record(service: &str, id: &str) -> Record {
        let node = Node { id: id.into(), address: "127.0.0.1:1".into(), ..Node::default() };
        Record { name: service.into(), nodes: vec![node], ..Record::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_hears_of_an_expiry_when_it_happens() {
        let registry = Memory::new();
        let mut watch = registry.watch(Some("greeter")).await.unwrap();
        assert_eq!(watch.next().await, Some(Event::Reset(vec![])));
        registry.register(&record("greeter", "a"), TTL).await.unwrap();
        assert!(matches!(watch.next().await, Some(Event::Update(_))));
        let start = clock::now();
        let removed = Event::Remove { service: "greeter".into(), node: "a".into() };
        assert_eq!(watch.next().await, Some(removed));
        assert_eq!(clock::now() - start, TTL);
    }

    #[tokio::test(start_paused = true)]
    async fn renewals_are_silent_and_a_later_shorter_lease_is_noticed() {
        let registry = Memory::new();
        let mut watch = registry.watch(None).await.unwrap();
        registry.register(&record("a", "1"), TTL).await.unwrap();
        registry.register(&record("a", "1"), TTL).await.unwrap();
        for _ in 0..2 {
            watch.next().await.unwrap();
        }
        // The watch sleeps until the first lease ends; a shorter one must wake it.
        let (_, event) = tokio::join!(
            async { registry.register(&record("b", "2"), TTL / 5).await.unwrap() },
            watch.next(),
        );
        assert!(matches!(event, Some(Event::Update(_))));
        let start = clock::now();
        let removed = Event::Remove { service: "b".into(), node: "2".into() };
        assert_eq!(watch.next().await, Some(removed));
        assert_eq!(clock::now() - start, TTL / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn r2_a_watcher_far_behind_is_ended_after_what_was_queued() {
        let registry = Memory::new();
        let mut watch = registry.watch(None).await.unwrap();
        for n in 0..2000 {
            registry.register(&record("a", &n.to_string()), TTL).await.unwrap();
        }
        let mut events = 0;
        while watch.next().await.is_some() {
            events += 1;
        }
        assert_eq!(events, 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_and_services_are_limited() {
        let mut limits = RegistryLimits::default();
        (limits.nodes_per_service_max, limits.services_max) = (2, 2);
        let registry = Memory::with_limits(limits);
        for (service, node, code) in [
            ("a", "1", 0),
            ("a", "2", 0),
            ("a", "3", 429),
            ("b", "1", 0),
            ("c", "1", 429),
            ("a", "2", 0),
        ] {
            let result = registry.register(&record(service, node), TTL).await;
            assert_eq!(result.map_or_else(|error| error.code(), |()| 0), code, "{service} {node}");
        }
        for n in 0..20 {
            let node = registry.register(&record("a", &format!("far-{n}")), TTL).await;
            let service = registry.register(&record(&format!("far-{n}"), "1"), TTL).await;
            assert_eq!((node.unwrap_err().code(), service.unwrap_err().code()), (429, 429));
        }
    }
}
