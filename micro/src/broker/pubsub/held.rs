//! What a subscription has taken and not settled, and how much it takes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How much work is taken ahead of the handlers: what they do in so much time. More would wait here
/// while another member of the group has nothing to do.
const AHEAD: Duration = Duration::from_millis(50);

/// How much of an average the latest value makes: an eighth.
const WEIGHT: u32 = 8;

/// The messages that a subscription has, by the id that the server gave them.
#[derive(Debug)]
pub(super) struct Held {
    state: Mutex<State>,
    /// Rung when there is room to take more.
    room: Notify,
    concurrency: usize,
    most: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    messages: HashMap<String, One>,
    bytes: usize,
    /// Those that wait for another delivery.
    paused: usize,
    /// How long handling takes, on average; zero before the first.
    took: Duration,
    /// Bytes of a message, on average.
    typical: usize,
    /// The most to ask for after an answer that was too long.
    asked_max: Option<usize>,
}

#[derive(Debug)]
struct One {
    /// What settles its latest delivery.
    ack_id: String,
    bytes: usize,
    is_paused: bool,
}

impl Held {
    /// At most `most` messages at a time, and no further ones when there are `bytes_max`.
    pub(super) fn new(concurrency: usize, most: usize, bytes_max: usize) -> Self {
        let (state, room) = (Mutex::default(), Notify::new());
        Self { state, room, concurrency, most: most.max(concurrency), bytes_max }
    }

    /// Takes a delivery of a message; `false` if the message is here already: it is then settled by
    /// the later delivery.
    pub(super) fn insert(&self, id: &str, ack_id: String, bytes: usize) -> bool {
        let mut state = self.lock();
        if let Some(one) = state.messages.get_mut(id) {
            one.ack_id = ack_id;
            return false;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        state.typical = match state.typical {
            0 => bytes,
            typical => (typical - typical / 8).saturating_add(bytes / 8),
        };
        state.messages.insert(id.to_owned(), One { ack_id, bytes, is_paused: false });
        true
    }

    /// Gives a message away, and returns what settles it.
    pub(super) fn remove(&self, id: &str) -> Option<String> {
        let mut state = self.lock();
        let one = state.messages.remove(id)?;
        state.bytes = state.bytes.saturating_sub(one.bytes);
        state.paused -= usize::from(one.is_paused);
        drop(state);
        self.room.notify_one();
        Some(one.ack_id)
    }

    /// Notes that a message waits for another delivery and is no work meanwhile.
    pub(super) fn pause(&self, id: &str) {
        let mut state = self.lock();
        if let Some(one) = state.messages.get_mut(id).filter(|one| !one.is_paused) {
            one.is_paused = true;
            state.paused += 1;
        }
        drop(state);
        self.room.notify_one();
    }

    /// Returns what settles all of them.
    pub(super) fn ack_ids(&self) -> Vec<String> {
        self.lock().messages.values().map(|one| one.ack_id.clone()).collect()
    }

    /// Gives all of them away, and returns what settles them.
    pub(super) fn remove_all(&self) -> Vec<String> {
        let mut state = self.lock();
        (state.bytes, state.paused) = (0, 0);
        state.messages.drain().map(|(_, one)| one.ack_id).collect()
    }

    /// Learns how long a handler took.
    pub(super) fn learn(&self, took: Duration) {
        let mut state = self.lock();
        state.took = match state.took {
            Duration::ZERO => took,
            average => average - average / WEIGHT + took / WEIGHT,
        };
    }

    /// Learns that an answer with up to so many messages was too long to be read.
    pub(super) fn too_long(&self, asked: usize) {
        self.lock().asked_max = Some((asked / 2).max(1));
    }

    /// Waits until it is time to ask for messages, and returns for how many. Cancel safe.
    pub(super) async fn wanted(&self) -> usize {
        loop {
            // A ring that comes before the wait is kept.
            let room = self.room.notified();
            if let Some(wanted) = self.wanted_now() {
                return wanted;
            }
            room.await;
        }
    }

    /// Returns how many messages to ask for, if it is time: when half of what is to be here is
    /// settled, so that one request is for many, but never so late that a handler has nothing to
    /// do.
    fn wanted_now(&self) -> Option<usize> {
        let mut state = self.lock();
        let busy = state.messages.len() - state.paused;
        let target = self.target(state.took);
        let low = (target / 2).max(self.concurrency.saturating_sub(1));
        if busy > low || state.bytes > self.bytes_max / 2 {
            return None;
        }
        let by_bytes = (self.bytes_max - state.bytes) / state.typical.max(1);
        let asked_max = state.asked_max.unwrap_or(usize::MAX);
        // Where answers are short again, more is asked for little by little.
        state.asked_max = state.asked_max.map(|most| most.saturating_mul(2));
        Some((target - busy).min(by_bytes).min(asked_max).max(1))
    }

    /// Returns how many messages are to be here.
    fn target(&self, took: Duration) -> usize {
        if took.is_zero() {
            return self.concurrency;
        }
        let ahead = usize::try_from(AHEAD.as_nanos() / took.as_nanos()).unwrap_or(usize::MAX);
        self.concurrency.saturating_mul(ahead.saturating_add(1)).min(self.most)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(concurrency: usize, most: usize) -> Held {
        let held = Held::new(concurrency, most, 1000);
        held.learn(Duration::from_micros(1));
        held
    }

    #[test]
    fn quick_handlers_get_more_ahead_than_slow_ones() {
        let held = Held::new(2, 256, 1000);
        assert_eq!(held.wanted_now(), Some(2), "at first one for each handler");
        held.learn(Duration::from_micros(1));
        assert_eq!(held.wanted_now(), Some(256));
        for _ in 0..200 {
            held.learn(Duration::from_secs(1));
        }
        assert_eq!(held.wanted_now(), Some(2));
    }

    #[test]
    fn more_is_asked_for_when_half_is_settled() {
        let held = quick(1, 4);
        for id in ["a", "b", "c"] {
            assert!(held.insert(id, id.to_uppercase(), 1));
        }
        assert_eq!(held.wanted_now(), None);
        assert_eq!((held.remove("a").as_deref(), held.remove("a")), (Some("A"), None));
        assert_eq!(held.wanted_now(), Some(2));
    }

    #[test]
    fn a_slow_handler_never_leaves_another_without_work() {
        let held = Held::new(3, 256, 1000);
        held.learn(Duration::from_secs(1));
        for id in ["a", "b", "c"] {
            held.insert(id, "x".to_owned(), 1);
        }
        assert_eq!(held.wanted_now(), None);
        held.remove("a");
        assert_eq!(held.wanted_now(), Some(1));
        held.pause("b");
        held.pause("b");
        assert_eq!(held.wanted_now(), Some(2), "what is paused is no work");
        held.remove("b");
        assert_eq!(held.wanted_now(), Some(2));
    }

    #[test]
    fn what_is_long_makes_taking_pause() {
        let held = quick(4, 4);
        held.insert("a", "1".to_owned(), 500);
        assert_eq!(held.wanted_now(), Some(1), "there is room for one more of this length");
        held.insert("b", "2".to_owned(), 1);
        assert_eq!(held.wanted_now(), None);
    }

    #[test]
    fn an_answer_that_was_too_long_is_followed_by_a_shorter_one() {
        let held = quick(8, 8);
        for (asked, next) in [(8, 4), (4, 2), (1, 1)] {
            held.too_long(asked);
            assert_eq!(held.wanted_now(), Some(next));
        }
        let later: Vec<_> = (0..3).filter_map(|_| held.wanted_now()).collect();
        assert_eq!(later, [2, 4, 8]);
    }

    #[test]
    fn a_message_that_comes_again_is_settled_by_its_latest_delivery() {
        let held = quick(1, 4);
        assert!(held.insert("a", "1".to_owned(), 1));
        assert!(!held.insert("a", "2".to_owned(), 1));
        assert_eq!(held.ack_ids(), ["2"]);
        held.pause("a");
        assert_eq!(held.remove_all(), ["2"]);
        assert_eq!((held.remove("a"), held.wanted_now()), (None, Some(4)));
    }
}
