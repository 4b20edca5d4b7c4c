//! What waits for the handlers of one subscription.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a queue is of: something that takes room.
pub(in crate::broker) trait Sized {
    /// Returns the bytes that it takes.
    fn bytes(&self) -> usize;
}

/// A queue with room for so many items and bytes, which never makes anybody wait for room.
#[derive(Debug)]
pub(in crate::broker) struct Queue<T> {
    items_max: usize,
    bytes_max: usize,
    state: Mutex<State<T>>,
    ready: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    /// Nothing more comes.
    is_ended: bool,
}

enum Taken<T> {
    Item(T),
    Nothing,
    End,
}

impl<T: Sized> Queue<T> {
    pub(in crate::broker) fn new(items_max: usize, bytes_max: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, is_ended: false };
        Self { items_max, bytes_max, state: Mutex::new(state), ready: Notify::new() }
    }

    /// Takes the items into the queue for which there is room, and returns how many there is none
    /// for; those are gone.
    pub(in crate::broker) fn push_all(&self, items: impl Iterator<Item = T>) -> usize {
        let mut dropped = 0;
        let mut state = self.lock();
        for item in items {
            let bytes = item.bytes();
            // One item always fits: its length has a limit of its own.
            let fits = state.items.is_empty()
                || state.items.len() < self.items_max && state.bytes + bytes <= self.bytes_max;
            if fits && !state.is_ended {
                state.bytes += bytes;
                state.items.push_back(item);
            } else {
                dropped += 1;
            }
        }
        drop(state);
        self.ready.notify_one();
        dropped
    }

    /// Waits for the next item; `None` when the queue has ended and is empty. Cancel safe.
    pub(in crate::broker) async fn next(&self) -> Option<T> {
        loop {
            match self.take() {
                Taken::Item(item) => return Some(item),
                Taken::End => return None,
                // A notification between the look and this is kept.
                Taken::Nothing => self.ready.notified().await,
            }
        }
    }

    fn take(&self) -> Taken<T> {
        let mut state = self.lock();
        let Some(item) = state.items.pop_front() else {
            if !state.is_ended {
                return Taken::Nothing;
            }
            drop(state);
            // The others have to learn it too.
            self.ready.notify_one();
            return Taken::End;
        };
        state.bytes = state.bytes.saturating_sub(item.bytes());
        let more = !state.items.is_empty();
        drop(state);
        if more {
            self.ready.notify_one();
        }
        Taken::Item(item)
    }

    /// Takes nothing more in.
    pub(in crate::broker) fn end(&self) {
        self.lock().is_ended = true;
        self.ready.notify_one();
    }

    /// Takes everything out and nothing more in.
    pub(in crate::broker) fn clear(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.is_ended = true;
        state.bytes = 0;
        let items = std::mem::take(&mut state.items);
        drop(state);
        self.ready.notify_one();
        items
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sized for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    #[tokio::test]
    async fn items_are_dropped_at_either_limit() {
        let queue = Queue::new(3, 100);
        assert_eq!(queue.push_all([1, 1, 1].into_iter()), 0);
        assert_eq!(queue.push_all([1].into_iter()), 1, "a fourth item");
        assert_eq!(queue.push_all(std::iter::repeat_n(1, 30)), 30, "ten times the limit");
        for _ in 0..3 {
            queue.next().await;
        }
        assert_eq!(queue.push_all([60, 40].into_iter()), 0, "at the limit of bytes");
        assert_eq!(queue.push_all([1].into_iter()), 1, "one byte more");
        queue.clear();
    }

    #[tokio::test]
    async fn an_item_longer_than_the_queue_fits_alone() {
        let queue = Queue::new(3, 100);
        assert_eq!(queue.push_all([1000, 1].into_iter()), 1);
        assert_eq!(queue.next().await, Some(1000));
        assert_eq!(queue.push_all([1].into_iter()), 0);
    }

    #[tokio::test]
    async fn what_is_left_is_worked_off_before_the_end() {
        let queue = Queue::new(10, 100);
        queue.push_all([1, 2].into_iter());
        queue.end();
        assert_eq!(queue.push_all([3].into_iter()), 1);
        assert_eq!((queue.next().await, queue.next().await), (Some(1), Some(2)));
        assert_eq!((queue.next().await, queue.next().await), (None, None));
    }
}
