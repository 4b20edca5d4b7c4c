//! What a watch tells, from the changes of nodes to events.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use zookeeper_client::{AddWatchMode, EventType, PersistentWatcher, SessionState, WatchedEvent};

use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::driver;
use crate::registry::check::ERROR_ID;
use crate::registry::record::Record;
use crate::registry::zookeeper::place::Place;
use crate::registry::zookeeper::read::{self, Found};
use crate::registry::{Event, Watch};

/// Events that wait for one watcher.
const EVENTS_QUEUED_MAX: usize = 1024;
/// The longest that a watcher may take to make room for an event; then it is ended.
const SLOW_WATCHER_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long after a break nodes that vanish are not told, and then those that are gone as a
/// whole state: two heartbeats of the usual pace, within which those that live are back.
const GRACE: Duration = Duration::from_secs(10);
/// Pauses between tries to watch again after a break.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The task behind a watch.
pub(super) struct Follower {
    zookeeper: Arc<driver::ZooKeeper>,
    place: Place,
    /// The path of the service that is watched; `None` for all.
    service: Option<String>,
    known: Found,
    events: mpsc::Sender<Event>,
    /// When it went on after a break; `None` before the first.
    resumed: Option<Instant>,
    /// When a whole state is told in place of losses that were kept back.
    owed: Option<Instant>,
}

/// The watcher is gone or too slow.
struct Left;

impl Follower {
    /// Begins a watch with the state at this moment.
    pub(super) async fn start(
        zookeeper: Arc<driver::ZooKeeper>,
        place: Place,
        service: Option<&str>,
    ) -> Result<Watch> {
        let (events, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let service = service.map(|service| place.service(service));
        let (known, resumed, owed) = (Found::new(), None, None);
        let mut follower = Self { zookeeper, place, service, known, events, resumed, owed };
        let watcher = follower.begin().await?;
        if follower.events.try_send(follower.reset()).is_err() {
            return Err(Error::internal(ERROR_ID, "an empty queue is full"));
        }
        let zookeeper = Arc::clone(&follower.zookeeper);
        let task = zookeeper.tasks().spawn("registry.zookeeper.watch", follower.run(watcher));
        Ok(Watch::new(receiver, task.abort_on_drop()))
    }

    /// Watches in the present session, and reads what is there.
    async fn begin(&mut self) -> Result<PersistentWatcher> {
        let client = self.zookeeper.session().await?.client;
        let path = self.service.as_deref().unwrap_or(self.place.root());
        let asked = client.watch(path, AddWatchMode::PersistentRecursive);
        let watcher = self.zookeeper.answer("to watch", Retry::Safe, asked).await?;
        let watcher = watcher.map_err(|fault| {
            Error::internal(ERROR_ID, format!("zookeeper does not watch {path}: {fault}"))
        })?;
        self.known = self.read().await?;
        Ok(watcher)
    }

    async fn read(&self) -> Result<Found> {
        match &self.service {
            Some(service) => read::service(&self.zookeeper, service).await,
            None => read::all(&self.zookeeper, &self.place).await,
        }
    }

    fn reset(&self) -> Event {
        Event::Reset(Record::merge(self.known.values().cloned()))
    }

    async fn run(mut self, first: PersistentWatcher) {
        let mut watcher = first;
        loop {
            // It returns when what the watcher tells can no more be trusted.
            match self.follow(&mut watcher).await {
                Ok(()) => {}
                Err(Left) => return,
            }
            drop(watcher);
            let before = self.known.clone();
            let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
            watcher = loop {
                match self.begin().await {
                    Ok(watcher) => break watcher,
                    Err(error) => tracing::debug!(%error, "a watch of zookeeper waits"),
                }
                clock::sleep(backoff.next_delay()).await;
            };
            let now = clock::now();
            self.resumed = Some(now);
            let mut events: Vec<Event> = Vec::new();
            for (path, record) in &self.known {
                if before.get(path) != Some(record) {
                    events.push(Event::Update(record.clone()));
                }
            }
            if before.keys().any(|path| !self.known.contains_key(path)) {
                self.owed = Some(clock::after(now, GRACE));
            }
            for event in events {
                if let Err(Left) = self.tell(event).await {
                    return;
                }
            }
        }
    }

    /// Tells changes until the connection breaks, after which some are missing.
    async fn follow(&mut self, watcher: &mut PersistentWatcher) -> Result<(), Left> {
        loop {
            // Cancel safety: `changed` keeps what it does not return, the other only waits.
            let event = tokio::select! {
                event = watcher.changed() => event,
                () = until(self.owed) => {
                    self.owed = None;
                    self.tell(self.reset()).await?;
                    continue;
                }
            };
            if event.event_type == EventType::Session {
                match event.session_state {
                    SessionState::Disconnected => continue,
                    _ => return Ok(()),
                }
            }
            let Ok(event) = self.change(&event).await else { return Ok(()) };
            if let Some(event) = event {
                self.tell(event).await?;
            }
        }
    }

    /// Takes a change over; what is read is at least as late as the change.
    async fn change(&mut self, event: &WatchedEvent) -> Result<Option<Event>> {
        let path = &event.path;
        if !self.place.is_node(path) {
            return Ok(None);
        }
        // One that was deleted may have been replaced at once.
        let record = read::node(&self.zookeeper, path).await?;
        if self.known.get(path) == record.as_ref() {
            return Ok(None);
        }
        if let Some(record) = record {
            self.known.insert(path.clone(), record.clone());
            return Ok(Some(Event::Update(record)));
        }
        let Some(old) = self.known.remove(path) else { return Ok(None) };
        if self.resumed.is_some_and(|at| clock::now() < clock::after(at, GRACE)) {
            self.owed = self.owed.or_else(|| Some(clock::after(clock::now(), GRACE)));
            return Ok(None);
        }
        let node = old.nodes.first().map(|node| node.id.clone()).unwrap_or_default();
        Ok(Some(Event::Remove { service: old.name, node }))
    }

    async fn tell(&self, event: Event) -> Result<(), Left> {
        match clock::timeout(SLOW_WATCHER_TIMEOUT, self.events.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Left),
        }
    }
}

async fn until(owed: Option<Instant>) {
    match owed {
        Some(owed) => clock::sleep_until(owed).await,
        None => std::future::pending().await,
    }
}
