//! Watches of a space.

use std::sync::Arc;
use std::time::Duration;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::driver;
use crate::driver::etcd::{KeyValue, Moment, Span, Told, WatchEvent, Watcher};
use crate::store::etcd::keys::Keys;
use crate::store::etcd::sealed;
use crate::store::hub::WATCHERS_MAX;
use crate::store::{ERROR_ID, Event, Feed, Space, Watch};

/// Pauses between tries to learn the present after a gap.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Begins a watch of the keys of a space that begin with a prefix.
pub(super) async fn start(
    etcd: &Arc<driver::Etcd>,
    watchers: &Arc<()>,
    (keys, space): (Keys, Space),
    prefix: &str,
) -> Result<Watch> {
    // Held by the watch; the store has one of its own.
    let place = Arc::clone(watchers);
    if Arc::strong_count(&place) > WATCHERS_MAX + 1 {
        let detail = format!("the store has {WATCHERS_MAX} watchers already");
        return Err(Error::too_many_requests(ERROR_ID, detail));
    }
    let span = keys.prefix(&space, prefix);
    let moment = present(etcd, &span).await?;
    let watcher = Watcher::new(Arc::clone(etcd), span.clone(), moment);
    let (feed, watch) = Feed::channel();
    let pump = Pump { etcd: Arc::clone(etcd), span, keys, space, feed };
    let task = etcd.tasks().spawn("store.etcd.watch", pump.run(watcher));
    Ok(watch.with_source((task.abort_on_drop(), place)))
}

/// Returns the moment after all writes that have returned.
async fn present(etcd: &driver::Etcd, span: &Span) -> Result<Moment> {
    let answer = etcd.range(Span::key(span.start.clone()).range()).await?;
    Ok(Moment::of(answer.header))
}

/// The task behind a watch. It never waits for the watcher, who hears of a gap instead.
struct Pump {
    etcd: Arc<driver::Etcd>,
    span: Span,
    keys: Keys,
    space: Space,
    feed: Feed,
}

impl Pump {
    async fn run(self, mut watcher: Watcher) {
        while self.feed.is_watched() {
            match watcher.next().await {
                Told::Batch(batch) => {
                    let events = batch.into_iter().filter_map(|event| self.event(event));
                    events.for_each(|event| {
                        self.feed.send(event);
                    });
                }
                Told::Gap => {
                    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
                    let moment = loop {
                        match present(&self.etcd, &self.span).await {
                            Ok(moment) => break moment,
                            Err(error) => tracing::debug!(%error, "etcd does not say where it is"),
                        }
                        clock::sleep(backoff.next_delay()).await;
                    };
                    watcher.go_on_from(moment);
                    self.feed.send(Event::Resync);
                }
            }
        }
    }

    fn event(&self, event: WatchEvent) -> Option<Event> {
        let is_delete = event.is_delete();
        let kv: KeyValue = event.kv?;
        let name = self.keys.name(&self.space, &kv.key)?;
        if is_delete {
            return Some(Event::deleted(name));
        }
        match sealed::open(name, &kv) {
            Ok(Some(record)) => Some(Event::Put(record)),
            // Its time is over; the end of its lease follows.
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "a change in etcd is no record");
                None
            }
        }
    }
}
