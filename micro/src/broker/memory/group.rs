//! The queue of one group of subscriptions.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::TryAcquireError;

use crate::broker::Overflow;
use crate::broker::SubscribeOptions;
use crate::broker::receipt::Parcel;
use crate::broker::receipt::Settled;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::limits::BrokerLimits;

use super::counts::Flight;
use super::counts::Tally;
use super::counts::count;
use super::held::Held;
use super::held::Item;

/// The members of a group, its waiting messages, and the room for more.
///
/// Invariant: a copy of a message is in one place at a time: pending, delayed, or held by a
/// worker. It takes room from when it is accepted until it is settled.
pub(in crate::broker) struct Group {
    pub(super) id: u64,
    pub(super) pattern: String,
    pub(super) queue: Option<String>,
    overflow: Overflow,
    /// Closed together with the group, which wakes the publishers that wait.
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    state: Mutex<State>,
    /// Rung once for each message that a waiting worker could take, and for all at the end.
    pub(super) ready: Notify,
    /// Rung when nothing is left.
    idle: Notify,
    tally: Arc<Tally>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) pending: VecDeque<Item>,
    /// By the moment they are due and a number that keeps those of one moment apart.
    pub(super) delayed: BTreeMap<(Instant, u64), Item>,
    pub(super) delays: u64,
    held: usize,
    /// Subscriptions that have not ended, and those of them that still take messages.
    members: usize,
    fetching: usize,
    pub(super) phase: Phase,
    /// Copies that came with a receipt are given back instead of waiting for another delivery.
    pub(super) leaving: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Takes messages.
    #[default]
    Open,
    /// Takes no more and works off what it has.
    Sealed,
    /// Has nothing and never will.
    Closed,
}

/// Room for one message in a group.
pub(in crate::broker) struct Room {
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// What a group says to a message.
pub(in crate::broker) enum Reserved {
    /// It has room.
    Room(Room),
    /// It has none and wants the publisher to wait.
    Full,
    /// It lost the message, and says so in the counts.
    Dropped,
    /// It lost the message and gives up.
    Disconnected,
    /// It takes no more messages.
    Gone,
}

impl Group {
    pub(super) fn new(
        id: u64,
        pattern: &str,
        options: SubscribeOptions,
        limits: &BrokerLimits,
        tally: Arc<Tally>,
    ) -> Self {
        // A semaphore has an upper bound far above any sensible limit.
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(permits_max())));
        Self {
            id,
            pattern: pattern.into(),
            queue: options.queue,
            overflow: options.overflow,
            slots: semaphore(limits.pending_messages_max),
            bytes: semaphore(limits.pending_bytes_max),
            bytes_max: limits.pending_bytes_max.min(permits_max()),
            state: Mutex::default(),
            ready: Notify::new(),
            idle: Notify::new(),
            tally,
        }
    }

    /// Tells whether publishers wait while the group is full.
    pub(super) fn blocks(&self) -> bool {
        self.overflow == Overflow::Block
    }

    /// Finds room without waiting, by the group's policy.
    pub(in crate::broker) fn try_reserve(&self, bytes: usize) -> Reserved {
        loop {
            match self.try_room(bytes) {
                Ok(room) => return Reserved::Room(room),
                Err(TryAcquireError::Closed) => return Reserved::Gone,
                Err(TryAcquireError::NoPermits) => {}
            }
            match self.overflow {
                Overflow::Block => return Reserved::Full,
                Overflow::Disconnect => {
                    self.count_lost();
                    return Reserved::Disconnected;
                }
                // Each round drops one, so that the loop ends.
                Overflow::DropOldest if self.drop_oldest() => {}
                Overflow::DropOldest => {
                    self.count_lost();
                    return Reserved::Dropped;
                }
            }
        }
    }

    /// Waits for room; `None` if the group ends meanwhile. Cancel safe, and first come, first
    /// served.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<Room> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.permits(bytes)).await.ok()?;
        Some(Room { _slot: slot, _bytes: bytes })
    }

    fn try_room(&self, bytes: usize) -> Result<Room, TryAcquireError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.permits(bytes))?;
        Ok(Room { _slot: slot, _bytes: bytes })
    }

    /// A message longer than all the room takes all of it.
    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX)
    }

    fn count_lost(&self) {
        count(&self.tally.routed);
        count(&self.tally.dropped);
    }

    fn drop_oldest(&self) -> bool {
        let mut state = self.lock();
        let oldest =
            state.pending.pop_front().or_else(|| state.delayed.pop_first().map(|(_, item)| item));
        let idle = state.is_idle();
        drop(state);
        if idle {
            self.idle.notify_waiters();
        }
        let Some(mut oldest) = oldest else { return false };
        count(&self.tally.dropped);
        if let Some(receipt) = oldest.receipt.take() {
            receipt.settle(Settled::Dropped);
        }
        true
    }

    /// Takes a copy; gives it back if the group has ended since there was room.
    pub(in crate::broker) fn push(&self, parcel: Parcel, room: Room) -> Result<(), Parcel> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(parcel);
        }
        count(&self.tally.routed);
        let Parcel { message, attempts, receipt } = parcel;
        state.pending.push_back(Item {
            message,
            attempts,
            receipt,
            first: Duration::ZERO,
            last: Duration::ZERO,
            backoff: None,
            given_up: None,
            _room: room,
            _flight: Flight::new(&self.tally),
        });
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Gives back the copies that wait for another delivery, of those that came with a receipt,
    /// and every such copy that is to be delivered again from now on.
    pub(in crate::broker) fn hand_back(&self) {
        let mut state = self.lock();
        state.leaving = true;
        let due: Vec<_> = state
            .delayed
            .iter()
            .filter(|(_, item)| item.receipt.is_some())
            .map(|(due, _)| *due)
            .collect();
        let items: Vec<Item> = due.iter().filter_map(|due| state.delayed.remove(due)).collect();
        let idle = state.is_idle();
        drop(state);
        items.into_iter().for_each(|item| self.let_go(item));
        if idle {
            self.idle.notify_waiters();
            self.ready.notify_waiters();
        }
    }

    /// Parts with a copy that was not settled: to whoever gave it, if it came with a receipt.
    pub(super) fn let_go(&self, mut item: Item) {
        match item.receipt.take() {
            Some(receipt) => {
                count(&self.tally.returned);
                receipt.settle(Settled::Returned { attempts: item.attempts });
            }
            None => count(&self.tally.dropped),
        }
    }

    /// Waits for the next message; `None` when there will be none. Cancel safe.
    pub(super) async fn next(self: &Arc<Self>) -> Option<Held> {
        loop {
            let ready = self.ready.notified();
            let due = match self.take() {
                Taken::Item(item) => {
                    return Some(Held::new(Arc::clone(self), item));
                }
                Taken::Later(due) => due,
                Taken::End => return None,
            };
            match due {
                // Either is a reason to look again.
                Some(due) => drop(clock::timeout_at(due, ready).await),
                None => ready.await,
            }
        }
    }

    fn take(&self) -> Taken {
        let mut state = self.lock();
        let now = clock::now();
        while let Some(entry) = state.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let item = entry.remove();
            state.pending.push_back(item);
        }
        let Some(mut item) = state.pending.pop_front() else {
            let ended = state.phase == Phase::Closed
                || (state.phase == Phase::Sealed && state.delayed.is_empty() && state.held == 0);
            let due = state.delayed.first_key_value().map(|(key, _)| key.0);
            return if ended { Taken::End } else { Taken::Later(due) };
        };
        state.held += 1;
        if item.given_up.is_none() {
            item.last = clock::unix_now();
            if item.first.is_zero() {
                item.first = item.last;
            }
            item.attempts = item.attempts.saturating_add(1);
        }
        // This worker no longer waits for what is due: another has to.
        if !state.pending.is_empty() || !state.delayed.is_empty() {
            self.ready.notify_one();
        }
        Taken::Item(item)
    }

    /// Adds a member, unless the group has ended.
    pub(super) fn join(&self) -> bool {
        let mut state = self.lock();
        let open = state.phase == Phase::Open;
        if open {
            state.members += 1;
            state.fetching += 1;
        }
        open
    }

    /// Notes that a member takes no further messages; `true` if it was the last one that did. Then
    /// the group is sealed.
    pub(super) fn stop_fetching(&self) -> bool {
        let mut state = self.lock();
        state.fetching = state.fetching.saturating_sub(1);
        let last = state.fetching == 0;
        if last && state.phase == Phase::Open {
            state.phase = Phase::Sealed;
            drop(state);
            self.ready.notify_waiters();
        }
        last
    }

    /// Removes a member; with the last one the group ends and drops what it has.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.members = state.members.saturating_sub(1);
        let last = state.members == 0;
        drop(state);
        if last {
            self.close();
        }
    }

    /// Ends the group and drops what waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        let pending = std::mem::take(&mut state.pending);
        let delayed = std::mem::take(&mut state.delayed);
        drop(state);
        pending.into_iter().chain(delayed.into_values()).for_each(|item| self.let_go(item));
        self.slots.close();
        self.bytes.close();
        self.ready.notify_waiters();
        self.idle.notify_waiters();
    }

    /// Returns how many copies wait for a handler or have one.
    pub(in crate::broker) fn load(&self) -> usize {
        let state = self.lock();
        state.pending.len() + state.held
    }

    /// Tells whether messages still arrive.
    pub(super) fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    /// Tells whether nothing waits or is being handled.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Waits until nothing waits or is being handled. Cancel safe.
    pub(super) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }

    pub(super) fn settled(&self, mut state: MutexGuard<'_, State>) {
        state.held = state.held.saturating_sub(1);
        let idle = state.is_idle();
        let sealed = state.phase == Phase::Sealed;
        drop(state);
        if idle {
            self.idle.notify_waiters();
        }
        if idle && sealed {
            self.ready.notify_waiters();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.delayed.is_empty() && self.held == 0
    }
}

enum Taken {
    Item(Item),
    /// Nothing to do before then, or before a message comes.
    Later(Option<Instant>),
    End,
}

/// Returns the most permits that a semaphore of ours has: what fits the count of one acquisition.
fn permits_max() -> usize {
    usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}
