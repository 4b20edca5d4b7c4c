//! The records one process knows, and those who want to hear of changes to them.
//!
//! The common ground of the backends that keep or mirror a registry in memory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::RegistryLimits;
use crate::registry::Event;
use crate::registry::check::ERROR_ID;
use crate::registry::record::Node;
use crate::registry::record::Record;

/// Events that wait for one watcher. A watcher that falls further behind is cut off: it reads what
/// was queued, then the end, and watches again from a `Reset`.
const EVENTS_QUEUED_MAX: usize = 1024;

/// Nodes by service and id, with expiry and watchers.
#[derive(Debug, Default)]
pub(super) struct Table {
    inner: Mutex<Inner>,
    /// Told when an expiry earlier than all others is added.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    services: BTreeMap<String, BTreeMap<String, Entry>>,
    watchers: Vec<Watcher>,
    /// The instant the expiry loop sleeps until. Invariant: no entry expires before it.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    /// Holds exactly one node.
    record: Record,
    expires: Option<Instant>,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

#[derive(Debug)]
struct Watcher {
    /// `None` watches all services.
    service: Option<String>,
    events: mpsc::Sender<Event>,
}

impl Table {
    /// Adds or replaces a node; watchers hear of it unless nothing but the expiry changed.
    ///
    /// # Errors
    ///
    /// 429 if the service or the registry is full.
    pub(super) fn put(
        &self,
        node: &Node,
        record: &Record,
        expires: Option<Instant>,
        limits: &RegistryLimits,
    ) -> Result<()> {
        let mut inner = self.lock();
        // An expired twin goes first, so that watchers see it leave and return.
        inner.remove_if(&record.name, &node.id, |entry| !entry.is_live(clock::now()));
        inner.check_room(&record.name, &node.id, limits)?;
        inner.put(node, record, expires);
        if let Some(expires) = expires
            && inner.earliest.is_none_or(|earliest| expires < earliest)
        {
            inner.earliest = Some(expires);
            self.sooner.notify_waiters();
        }
        Ok(())
    }

    /// Removes a node whose record satisfies `condition`; returns whether it did.
    pub(super) fn remove_if(
        &self,
        service: &str,
        node: &str,
        condition: impl FnOnce(&Record) -> bool,
    ) -> bool {
        self.lock().remove_if(service, node, |entry| condition(&entry.record))
    }

    /// Makes the table hold exactly `records`, telling watchers each difference.
    ///
    /// The caller has checked the limits.
    pub(super) fn replace(&self, records: &[Record]) {
        let mut inner = self.lock();
        let keep: BTreeSet<(&str, &str)> = records
            .iter()
            .flat_map(|record| record.nodes.iter().map(|node| (&*record.name, &*node.id)))
            .collect();
        let known = inner.services.iter().flat_map(|(s, nodes)| nodes.keys().map(move |n| (s, n)));
        let gone: Vec<(String, String)> = known
            .filter(|(service, node)| !keep.contains(&(service.as_str(), node.as_str())))
            .map(|(service, node)| (service.clone(), node.clone()))
            .collect();
        for (service, node) in gone {
            inner.remove_if(&service, &node, |_| true);
        }
        for record in records.iter().flat_map(Record::split) {
            if let Some(node) = record.nodes.first() {
                inner.put(node, &record, None);
            }
        }
    }

    /// Returns the live nodes of a service, `None` if there are none.
    pub(super) fn lookup(&self, service: &str) -> Option<Vec<Record>> {
        let now = clock::now();
        let inner = self.lock();
        let live = inner.services.get(service)?.values().filter(|entry| entry.is_live(now));
        let records = Record::merge(live.map(|entry| entry.record.clone()));
        if records.is_empty() { None } else { Some(records) }
    }

    /// Returns the names of the services with a live node.
    pub(super) fn list(&self) -> Vec<String> {
        let now = clock::now();
        let inner = self.lock();
        let live =
            inner.services.iter().filter(|(_, nodes)| nodes.values().any(|e| e.is_live(now)));
        live.map(|(name, _)| name.clone()).collect()
    }

    /// Starts a watch; the state at this moment is its first event.
    pub(super) fn watch(&self, service: Option<&str>) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let mut inner = self.lock();
        // Whatever expired is told to the others first: the state sent here is what all have seen.
        inner.expire(clock::now());
        let nodes = inner.services.iter().filter(|(name, _)| service.is_none_or(|s| s == *name));
        let records = nodes.flat_map(|(_, nodes)| nodes.values().map(|entry| entry.record.clone()));
        let reset = Event::Reset(Record::merge(records));
        if events.try_send(reset).is_ok() {
            inner.watchers.retain(|watcher| !watcher.events.is_closed());
            inner.watchers.push(Watcher { service: service.map(str::to_owned), events });
        }
        receiver
    }

    /// Removes nodes as they expire, forever. Any number of tasks may do so at once.
    pub(super) async fn expire(&self) {
        loop {
            let sooner = self.sooner.notified();
            tokio::pin!(sooner);
            // Registered before the table is read, so that no wake-up falls in between.
            sooner.as_mut().enable();
            let earliest = {
                let mut inner = self.lock();
                inner.expire(clock::now());
                inner.earliest
            };
            // Cancel safety: both arms only wait; the table is read again in either case.
            match earliest {
                Some(earliest) => tokio::select! {
                    () = sooner => {}
                    () = clock::sleep_until(earliest) => {}
                },
                None => sooner.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the maps whole, so a poisoned lock is still sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check_room(&self, service: &str, node: &str, limits: &RegistryLimits) -> Result<()> {
        let full = |what: &str, max: usize| {
            let detail =
                format!("{what} is full: {max} allowed, refusing node {node} of {service}");
            Err(Error::too_many_requests(ERROR_ID, detail))
        };
        match self.services.get(service) {
            Some(nodes) if nodes.contains_key(node) => Ok(()),
            Some(nodes) if nodes.len() >= limits.nodes_per_service_max => {
                full("the service", limits.nodes_per_service_max)
            }
            None if self.services.len() >= limits.services_max => {
                full("the registry", limits.services_max)
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, node: &Node, record: &Record, expires: Option<Instant>) {
        let nodes = self.services.entry(record.name.clone()).or_default();
        let known = nodes.get_mut(&node.id).filter(|entry| entry.record == *record);
        if let Some(known) = known {
            known.expires = expires;
        } else {
            nodes.insert(node.id.clone(), Entry { record: record.clone(), expires });
            self.tell(&record.name, || Event::Update(record.clone()));
        }
    }

    fn remove_if(&mut self, service: &str, node: &str, gone: impl FnOnce(&Entry) -> bool) -> bool {
        let Some(nodes) = self.services.get_mut(service) else { return false };
        if !nodes.get(node).is_some_and(gone) {
            return false;
        }
        nodes.remove(node);
        if nodes.is_empty() {
            self.services.remove(service);
        }
        self.tell(service, || Event::Remove { service: service.to_owned(), node: node.to_owned() });
        true
    }

    fn expire(&mut self, now: Instant) {
        if self.earliest.is_some_and(|earliest| earliest > now) {
            return;
        }
        let all = self.services.iter().flat_map(|(s, nodes)| nodes.iter().map(move |n| (s, n)));
        let dead: Vec<(String, String)> = all
            .filter(|(_, (_, entry))| !entry.is_live(now))
            .map(|(service, (node, _))| (service.clone(), node.clone()))
            .collect();
        for (service, node) in dead {
            self.remove_if(&service, &node, |_| true);
        }
        self.earliest =
            self.services.values().flat_map(BTreeMap::values).filter_map(|e| e.expires).min();
    }

    /// Tells the watchers of a service; those gone or too far behind are dropped.
    fn tell(&mut self, service: &str, event: impl Fn() -> Event) {
        self.watchers.retain(|watcher| {
            let wanted = watcher.service.as_deref().is_none_or(|wanted| wanted == service);
            !wanted || watcher.events.try_send(event()).is_ok()
        });
    }
}
