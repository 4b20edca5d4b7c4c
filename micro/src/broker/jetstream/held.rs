//! What a subscription has fetched and not settled, and how much it fetches.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use tokio::sync::Notify;

/// How much work is fetched ahead of the handlers: what they do in so much time. More would wait
/// here while another member of the group has nothing to do.
const AHEAD: Duration = Duration::from_millis(50);

/// How much of an average the latest value makes: an eighth.
const WEIGHT: u64 = 8;

/// The messages that a subscription has, by their place in the stream.
#[derive(Debug)]
pub(super) struct Held {
    state: Mutex<State>,
    /// Rung when there is room to fetch more.
    pub(super) room: Notify,
    concurrency: usize,
    most: usize,
    bytes_max: usize,
    /// Asked for and not here yet.
    outstanding: AtomicUsize,
    /// How long handling takes, on average, in nanoseconds; 0 before the first.
    average: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    messages: HashMap<u64, (Subject, usize)>,
    bytes: usize,
}

impl Held {
    pub(super) fn new(concurrency: usize, most: usize, bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            room: Notify::new(),
            concurrency,
            most: most.max(concurrency),
            bytes_max,
            outstanding: AtomicUsize::new(0),
            average: AtomicU64::new(0),
        }
    }

    /// Takes a message that is settled at `reply`; `false` if it is here already: it is then
    /// settled at the later reply.
    pub(super) fn insert(&self, sequence: u64, reply: Subject, bytes: usize) -> bool {
        let mut state = self.lock();
        match state.messages.insert(sequence, (reply, bytes)) {
            Some((_, bytes_before)) => {
                state.bytes = state.bytes.saturating_sub(bytes_before) + bytes;
                false
            }
            None => {
                state.bytes += bytes;
                true
            }
        }
    }

    /// Gives a message away, and returns where it is settled.
    pub(super) fn remove(&self, sequence: u64) -> Option<Subject> {
        let mut state = self.lock();
        let (reply, bytes) = state.messages.remove(&sequence)?;
        state.bytes = state.bytes.saturating_sub(bytes);
        let held = state.messages.len();
        drop(state);
        if held + self.outstanding.load(Relaxed) <= self.low(self.target()) {
            self.room.notify_one();
        }
        Some(reply)
    }

    /// Tells whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Returns where a message is settled.
    pub(super) fn reply(&self, sequence: u64) -> Option<Subject> {
        self.lock().messages.get(&sequence).map(|(reply, _)| reply.clone())
    }

    /// Returns where all of them are settled.
    pub(super) fn replies(&self) -> Vec<Subject> {
        self.lock().messages.values().map(|(reply, _)| reply.clone()).collect()
    }

    /// Learns how long a handler took.
    pub(super) fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / WEIGHT).max(1);
        let average = self.average.load(Relaxed);
        let average = match average {
            0 => took,
            average => average - average / WEIGHT + took / WEIGHT,
        };
        self.average.store(average.max(1), Relaxed);
    }

    /// Returns how many messages are to be here or on their way.
    fn target(&self) -> usize {
        let average = self.average.load(Relaxed);
        if average == 0 {
            return self.concurrency;
        }
        let ahead = u64::try_from(AHEAD.as_nanos()).unwrap_or(u64::MAX) / average;
        let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
        self.concurrency.saturating_mul(ahead.saturating_add(1)).min(self.most)
    }

    /// Returns how few messages may be here or on their way before more are asked for: half, so that
    /// one request is for many, but never so few that a worker has nothing to do.
    fn low(&self, target: usize) -> usize {
        (target / 2).max(self.concurrency.saturating_sub(1))
    }

    /// Returns how many messages and bytes to ask for, if it is time to ask.
    pub(super) fn wanted(&self) -> Option<(usize, usize)> {
        let state = self.lock();
        let (held, bytes) = (state.messages.len(), state.bytes);
        drop(state);
        let (here, target) = (held + self.outstanding.load(SeqCst), self.target());
        let is_full = bytes > self.bytes_max / 2;
        (here <= self.low(target) && !is_full).then(|| (target - here, self.bytes_max - bytes))
    }

    /// Notes that so many were asked for.
    pub(super) fn asked(&self, messages: usize) {
        self.outstanding.fetch_add(messages, SeqCst);
    }

    /// Notes that so many of those that were asked for came, or will not come.
    pub(super) fn came(&self, messages: usize) {
        let less = |outstanding: usize| Some(outstanding.saturating_sub(messages));
        let _always = self.outstanding.fetch_update(SeqCst, SeqCst, less).is_ok();
    }

    /// Notes that none of those that were asked for will come.
    pub(super) fn none_comes(&self) {
        self.outstanding.store(0, SeqCst);
    }

    /// Tells whether anything is on its way.
    pub(super) fn expects(&self) -> bool {
        self.outstanding.load(SeqCst) > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_handlers_get_more_ahead_than_slow_ones() {
        let held = Held::new(2, 256, 1000);
        assert_eq!(held.wanted(), Some((2, 1000)), "at first one for each worker");
        held.learn(Duration::from_micros(1));
        assert_eq!(held.wanted(), Some((256, 1000)));
        for _ in 0..200 {
            held.learn(Duration::from_secs(1));
        }
        assert_eq!(held.wanted(), Some((2, 1000)));
    }

    #[test]
    fn more_is_asked_for_when_half_is_settled() {
        let held = Held::new(1, 4, 1000);
        held.learn(Duration::from_micros(1));
        held.asked(4);
        assert_eq!(held.wanted(), None);
        for sequence in 0..4 {
            held.came(1);
            assert!(held.insert(sequence, "r".into(), 1));
        }
        assert!(held.remove(0).is_some() && held.remove(0).is_none());
        assert_eq!(held.wanted(), None);
        held.remove(1);
        assert_eq!(held.wanted(), Some((2, 998)));
    }

    #[test]
    fn a_slow_handler_never_leaves_a_worker_without_work() {
        let held = Held::new(3, 256, 1000);
        held.learn(Duration::from_secs(1));
        for sequence in 0..3 {
            held.insert(sequence, "r".into(), 1);
        }
        assert_eq!(held.wanted(), None);
        held.remove(0);
        assert_eq!(held.wanted(), Some((1, 998)));
    }

    #[test]
    fn what_is_long_makes_fetching_pause() {
        let held = Held::new(4, 4, 1000);
        held.insert(1, "r".into(), 500);
        assert!(held.wanted().is_some());
        held.insert(1, "r2".into(), 501);
        assert_eq!(held.wanted(), None);
        assert_eq!(held.reply(1).as_deref(), Some("r2"));
    }
}
