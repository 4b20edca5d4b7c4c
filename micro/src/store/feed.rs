//! The changes that a watcher sees, and how a backend tells them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Release;
use std::task::Poll;

use tokio::sync::mpsc;

use crate::store::Record;

/// Changes that wait for one watcher; when there are more, it is told of a gap instead.
pub const WATCH_EVENTS_MAX: usize = 1024;

/// A change seen by a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A record was written.
    Put(Record),
    /// A record was deleted, or its time was over.
    Delete {
        /// Its key, as seen from the handle that watches.
        key: String,
    },
    /// Changes were lost: what is known from before may be out of date, list again.
    Resync,
}

impl Event {
    /// Makes the event of a deletion.
    pub fn deleted(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Returns the key that changed; none for a gap.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Put(record) => Some(&record.key),
            Self::Delete { key } => Some(key),
            Self::Resync => None,
        }
    }

    /// Takes bytes off the beginning of the key.
    fn stripped(mut self, bytes: usize) -> Self {
        if let Self::Put(Record { key, .. }) | Self::Delete { key } = &mut self {
            // Invariant: the key begins with the prefix of the scope that watches.
            key.drain(..bytes.min(key.len()));
        }
        self
    }
}

/// The end of a watch at which a backend tells changes.
#[derive(Clone, Debug)]
pub struct Feed {
    events: mpsc::Sender<Event>,
    lagged: Arc<AtomicBool>,
}

impl Feed {
    /// Makes both ends of a watch.
    pub fn channel() -> (Self, Watch) {
        let (sender, events) = mpsc::channel(WATCH_EVENTS_MAX);
        let lagged = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            events,
            lagged: Arc::clone(&lagged),
            driver: None,
            source: Box::new(()),
            strip: 0,
        };
        (Self { events: sender, lagged }, watch)
    }

    /// Tells a change; never waits. Returns whether anybody still watches.
    ///
    /// A watcher that is [`WATCH_EVENTS_MAX`] changes behind gets [`Event::Resync`] instead of
    /// them.
    pub fn send(&self, event: Event) -> bool {
        if self.events.try_send(event).is_err() {
            self.lagged.store(true, Release);
        }
        self.is_watched()
    }

    /// Returns whether anybody still watches.
    pub fn is_watched(&self) -> bool {
        !self.events.is_closed()
    }
}

/// A stream of changes; dropping it ends the watch.
pub struct Watch {
    events: mpsc::Receiver<Event>,
    lagged: Arc<AtomicBool>,
    /// Work that the watch does while someone waits for its events; `None` once it is done.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whatever keeps the source alive; dropped with the watch.
    source: Box<dyn std::any::Any + Send>,
    /// Bytes that the scope of the watcher takes off each key.
    strip: usize,
}

impl Watch {
    /// Drops `source` when the watch is dropped.
    #[must_use]
    pub fn with_source(mut self, source: impl std::any::Any + Send) -> Self {
        self.source = Box::new(source);
        self
    }

    /// Runs `driver` whenever somebody waits, so that no task is needed.
    #[must_use]
    pub fn with_driver(mut self, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        self.driver = Some(Box::pin(driver));
        self
    }

    pub(super) fn stripped(mut self, bytes: usize) -> Self {
        self.strip = bytes;
        self
    }

    /// Takes the next change if it has arrived.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.lagged.load(Acquire) {
            return Some(self.resync());
        }
        self.events.try_recv().ok().map(|event| event.stripped(self.strip))
    }

    /// Waits for the next change; cancel safe. `None` when the backend has ended the watch.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(cx).is_ready()
            {
                self.driver = None;
            }
            if self.lagged.load(Acquire) {
                return Poll::Ready(Some(self.resync()));
            }
            let strip = self.strip;
            self.events.poll_recv(cx).map(|event| event.map(|event| event.stripped(strip)))
        })
        .await
    }

    /// Drops what waits: the reader lists again, after every change that was dropped here.
    fn resync(&mut self) -> Event {
        self.lagged.swap(false, AcqRel);
        while self.events.try_recv().is_ok() {}
        Event::Resync
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_watcher_hears_of_a_gap_and_goes_on() {
        let (feed, mut watch) = Feed::channel();
        for _ in 0..WATCH_EVENTS_MAX {
            assert!(feed.send(Event::deleted("a")));
        }
        assert_eq!(watch.try_next(), Some(Event::deleted("a")));
        feed.send(Event::deleted("b"));
        feed.send(Event::deleted("c"));
        assert_eq!(watch.next().await, Some(Event::Resync));
        assert_eq!(watch.try_next(), None);
        feed.send(Event::deleted("d"));
        assert_eq!(watch.next().await, Some(Event::deleted("d")));
        drop(watch);
        assert!(!feed.send(Event::deleted("e")));
    }
}
