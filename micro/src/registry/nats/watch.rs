//! A watch that begins again by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{names, read};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::driver::{Begin, Bucket, Entry, Follower};
use crate::registry::record::Record;
use crate::registry::{Event, Watch};

/// Events that wait for the reader; what follows them waits on the server.
const EVENTS_QUEUED_MAX: usize = 1024;

/// The longest first pause before a watch begins again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause before a watch begins again.
const PAUSE_MAX: Duration = Duration::from_millis(1500);

/// Who watches is gone.
struct Gone;

/// A watch and what it knows.
struct Watcher {
    bucket: Arc<Bucket>,
    pattern: String,
    most: usize,
    /// The bytes under each key: a heartbeat changes nothing.
    known: BTreeMap<String, Bytes>,
    events: mpsc::Sender<Event>,
}

/// Begins a watch; its first event is the state.
pub(super) async fn watch(bucket: &Arc<Bucket>, pattern: String, most: usize) -> Result<Watch> {
    let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
    let (bucket, known) = (Arc::clone(bucket), BTreeMap::new());
    let mut watcher = Watcher { bucket, pattern, most, known, events: sender };
    let follower = watcher.begin().await?;
    // The end of the driver closes the channel, which is told to the reader.
    Ok(Watch::driven(events, (), async move { drop(watcher.run(follower).await) }))
}

impl Watcher {
    /// Tells the state, and returns what follows it.
    async fn begin(&mut self) -> Result<Follower> {
        let mut follower = Follower::begin(&self.bucket, &self.pattern, Begin::State).await?;
        let state = follower.state(self.most).await?;
        let records = state.iter().filter_map(read);
        let reset = Event::Reset(Record::merge(records));
        let value = |entry: Entry| Some((entry.key, entry.value?));
        self.known = state.into_iter().filter_map(value).collect();
        // Nobody listens any more: the next event finds out.
        let _gone = self.events.send(reset).await;
        Ok(follower)
    }

    async fn run(&mut self, first: Follower) -> std::result::Result<(), Gone> {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        let mut follower = first;
        loop {
            while let Ok(entry) = follower.next().await {
                backoff.reset();
                self.tell(entry).await?;
            }
            // Progress: the server is away, or asked at growing intervals.
            follower = loop {
                clock::sleep(backoff.next_delay()).await;
                if self.events.is_closed() {
                    return Err(Gone);
                }
                match self.begin().await {
                    Ok(follower) => break follower,
                    Err(error) => tracing::debug!(%error, "a watch of the registry waits"),
                }
            };
        }
    }

    async fn tell(&mut self, entry: Entry) -> std::result::Result<(), Gone> {
        let Entry { key, value, .. } = &entry;
        if self.known.get(key) == value.as_ref() {
            return Ok(());
        }
        let was_known = self.known.remove(key).is_some();
        let event = match (read(&entry), names(key)) {
            (Some(record), _) => {
                if let Some(value) = entry.value {
                    self.known.insert(entry.key, value);
                }
                Event::Update(record)
            }
            (None, Some((service, node))) if was_known => Event::Remove { service, node },
            (None, _) => return Ok(()),
        };
        self.events.send(event).await.map_err(|_closed| Gone)
    }
}
