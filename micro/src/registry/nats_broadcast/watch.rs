//! A watch: announcements, and questions for what got lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Shared;
use super::ask::{NodeKey, ask, node_key};
use super::message::{Action, Message, WATCH};
use crate::core::clock;
use crate::core::error::Result;
use crate::driver::Feed;
use crate::registry::pace::jitter;
use crate::registry::record::Record;
use crate::registry::{Event, Watch};

/// Events that wait for the reader.
const EVENTS_QUEUED_MAX: usize = 1024;

/// Pause between questions, jittered by [`ASK_JITTER_PERCENT`].
const ASK_INTERVAL: Duration = Duration::from_secs(3);

/// Jitter of the pause, either way.
const ASK_JITTER_PERCENT: u32 = 20;

/// Questions in a row that a node leaves unanswered before it counts as gone.
const MISSES_MAX: u32 = 2;

/// A node that is known.
struct Known {
    record: Record,
    /// Questions in a row that it has not answered.
    misses: u32,
}

struct Watcher {
    shared: Arc<Shared>,
    service: Option<String>,
    announced: Feed,
    known: BTreeMap<NodeKey, Known>,
    /// Nodes of which was announced that they are there, or are no more, while a question was open:
    /// the announcement is newer than the answer. At most as many as may be known.
    announced_since: BTreeSet<NodeKey>,
}

/// Begins a watch; its first event is the state.
pub(super) async fn watch(shared: Arc<Shared>, service: Option<&str>) -> Result<Watch> {
    let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
    shared.nats.connected().await?;
    let announced = shared.nats.listen(WATCH).await?;
    let service = service.map(str::to_owned);
    let (known, announced_since) = (BTreeMap::new(), BTreeSet::new());
    let mut watcher = Watcher { shared, service, announced, known, announced_since };
    watcher.question().await?;
    let records = watcher.known.values().map(|known| known.record.clone());
    let reset = Event::Reset(Record::merge(records));
    // There is room, and the reader is here.
    let _told = sender.try_send(reset);
    Ok(Watch::driven(events, (), watcher.run(sender)))
}

impl Watcher {
    async fn run(mut self, events: mpsc::Sender<Event>) {
        let mut next = clock::after(clock::now(), jitter(ASK_INTERVAL, ASK_JITTER_PERCENT));
        loop {
            // Cancel safety: both arms only wait.
            let changes = tokio::select! {
                message = self.announced.next() => match message {
                    Some(message) => self.hear(&message.body).into_iter().collect(),
                    None => return,
                },
                () = clock::sleep_until(next) => {
                    next = clock::after(clock::now(), jitter(ASK_INTERVAL, ASK_JITTER_PERCENT));
                    self.question().await.unwrap_or_else(|error| {
                        tracing::debug!(%error, "a watch of the registry waits");
                        Vec::new()
                    })
                }
            };
            for change in changes {
                if events.send(change).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Asks who is there, hears what is announced meanwhile, and returns what has changed.
    async fn question(&mut self) -> Result<Vec<Event>> {
        let mut answers = ask(&self.shared, self.service.as_deref()).await?;
        self.announced_since.clear();
        let (mut answered, mut changes) = (BTreeSet::new(), Vec::new());
        loop {
            // Cancel safety: both arms only wait. Announcements first: they are newer.
            tokio::select! {
                biased;
                message = self.announced.next() => match message {
                    Some(message) => changes.extend(self.hear(&message.body)),
                    None => break,
                },
                records = answers.next() => {
                    let Some(records) = records else { break };
                    for record in records {
                        let Some(key) = node_key(&record) else { continue };
                        if !self.announced_since.contains(&key) {
                            changes.extend(self.put(key.clone(), record));
                        }
                        answered.insert(key);
                    }
                }
            }
        }
        // Silence means nothing where the question or the answers were lost.
        answers.check(&self.shared)?;
        let mut gone = Vec::new();
        for (key, known) in &mut self.known {
            let is_there = answered.contains(key) || self.announced_since.contains(key);
            known.misses = if is_there { 0 } else { known.misses.saturating_add(1) };
            if known.misses >= MISSES_MAX {
                gone.push(key.clone());
            }
        }
        changes.extend(gone.into_iter().filter_map(|key| self.remove(key)));
        Ok(changes)
    }

    /// Takes an announcement; `None` if it changes nothing.
    fn hear(&mut self, body: &[u8]) -> Option<Event> {
        let Message { action, service } = Message::read(body)?;
        let record = service?;
        // Invariant: one node in each, as its process announces itself.
        let record = Some(record).filter(|record| record.nodes.len() == 1)?;
        if self.service.as_ref().is_some_and(|service| *service != record.name) {
            return None;
        }
        let key = node_key(&record)?;
        match action {
            Action::Create | Action::Update => {
                self.note(&key);
                self.put(key, record)
            }
            Action::Delete => {
                // Another address is that of a twin started since: it stays.
                let address = |record: &Record| record.nodes.first().map(|n| n.address.clone());
                let known = self.known.get(&key);
                if known.is_some_and(|known| address(&known.record) != address(&record)) {
                    return None;
                }
                // One that is not known yet may have answered before it ended.
                self.note(&key);
                self.remove(key)
            }
            Action::Get | Action::List => None,
        }
    }

    fn note(&mut self, key: &NodeKey) {
        if self.announced_since.len() < self.known_max() {
            self.announced_since.insert(key.clone());
        }
    }

    /// Returns how many nodes may be known.
    fn known_max(&self) -> usize {
        let limits = &self.shared.limits;
        match self.service {
            Some(_) => limits.nodes_per_service_max,
            None => limits.nodes_per_service_max.saturating_mul(limits.services_max),
        }
    }

    fn put(&mut self, key: NodeKey, record: Record) -> Option<Event> {
        let known = self.known.get(&key);
        if known.is_some_and(|known| known.record == record) {
            return None;
        }
        let most = self.known_max();
        if known.is_none() && self.known.len() >= most {
            tracing::warn!(most, "a watch of the registry knows as many nodes as it may");
            return None;
        }
        self.known.insert(key, Known { record: record.clone(), misses: 0 });
        Some(Event::Update(record))
    }

    fn remove(&mut self, (service, node): NodeKey) -> Option<Event> {
        let key = (service, node);
        self.known.remove(&key)?;
        Some(Event::Remove { service: key.0, node: key.1 })
    }
}
