//! What a subscription holds: messages that wait for a handler, are with one, or come again.
//!
//! A thread brings messages and tells the servers what is settled; workers take and settle them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::broker::memory::size_of;
use crate::broker::message::Message;
use crate::core::clock::{self, Instant};

use super::held::Held;

/// How far a partition runs ahead of its first message that is not settled: what is handled beyond
/// that one is delivered again if the process ends.
pub(super) const AHEAD_MAX: usize = 10_000;

/// What of its limits a subscription fills before it fetches on, in quarters: with less, each
/// settled message would wake the thread.
const LOW_QUARTERS: usize = 3;

/// Where a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: i32,
    /// Tells times apart in which the subscription had the partition.
    epoch: u64,
    offset: i64,
}

/// A message and its deliveries so far.
#[derive(Clone, Debug)]
pub(super) struct Item {
    place: Place,
    pub(super) message: Arc<Message>,
    pub(super) attempt: u32,
    /// When it was delivered first, since 1970-01-01 UTC.
    pub(super) first: Duration,
}

/// The messages of one subscription.
pub(super) struct Desk {
    messages_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
    /// Something may be there for a worker.
    work: Notify,
    /// There may be room, or a handler has ended.
    change: Condvar,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i32, Part>,
    ready: VecDeque<Item>,
    /// Those that are to come again, by when.
    waiting: BTreeMap<(Instant, u64), Item>,
    /// Counts what was put to wait, and epochs.
    serial: u64,
    messages: usize,
    bytes: usize,
    is_awaited: bool,
    is_assigned: bool,
}

/// A partition.
#[derive(Default)]
struct Part {
    epoch: u64,
    /// The subscription has it; otherwise the group is dividing its partitions, and nothing of it
    /// is started.
    is_here: bool,
    running: usize,
    held: Held,
}

/// A message with a worker; dropped without a word it stays unsettled.
pub(super) struct Taken {
    desk: Arc<Desk>,
    pub(super) item: Item,
}

/// What there is for a worker.
enum Next {
    Item(Box<Item>),
    Wait(Option<Instant>),
}

impl Desk {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages_max: messages_max.max(1),
            bytes_max,
            state: Mutex::default(),
            work: Notify::new(),
            change: Condvar::new(),
        }
    }

    /// Takes in what was fetched; what came before, or is of a partition that others have, is
    /// passed over. Where the log went back, what is held of the partition is let go.
    pub(super) fn put(&self, partition: i32, offset: i64, message: Message) -> bool {
        let bytes = size_of(&message);
        let mut state = self.lock();
        let went_back = match state.partitions.get(&partition) {
            Some(part) if part.is_here => part.held.went_back(offset),
            _ => return false,
        };
        if went_back {
            let topic = message.topic.as_str();
            tracing::warn!(topic, partition, offset, "the log of a partition went back");
            state.forget(partition);
        }
        let part = state.add(partition);
        if !part.held.take(offset, bytes) {
            return false;
        }
        let place = Place { partition, epoch: part.epoch, offset };
        let item = Item { place, message: Arc::new(message), attempt: 1, first: Duration::ZERO };
        state.ready.push_back(item);
        state.messages += 1;
        state.bytes += bytes;
        drop(state);
        self.work.notify_one();
        true
    }

    /// Waits for the next message. Cancel safe.
    pub(super) async fn next(self: &Arc<Self>) -> Taken {
        loop {
            let until = match self.take() {
                Next::Item(item) => return Taken { desk: Arc::clone(self), item: *item },
                Next::Wait(until) => until,
            };
            // A notification between the look and this is kept.
            match until {
                Some(until) => {
                    let _due = clock::timeout_at(until, self.work.notified()).await.is_err();
                }
                None => self.work.notified().await,
            }
        }
    }

    fn take(&self) -> Next {
        let mut state = self.lock();
        let item = match state.take_due(clock::now()) {
            Some(item) => item,
            None => match state.take_ready() {
                Some(item) => item,
                None => return Next::Wait(state.next_due()),
            },
        };
        if let Some(part) = state.part(item.place) {
            part.running += 1;
        }
        let more = !state.ready.is_empty() || !state.waiting.is_empty();
        drop(state);
        if more {
            self.work.notify_one();
        }
        Next::Item(Box::new(item))
    }

    /// Tells whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.exceeds(&self.lock(), 4)
    }

    /// Waits until there is room again, so long at most, and returns whether there is.
    pub(super) fn wait_for_room(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        state.is_awaited = true;
        let still = |state: &mut State| self.exceeds(state, LOW_QUARTERS);
        let waited = self.change.wait_timeout_while(state, patience, still);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_awaited = false;
        !waited.timed_out()
    }

    /// Tells whether what is held exceeds so many quarters of the limits.
    fn exceeds(&self, state: &State, quarters: usize) -> bool {
        state.messages >= (self.messages_max * quarters / 4).max(1)
            || state.bytes >= (self.bytes_max / 4 * quarters).max(1)
    }

    /// Returns the partitions that are too far ahead of their first unsettled message, given those
    /// that were.
    pub(super) fn too_far(&self, paused: &BTreeSet<i32>) -> BTreeSet<i32> {
        let state = self.lock();
        let far = |(partition, part): (&i32, &Part)| {
            let limit = if paused.contains(partition) { AHEAD_MAX / 2 } else { AHEAD_MAX };
            (part.is_here && part.held.span() >= limit).then_some(*partition)
        };
        state.partitions.iter().filter_map(far).collect()
    }

    /// Returns the partitions that the subscription has.
    pub(super) fn here(&self) -> BTreeSet<i32> {
        let state = self.lock();
        let here = state.partitions.iter().filter(|(_, part)| part.is_here);
        here.map(|(partition, _)| *partition).collect()
    }

    /// Returns, for each partition whose settled prefix has moved, where it ends.
    pub(super) fn news(&self) -> Vec<(i32, i64)> {
        let mut state = self.lock();
        let here = state.partitions.iter_mut().filter(|(_, part)| part.is_here);
        here.filter_map(|(partition, part)| Some((*partition, part.held.news()?))).collect()
    }

    /// Takes partitions over, in place of those that the subscription had. What is held of one is
    /// kept if nobody has gone beyond it meanwhile: `committed` tells how far the group is, where
    /// that is asked for; -1 is nowhere.
    pub(super) fn assign(
        &self,
        partitions: &BTreeSet<i32>,
        committed: impl FnOnce(&BTreeSet<i32>) -> BTreeMap<i32, i64>,
    ) {
        let kept: BTreeSet<i32> = {
            let state = self.lock();
            let known = state.partitions.keys();
            known.filter(|partition| partitions.contains(partition)).copied().collect()
        };
        let committed = if kept.is_empty() { BTreeMap::new() } else { committed(&kept) };
        let mut state = self.lock();
        let stays = |partition: &i32, part: &Part| {
            let at = committed.get(partition);
            partitions.contains(partition) && at.is_some_and(|at| part.held.goes_on_at(*at))
        };
        let gone: Vec<_> =
            state.partitions.iter().filter(|(n, part)| !stays(n, part)).map(|(n, _)| *n).collect();
        for partition in gone {
            state.forget(partition);
        }
        for partition in partitions {
            let part = state.add(*partition);
            if let Some(at) = committed.get(partition) {
                part.held.is_fetched_from(*at);
            }
        }
        state.is_assigned = true;
        drop(state);
        self.work.notify_one();
    }

    /// Takes partitions over beside those that the subscription has.
    pub(super) fn add(&self, partitions: &BTreeSet<i32>) {
        let mut state = self.lock();
        for partition in partitions {
            state.add(*partition);
        }
    }

    /// Tells whether the group has given the subscription its part, be it none.
    pub(super) fn is_assigned(&self) -> bool {
        self.lock().is_assigned
    }

    /// Starts nothing more of partitions, and waits for the handlers that run, so long at most.
    pub(super) fn suspend(&self, partitions: &BTreeSet<i32>, patience: Duration) {
        let mut state = self.lock();
        for (partition, part) in &mut state.partitions {
            part.is_here &= !partitions.contains(partition);
        }
        state.is_awaited = true;
        let runs = |state: &mut State| {
            let mut leaving = state.partitions.iter().filter(|(n, _)| partitions.contains(n));
            leaving.any(|(_, part)| part.running > 0)
        };
        let waited = self.change.wait_timeout_while(state, patience, runs);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_awaited = false;
    }

    /// Returns, of partitions that the subscription is about to lose, where their settled prefixes
    /// end that have moved.
    pub(super) fn last_news(&self, partitions: &BTreeSet<i32>) -> Vec<(i32, i64)> {
        let mut state = self.lock();
        let leaving = state.partitions.iter_mut().filter(|(n, _)| partitions.contains(n));
        leaving.filter_map(|(partition, part)| Some((*partition, part.held.news()?))).collect()
    }

    fn settle(&self, place: Place) {
        let mut state = self.lock();
        let Some(bytes) = state.part(place).and_then(|part| part.held.settle(place.offset)) else {
            // Others have the partition: it is theirs to settle, again.
            return;
        };
        state.messages -= 1;
        state.bytes -= bytes;
        self.tell(&state);
    }

    /// Wakes the thread if it waits for this.
    fn tell(&self, state: &State) {
        if state.is_awaited {
            self.change.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the partition of a message, if the subscription has kept it since then.
    fn part(&mut self, place: Place) -> Option<&mut Part> {
        self.partitions.get_mut(&place.partition).filter(|part| part.epoch == place.epoch)
    }

    fn is_here(partitions: &BTreeMap<i32, Part>, item: &Item) -> bool {
        partitions.get(&item.place.partition).is_some_and(|part| part.is_here)
    }

    fn take_due(&mut self, now: Instant) -> Option<Item> {
        let due = self.waiting.iter().take_while(|((at, _), _)| *at <= now);
        let mut here = due.filter(|(_, item)| Self::is_here(&self.partitions, item));
        let key = *here.next()?.0;
        self.waiting.remove(&key)
    }

    fn take_ready(&mut self) -> Option<Item> {
        let partitions = &self.partitions;
        let at = self.ready.iter().position(|item| Self::is_here(partitions, item))?;
        self.ready.remove(at)
    }

    /// Returns when the next message is to come again.
    fn next_due(&self) -> Option<Instant> {
        let mut waiting = self.waiting.iter();
        let first = waiting.find(|(_, item)| Self::is_here(&self.partitions, item));
        first.map(|((at, _), _)| *at)
    }

    /// Returns a partition that the subscription has, anew if it did not.
    fn add(&mut self, partition: i32) -> &mut Part {
        self.serial += 1;
        let epoch = self.serial;
        let part = self.partitions.entry(partition);
        let part = part.or_insert_with(|| Part { epoch, ..Part::default() });
        part.is_here = true;
        part
    }

    fn forget(&mut self, partition: i32) {
        let Some(part) = self.partitions.remove(&partition) else { return };
        let (messages, bytes) = part.held.unsettled();
        self.messages -= messages;
        self.bytes -= bytes;
        self.ready.retain(|item| item.place.partition != partition);
        self.waiting.retain(|_, item| item.place.partition != partition);
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&self.item).finish()
    }
}

impl Taken {
    /// Settles the message.
    pub(super) fn settle(self) {
        self.desk.settle(self.item.place);
    }

    /// Has the message delivered again after a pause.
    pub(super) fn again(self, pause: Duration, first: Duration) {
        let due = clock::after(clock::now(), pause);
        let mut item = self.item.clone();
        item.attempt = item.attempt.saturating_add(1);
        item.first = first;
        let mut state = self.desk.lock();
        if state.part(item.place).is_some() {
            state.serial += 1;
            let key = (due, state.serial);
            state.waiting.insert(key, item);
        }
        drop(state);
        self.desk.work.notify_one();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        if let Some(part) = state.part(self.item.place) {
            part.running = part.running.saturating_sub(1);
        }
        self.desk.tell(&state);
    }
}

#[cfg(test)]
mod tests;
