//! One copy of a message, and the worker that has it.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::Delivery;
use crate::broker::message::Message;
use crate::broker::pause::{RETRY_BASE, RETRY_HINT_MAX, RETRY_MAX};
use crate::broker::receipt::Receipt;
use crate::broker::receipt::Settled;
use crate::core::backoff::Backoff;
use crate::core::clock;

use super::counts::Flight;
use super::group::Group;
use super::group::Phase;
use super::group::Room;

/// One copy of a message.
pub(super) struct Item {
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
    pub(super) first: Duration,
    pub(super) last: Duration,
    pub(super) backoff: Option<Backoff>,
    /// Why it goes to the dead letters, once that is decided.
    pub(super) given_up: Option<String>,
    /// Tells whoever gave the copy what becomes of it.
    pub(super) receipt: Option<Receipt>,
    /// Given back when the copy is gone.
    pub(super) _room: Room,
    pub(super) _flight: Flight,
}

/// A copy that a worker handles. Dropped without a decision it goes back to the head of the queue,
/// and the delivery does not count.
pub(super) struct Held {
    group: Arc<Group>,
    item: Option<Item>,
}

impl Held {
    pub(super) fn new(group: Arc<Group>, item: Item) -> Self {
        Self { group, item: Some(item) }
    }

    /// Returns what the handler gets.
    pub(super) fn delivery(&self) -> Option<Delivery> {
        let item = self.item.as_ref()?;
        Some(Delivery::new(Arc::clone(&item.message), item.attempts))
    }

    /// Decides that the copy goes to the dead letters, for a reason.
    pub(super) fn give_up(&mut self, reason: String) {
        if let Some(item) = &mut self.item {
            item.given_up = Some(reason);
            // Burying has pauses of its own.
            item.backoff = None;
        }
    }

    /// Tells whether the copy is on its way to the dead letters and no handler sees it again.
    pub(super) fn is_given_up(&self) -> bool {
        self.item.as_ref().is_some_and(|item| item.given_up.is_some())
    }

    /// Returns what to publish for a copy that is given up.
    pub(super) fn dead_letter(&self) -> Option<DeadLetter> {
        let item = self.item.as_ref()?;
        let reason = item.given_up.clone()?;
        Some(DeadLetter {
            queue: self.group.queue.clone(),
            attempts: item.attempts,
            first: item.first,
            last: item.last,
            ..DeadLetter::new(Arc::clone(&item.message), reason)
        })
    }

    /// Settles the copy: it is gone.
    pub(super) fn finish(mut self, settled: Settled) {
        if let Some(receipt) = self.item.take().and_then(|mut item| item.receipt.take()) {
            receipt.settle(settled);
        }
        self.group.settled(self.group.lock());
    }

    /// Has the copy delivered again, after what the handler asks for or a growing pause.
    pub(super) fn retry(mut self, after: Option<Duration>) {
        let Some(mut item) = self.item.take() else { return };
        let backoff = item.backoff.get_or_insert_with(|| Backoff::new(RETRY_BASE, RETRY_MAX));
        let pause = backoff.next_delay();
        let due = clock::after(clock::now(), after.unwrap_or(pause).min(RETRY_HINT_MAX));
        let group = &self.group;
        let mut state = group.lock();
        let leaves = state.leaving && item.receipt.is_some() && item.given_up.is_none();
        if state.phase == Phase::Closed || leaves {
            group.let_go(item);
        } else {
            let number = state.delays;
            state.delays = state.delays.wrapping_add(1);
            state.delayed.insert((due, number), item);
            group.ready.notify_one();
        }
        group.settled(state);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut item) = self.item.take() else { return };
        if item.given_up.is_none() {
            item.attempts = item.attempts.saturating_sub(1);
        }
        let group = &self.group;
        let mut state = group.lock();
        if state.phase == Phase::Closed {
            group.let_go(item);
        } else {
            state.pending.push_front(item);
            group.ready.notify_one();
        }
        group.settled(state);
    }
}
