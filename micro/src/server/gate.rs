//! How many calls are let in at a time, and who waits for room.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::exchange::{Ended, Release};

/// The bit of the state that says that nobody is let in any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// A counter of running calls with a bound, a bounded queue before it and a door that closes.
#[derive(Debug)]
pub(super) struct Gate {
    /// Calls that are in, and [`CLOSED`].
    state: AtomicUsize,
    in_max: usize,
    queued: AtomicUsize,
    queued_max: usize,
    /// Tasks that wait for room or for the end; only then does leaving cost more than a count.
    watchers: AtomicUsize,
    freed: Notify,
    idle: Notify,
}

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many calls are in as fit, and as many wait.
    Full,
    /// As many calls are in as fit, and the call is one that does not wait: it is repeated.
    Repeated,
    /// There was no room for as long as the call would wait.
    Waited,
    /// The gate is closed.
    Closed,
}

impl Gate {
    /// Makes a gate for at most `in_max` calls at a time, of which `queued_max` more may wait.
    pub(super) fn new(in_max: usize, queued_max: usize) -> Self {
        Self {
            state: AtomicUsize::new(0),
            in_max: in_max.min(CLOSED - 1),
            queued: AtomicUsize::new(0),
            queued_max,
            watchers: AtomicUsize::new(0),
            freed: Notify::new(),
            idle: Notify::new(),
        }
    }

    /// Lets a call in if there is room.
    pub(super) fn enter(&self) -> Result<(), Refused> {
        let mut state = self.state.load(Ordering::Relaxed);
        // Progress: each turn fails only because another call came or went.
        loop {
            if state & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if state >= self.in_max {
                return Err(Refused::Full);
            }
            let swap = self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
            match swap {
                Ok(_) => return Ok(()),
                Err(present) => state = present,
            }
        }
    }

    /// Counts a call out.
    pub(super) fn leave(&self) {
        // Either this sees the watcher or the watcher sees the count: both are sequentially
        // consistent and each side writes before it reads.
        let before = self.state.fetch_sub(1, Ordering::SeqCst);
        if self.watchers.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
            if before & !CLOSED == 1 {
                self.idle.notify_waiters();
            }
        }
    }

    /// Takes a place in the queue; given up by dropping it.
    pub(super) fn queue(self: &Arc<Self>) -> Result<Place, Refused> {
        let room = |queued| (queued < self.queued_max).then_some(queued + 1);
        match self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(Place(Arc::clone(self))),
            Err(_) => Err(Refused::Full),
        }
    }

    /// Waits for room until `until`. Cancel safe: either the call is in or nothing happened.
    pub(super) async fn wait(&self, until: Instant) -> Result<(), Refused> {
        let _watching = Watching::new(self);
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.enter() {
                Err(Refused::Full) => {}
                done => return done,
            }
            if clock::timeout_at(until, freed).await.is_err() {
                return Err(Refused::Waited);
            }
        }
    }

    /// Lets nobody in any more, those who wait included.
    pub(super) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    /// Returns how many calls are in.
    pub(super) fn len(&self) -> usize {
        self.state.load(Ordering::SeqCst) & !CLOSED
    }

    /// Waits until no call is in, or until `until`; returns how many are. Cancel safe.
    pub(super) async fn idle(&self, until: Instant) -> usize {
        let _watching = Watching::new(self);
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.len() == 0 {
                return 0;
            }
            if clock::timeout_at(until, idle).await.is_err() {
                return self.len();
            }
        }
    }
}

impl Release for Gate {
    fn release(&self) {
        self.leave();
    }

    fn tally(&self, _ended: &Ended) {}
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Watching<'a>(&'a Gate);

impl<'a> Watching<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.watchers.fetch_add(1, Ordering::SeqCst);
        Self(gate)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        clock::after(clock::now(), Duration::from_secs(1))
    }

    #[test]
    fn the_limit_holds_at_it_above_it_and_far_above_it() {
        let gate = Gate::new(10, 0);
        let entered = (0..100).filter(|_| gate.enter().is_ok()).count();
        assert_eq!((entered, gate.len()), (10, 10));
        gate.leave();
        assert_eq!((gate.enter(), gate.enter()), (Ok(()), Err(Refused::Full)));
    }

    #[test]
    fn the_queue_is_bounded_too() {
        let gate = Arc::new(Gate::new(0, 2));
        let places = (gate.queue().unwrap(), gate.queue().unwrap());
        assert_eq!(gate.queue().unwrap_err(), Refused::Full);
        drop(places);
        assert!(gate.queue().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_place_of_who_leaves() {
        let gate = Arc::new(Gate::new(1, 1));
        gate.enter().unwrap();
        let (waited, ()) = tokio::join!(gate.wait(soon()), async { gate.leave() });
        assert_eq!((waited, gate.len()), (Ok(()), 1));
        assert_eq!(gate.wait(soon()).await, Err(Refused::Waited));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_passes_the_place_on() {
        let gate = Gate::new(1, 2);
        gate.enter().unwrap();
        let given_up = async {
            tokio::select! {
                biased;
                _ = gate.wait(soon()) => panic!("there is no room"),
                () = tokio::task::yield_now() => gate.leave(),
            }
        };
        let (waited, ()) = tokio::join!(gate.wait(soon()), given_up);
        assert_eq!(waited, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_refuses_those_who_wait_and_lets_those_inside_finish() {
        let gate = Gate::new(1, 1);
        gate.enter().unwrap();
        let (waited, ()) = tokio::join!(gate.wait(soon()), async { gate.close() });
        assert_eq!((waited, gate.enter()), (Err(Refused::Closed), Err(Refused::Closed)));
        assert_eq!(gate.idle(soon()).await, 1);
        let (left, ()) = tokio::join!(gate.idle(soon()), async { gate.leave() });
        assert_eq!(left, 0);
    }
}
