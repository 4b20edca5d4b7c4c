//! What a watch tells, from the changes of keys to events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result};
use crate::driver;
use crate::driver::etcd::{KeyValue, Span, Told, WatchEvent, Watcher};
use crate::registry::check::ERROR_ID;
use crate::registry::etcd::place::decode;
use crate::registry::record::Record;
use crate::registry::{Event, Watch};

/// Events that wait for one watcher.
const EVENTS_QUEUED_MAX: usize = 1024;
/// The longest that a watcher may take to make room for an event; then it is ended.
const SLOW_WATCHER_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes that one watch keeps; further ones are not told.
const NODES_MAX: usize = 200_000;
/// For how long after a break nodes that vanish are not told, and then those that are gone as a
/// whole state: two heartbeats of the usual pace, within which those that live are back.
const GRACE: Duration = Duration::from_secs(10);
/// Pauses between tries to read the state after a gap.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The task behind a watch.
pub(super) struct Follower {
    etcd: Arc<driver::Etcd>,
    span: Span,
    /// `None` for all services.
    service: Option<String>,
    known: Known,
    events: mpsc::Sender<Event>,
}

/// The nodes that the watcher has been told of.
#[derive(Debug, Default)]
struct Known(BTreeMap<Bytes, Record>);

/// The watcher is gone or too slow.
struct Left;

impl Follower {
    /// Begins a watch with the state at this moment.
    pub(super) async fn start(
        etcd: Arc<driver::Etcd>,
        span: Span,
        service: Option<&str>,
    ) -> Result<Watch> {
        let (found, moment) = etcd.whole(&span, false).await?;
        let (events, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let service = service.map(str::to_owned);
        let mut follower = Self { etcd, span, service, known: Known::default(), events };
        let reset = follower.take(found);
        if follower.events.try_send(reset).is_err() {
            return Err(Error::internal(ERROR_ID, "an empty queue is full"));
        }
        let watcher = Watcher::new(Arc::clone(&follower.etcd), follower.span.clone(), moment);
        let etcd = Arc::clone(&follower.etcd);
        let task = etcd.tasks().spawn("registry.etcd.watch", follower.run(watcher));
        Ok(Watch::new(receiver, task.abort_on_drop()))
    }

    async fn run(mut self, mut watcher: Watcher) {
        // When a whole state is told in place of losses that were kept back.
        let mut owed = None;
        loop {
            // Cancel safety: `next` tells again what it did not return, the other only waits.
            let told = tokio::select! {
                told = watcher.next() => Some(told),
                () = until(owed) => None,
            };
            let told = match told {
                Some(Told::Batch(batch)) => {
                    let mut events = self.known.changes(batch, self.service.as_deref());
                    let is_loss = |event: &Event| matches!(event, Event::Remove { .. });
                    if watcher.resumed_within(GRACE) && events.iter().any(is_loss) {
                        events.retain(|event| !is_loss(event));
                        owed = owed.or_else(|| Some(clock::after(clock::now(), GRACE)));
                    }
                    self.tell(events).await
                }
                Some(Told::Gap) => {
                    let reset = self.read(&mut watcher).await;
                    self.tell(vec![reset]).await
                }
                None => {
                    owed = None;
                    self.tell(vec![self.known.reset()]).await
                }
            };
            if let Err(Left) = told {
                return;
            }
        }
    }

    /// Reads the state, however long the server is away, and goes on from there.
    async fn read(&mut self, watcher: &mut Watcher) -> Event {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            match self.etcd.whole(&self.span, false).await {
                Ok((found, moment)) => {
                    watcher.go_on_from(moment);
                    return self.take(found);
                }
                Err(error) => tracing::debug!(%error, "the registry cannot be read after a gap"),
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }

    fn take(&mut self, found: Vec<KeyValue>) -> Event {
        let service = self.service.as_deref();
        let wanted = |record: &Record| service.is_none_or(|service| record.name == service);
        let records = found.into_iter().filter_map(|kv| Some((kv.key, decode(&kv.value)?)));
        self.known.0 = records.filter(|(_, record)| wanted(record)).take(NODES_MAX).collect();
        self.known.reset()
    }

    async fn tell(&self, events: Vec<Event>) -> Result<(), Left> {
        for event in events {
            match clock::timeout(SLOW_WATCHER_TIMEOUT, self.events.send(event)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Left),
            }
        }
        Ok(())
    }
}

impl Known {
    fn reset(&self) -> Event {
        Event::Reset(Record::merge(self.0.values().cloned()))
    }

    /// Takes changes over and returns what they are to the watcher.
    fn changes(&mut self, batch: Vec<WatchEvent>, service: Option<&str>) -> Vec<Event> {
        let mut events = Vec::new();
        for event in batch {
            let is_delete = event.is_delete();
            let Some(kv) = event.kv else { continue };
            let record = if is_delete { None } else { decode(&kv.value) };
            let record =
                record.filter(|record| service.is_none_or(|service| record.name == service));
            let old = self.0.get(&kv.key);
            if old == record.as_ref() {
                continue;
            }
            // What a key held is known, so a delete need not tell it.
            if let Some(old) = old
                && !record.as_ref().is_some_and(|record| is_same_node(old, record))
            {
                let node = old.nodes.iter().map(|node| node.id.clone()).next().unwrap_or_default();
                events.push(Event::Remove { service: old.name.clone(), node });
                self.0.remove(&kv.key);
            }
            if let Some(record) = record
                && (self.0.len() < NODES_MAX || self.0.contains_key(&kv.key))
            {
                events.push(Event::Update(record.clone()));
                self.0.insert(kv.key, record);
            }
        }
        events
    }
}

async fn until(owed: Option<Instant>) {
    match owed {
        Some(owed) => clock::sleep_until(owed).await,
        None => std::future::pending().await,
    }
}

fn is_same_node(one: &Record, other: &Record) -> bool {
    let ids = |record: &Record| record.nodes.first().map(|node| node.id.clone());
    one.name == other.name && ids(one) == ids(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::etcd::place::encode;
    use crate::registry::record::Node;

    fn record(service: &str, id: &str, address: &str) -> Record {
        let node = Node { id: id.into(), address: address.into(), ..Node::default() };
        Record { name: service.into(), nodes: vec![node], ..Record::default() }
    }

    fn put(key: &'static str, record: &Record) -> WatchEvent {
        WatchEvent::put(key, encode(record).unwrap())
    }

    fn removed(service: &str, node: &str) -> Event {
        Event::Remove { service: service.into(), node: node.into() }
    }

    #[test]
    fn a_delete_is_told_by_what_the_key_held() {
        let mut known = Known::default();
        let a = record("a/b", "n/1", "h:1");
        let told = known.changes(vec![put("k", &a), put("k", &a)], None);
        assert_eq!(told, [Event::Update(a)]);
        assert_eq!(known.changes(vec![WatchEvent::delete("k")], None), [removed("a/b", "n/1")]);
        assert_eq!(known.changes(vec![WatchEvent::delete("k")], None), []);
    }

    #[test]
    fn a_key_that_two_names_share_is_told_as_a_change_of_nodes() {
        let mut known = Known::default();
        let (one, other) = (record("a/b", "n", "h:1"), record("a-b", "n", "h:2"));
        let batch = vec![put("k", &one), put("k", &other)];
        let told = known.changes(batch.clone(), None);
        assert_eq!(told, [Event::Update(one.clone()), removed("a/b", "n"), Event::Update(other)]);
        let mut known = Known::default();
        assert_eq!(known.changes(batch, Some("a/b")), [Event::Update(one), removed("a/b", "n")]);
    }

    #[test]
    fn what_is_no_record_takes_the_one_before_away() {
        let mut known = Known::default();
        let a = record("a", "n", "h:1");
        known.changes(vec![put("k", &a)], None);
        let told = known.changes(vec![WatchEvent::put("k", &b"{"[..])], None);
        assert_eq!(told, [removed("a", "n")]);
        assert!(known.0.is_empty());
    }
}
