//! The watchers of a store that sees every change in its own process.

use crate::core::error::Error;
use crate::core::error::Result;
use crate::store::ERROR_ID;
use crate::store::Event;
use crate::store::Feed;
use crate::store::Space;
use crate::store::Watch;

/// Watchers of one store; more are a 429.
pub const WATCHERS_MAX: usize = 1024;

/// Who watches what.
#[derive(Debug, Default)]
pub(super) struct Hub {
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    space: Space,
    prefix: String,
    feed: Feed,
}

impl Hub {
    /// Adds a watcher.
    pub(super) fn watch(&mut self, space: &Space, prefix: &str) -> Result<Watch> {
        self.watchers.retain(|watcher| watcher.feed.is_watched());
        if self.watchers.len() >= WATCHERS_MAX {
            let detail = format!("the store has {WATCHERS_MAX} watchers already");
            return Err(Error::too_many_requests(ERROR_ID, detail));
        }
        let (feed, watch) = Feed::channel();
        self.watchers.push(Watcher { space: space.clone(), prefix: prefix.to_owned(), feed });
        Ok(watch)
    }

    /// Tells everybody who watches a key what became of it.
    pub(super) fn publish(&mut self, space: &Space, key: &str, event: impl Fn() -> Event) {
        self.watchers.retain(|watcher| {
            let concerned = watcher.space == *space && key.starts_with(&watcher.prefix);
            if concerned { watcher.feed.send(event()) } else { watcher.feed.is_watched() }
        });
    }

    /// Returns whether anybody watches.
    #[cfg(feature = "postgres")]
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.iter().any(|watcher| watcher.feed.is_watched())
    }

    /// Returns whether anybody watches a key.
    #[cfg(feature = "postgres")]
    pub(super) fn concerns(&self, space: &Space, key: &str) -> bool {
        let concerned = |watcher: &Watcher| {
            watcher.space == *space && key.starts_with(&watcher.prefix) && watcher.feed.is_watched()
        };
        self.watchers.iter().any(concerned)
    }

    /// Returns the spaces that are watched, each once.
    #[cfg(feature = "postgres")]
    pub(super) fn spaces(&self) -> std::collections::BTreeSet<Space> {
        let live = self.watchers.iter().filter(|watcher| watcher.feed.is_watched());
        live.map(|watcher| watcher.space.clone()).collect()
    }

    /// Tells everybody of a gap.
    #[cfg(feature = "postgres")]
    pub(super) fn resync(&mut self) {
        self.watchers.retain(|watcher| watcher.feed.send(Event::Resync));
    }

    /// Ends all watches.
    #[cfg(any(feature = "postgres", feature = "redb"))]
    pub(super) fn close(&mut self) {
        self.watchers.clear();
    }
}
