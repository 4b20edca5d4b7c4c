//! The entries that a subscription has and has not settled.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What is held, and how many of it handlers have or will have.
pub(super) struct Holding {
    concurrency: usize,
    state: Mutex<State>,
    /// Rung when there is less of it.
    pub(super) less: Notify,
}

#[derive(Default)]
struct State {
    /// Entries by their number; `true` once a handler has decided on another delivery.
    entries: HashMap<String, bool>,
    /// Those that wait for a handler or have one.
    busy: usize,
    /// The latest that was taken.
    last: Option<(u64, u64)>,
}

impl Holding {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { concurrency, state: Mutex::default(), less: Notify::new() }
    }

    /// Takes an entry; `false` if it is held already.
    pub(super) fn take(&self, id: &str) -> bool {
        let mut state = self.lock();
        if state.entries.contains_key(id) {
            return false;
        }
        state.entries.insert(id.to_owned(), false);
        state.busy += 1;
        state.last = state.last.max(number(id));
        true
    }

    /// Returns the entry up to which all are settled: that before the oldest which is held, or the
    /// latest that was taken; `None` if none was.
    pub(super) fn settled_up_to(&self) -> Option<String> {
        let state = self.lock();
        let oldest = state.entries.keys().filter_map(|id| number(id)).min();
        let (millis, count) = match oldest {
            Some((millis, 0)) => (millis.saturating_sub(1), u64::MAX),
            Some((millis, count)) => (millis, count.saturating_sub(1)),
            None => state.last?,
        };
        Some(format!("{millis}-{count}"))
    }

    /// Notes that no handler has the entry: it waits for another delivery, or for its settlement.
    pub(super) fn rest(&self, id: &str) {
        let mut state = self.lock();
        if let Some(decided) = state.entries.get_mut(id) {
            *decided = true;
        }
        state.busy = state.busy.saturating_sub(1);
        let busy = state.busy;
        drop(state);
        // Whoever waits waits for one idle handler, for half of them, or for all.
        if busy + 1 == self.concurrency || busy == self.concurrency / 2 || busy == 0 {
            self.less.notify_waiters();
        }
    }

    /// Notes that the entry waits for a handler again.
    pub(super) fn wake(&self, id: &str) {
        let mut state = self.lock();
        if let Some(decided) = state.entries.get_mut(id) {
            *decided = false;
        }
        state.busy += 1;
    }

    /// Lets entries go that rest.
    pub(super) fn drop_all<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut state = self.lock();
        for id in ids {
            state.entries.remove(id);
        }
        drop(state);
        self.less.notify_waiters();
    }

    /// Returns how many further entries there is room for.
    pub(super) fn room(&self, unacked_max: usize) -> usize {
        let state = self.lock();
        let free = self.concurrency.saturating_sub(state.busy);
        free.min(unacked_max.saturating_sub(state.entries.len()))
    }

    /// Returns how many entries wait for a handler or have one.
    pub(super) fn busy(&self) -> usize {
        self.lock().busy
    }

    /// Returns the entries: all, or those whose last delivery counts.
    pub(super) fn ids(&self, counted_only: Counted) -> Vec<String> {
        let state = self.lock();
        let wanted = |decided: bool| counted_only == Counted::All || decided;
        let ids = state.entries.iter().filter(|(_, decided)| wanted(**decided));
        ids.map(|(id, _)| id.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the number of an entry: milliseconds, and a count within one.
fn number(id: &str) -> Option<(u64, u64)> {
    let (millis, count) = id.split_once('-')?;
    Some((millis.parse().ok()?, count.parse().ok()?))
}

/// Which entries are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    All,
    /// Those that a handler has decided on.
    Decided,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_for_idle_handlers_within_what_may_be_unsettled() {
        let holding = Holding::new(2);
        assert_eq!(holding.room(3), 2);
        assert!(holding.take("1") && holding.take("2") && !holding.take("1"));
        assert_eq!(holding.room(3), 0);
        holding.rest("1");
        holding.rest("2");
        assert_eq!((holding.room(3), holding.room(2), holding.busy()), (1, 0, 0));
        holding.wake("2");
        assert_eq!(holding.ids(Counted::Decided), ["1"]);
        holding.rest("2");
        holding.drop_all(["1", "2"]);
        assert_eq!(holding.room(2), 2);
        assert!(holding.ids(Counted::All).is_empty());
    }
    #[test]
    fn what_is_settled_ends_before_the_oldest_that_is_held() {
        let holding = Holding::new(2);
        assert_eq!(holding.settled_up_to(), None);
        for id in ["9-1", "10-0", "9-7"] {
            assert!(holding.take(id));
        }
        assert_eq!(holding.settled_up_to().as_deref(), Some("9-0"));
        holding.drop_all(["9-1", "9-7"]);
        assert_eq!(holding.settled_up_to(), Some(format!("9-{}", u64::MAX)));
        holding.drop_all(["10-0"]);
        assert_eq!(holding.settled_up_to().as_deref(), Some("10-0"));
    }
}
