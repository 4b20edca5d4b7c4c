//! Telling messages that came before.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;

/// Remembers the ids of messages, so many and so long, for a handler that must not act twice.
///
/// It is of one process: members of a group in other processes do not share it, and a restart
/// forgets. Where acting twice does harm, keep the ids with the effect, in one transaction.
pub struct Dedupe {
    ids_max: usize,
    window: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<(Instant, String)>,
}

impl Dedupe {
    /// Remembers at most `ids_max` ids, the latest, each for `window` at most.
    pub fn new(ids_max: usize, window: Duration) -> Self {
        Self { ids_max, window, seen: Mutex::default() }
    }

    /// Returns whether the id comes for the first time, and remembers it.
    ///
    /// Call it before acting. If acting fails, [`forget`](Self::forget) the id, so that the next
    /// delivery acts.
    pub fn first(&self, id: &str) -> bool {
        let now = clock::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_old(|at, count| {
            now.saturating_duration_since(at) >= self.window || count > self.ids_max
        });
        if seen.ids.contains(id) {
            return false;
        }
        seen.ids.insert(id.into());
        seen.order.push_back((now, id.into()));
        seen.forget_old(|_, count| count > self.ids_max);
        true
    }

    /// Forgets an id whose message was not acted upon.
    pub fn forget(&self, id: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.ids.remove(id) {
            seen.order.retain(|(_, known)| known != id);
        }
    }
}

impl Seen {
    fn forget_old(&mut self, is_old: impl Fn(Instant, usize) -> bool) {
        while self.order.front().is_some_and(|(at, _)| is_old(*at, self.order.len())) {
            if let Some((_, id)) = self.order.pop_front() {
                self.ids.remove(&id);
            }
        }
    }
}

impl fmt::Debug for Dedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedupe").field("ids_max", &self.ids_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F39, K7.
    #[tokio::test(start_paused = true)]
    async fn an_id_is_first_once_within_the_window() {
        let dedupe = Dedupe::new(100, Duration::from_secs(60));
        assert!(dedupe.first("a") && !dedupe.first("a") && dedupe.first("b"));
        clock::sleep(Duration::from_secs(60)).await;
        assert!(dedupe.first("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_keeps_the_latest() {
        let dedupe = Dedupe::new(10, Duration::from_secs(60));
        for n in 0..100 {
            assert!(dedupe.first(&n.to_string()));
        }
        assert!((90..100).all(|n| !dedupe.first(&n.to_string())));
        assert!(dedupe.first("0"));
        let seen = dedupe.seen.lock().expect("no panic");
        assert_eq!((seen.ids.len(), seen.order.len()), (10, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_id_is_first_again() {
        let dedupe = Dedupe::new(10, Duration::from_secs(60));
        assert!(dedupe.first("a"));
        dedupe.forget("a");
        assert!(dedupe.first("a") && !dedupe.first("a"));
    }
}
