//! The connections to one node, dialed when they are needed and shared by all who call it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::client::Inner;
use crate::client::dial::{self, Duty};
use crate::client::room::room;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Connection;
use crate::core::net::Address;
use crate::selector::Load;

/// Connections to one node, beyond the configured ones, while those are full.
const EXTRA_MAX: usize = 3;

/// After a failed dial to a node that has other connections, no further one for this long.
const EXTRA_PAUSE: Duration = Duration::from_secs(1);

/// Calls in a row that go to the same connection. Callers that an answer wakes together call again
/// together, and what goes to one connection is written at once.
const ROW: usize = 16;

/// What a dial came to; `None` as long as it runs.
pub(super) type Outcome = Option<Result<Arc<dyn Connection>>>;

/// One node's address with the open connections to it.
#[derive(Debug)]
pub(super) struct Peer {
    address: Address,
    /// How many connections calls are spread over.
    wanted: usize,
    open: ArcSwap<Vec<Arc<dyn Connection>>>,
    next: AtomicUsize,
    /// Never held across a wait. Lock order: this, then a connection's own.
    dials: Mutex<Dials>,
}

/// The dial in progress, which all who need a connection share.
#[derive(Debug, Default)]
struct Dials {
    running: Option<Running>,
    extra_from: Option<Instant>,
    drained: bool,
}

#[derive(Debug)]
struct Running {
    outcome: watch::Receiver<Outcome>,
    /// Who is told if the node cannot be reached: one for each service that is called there.
    loads: Vec<Arc<Load>>,
}

impl Running {
    fn join(&mut self, load: Option<&Arc<Load>>) -> watch::Receiver<Outcome> {
        let known = |load: &Arc<Load>| self.loads.iter().any(|other| Arc::ptr_eq(other, load));
        self.loads.extend(load.filter(|load| !known(load)).cloned());
        self.outcome.clone()
    }
}

/// What a caller without a connection does next.
enum Next {
    Use(Arc<dyn Connection>),
    /// Waits for the dial, or for room on one of the full connections.
    Wait(Option<watch::Receiver<Outcome>>, Arc<Vec<Arc<dyn Connection>>>),
}

impl Peer {
    pub(super) fn new(address: Address, wanted: usize) -> Self {
        Self {
            address,
            wanted,
            open: ArcSwap::default(),
            next: AtomicUsize::new(0),
            dials: Mutex::default(),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a connection without waiting, if as many as wanted are there.
    ///
    /// It may turn out to be closed when a call is started on it.
    pub(super) fn ready(&self) -> Option<Arc<dyn Connection>> {
        let open = self.open.load();
        match open.as_slice() {
            [] => None,
            [only] if self.wanted == 1 => Some(Arc::clone(only)),
            many if many.len() >= self.wanted => {
                many.get(self.turn(many.len())).map(Arc::clone)
            }
            _ => None,
        }
    }

    /// Returns whose turn it is of so many connections.
    fn turn(&self, of: usize) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) / ROW % of.max(1)
    }

    /// Returns a connection that takes calls, dialing one if need be.
    ///
    /// Callers share one dial and its failure; dropping the future leaves the dial to the others.
    /// `load` is told when the node cannot be reached.
    ///
    /// # Errors
    /// `Retry::Safe` when the node cannot be reached within the dial timeout, or the client drains.
    pub(super) async fn connect(
        self: &Arc<Self>,
        client: &Inner,
        load: Option<&Arc<Load>>,
    ) -> Result<Arc<dyn Connection>> {
        let (dial, open) = match self.next(client, load)? {
            Next::Use(connection) => return Ok(connection),
            Next::Wait(dial, open) => (dial, open),
        };
        let mut room = room(&open);
        let Some(dial) = dial else { return room.await.ok_or_else(vanished) };
        tokio::select! {
            dialed = outcome(dial) => match dialed {
                Ok(connection) => Ok(connection),
                Err(error) => room.await.ok_or(error),
            },
            Some(connection) = &mut room => Ok(connection),
        }
    }

    /// Finds a connection, or joins or begins a dial.
    fn next(self: &Arc<Self>, client: &Inner, load: Option<&Arc<Load>>) -> Result<Next> {
        let mut dials = self.lock();
        if dials.drained {
            return Err(draining());
        }
        let open = self.sweep();
        let usable = self.usable(&open);
        if let Some(connection) = usable.as_ref().filter(|_| open.len() >= self.wanted) {
            return Ok(Next::Use(Arc::clone(connection)));
        }
        let pausing = dials.extra_from.is_some_and(|from| clock::now() < from);
        let dial = if let Some(running) = &mut dials.running {
            Some(running.join(load))
        } else if open.len() >= self.wanted + EXTRA_MAX || (pausing && !open.is_empty()) {
            None
        } else {
            let (sender, outcome) = watch::channel(None);
            let loads = load.cloned().into_iter().collect();
            dials.running = Some(Running { outcome: outcome.clone(), loads });
            // Outside of the lock: a task that is refused is dropped at once, and ends the dial.
            drop(dials);
            dial::start(client, Duty::new(Arc::clone(self), sender));
            Some(outcome)
        };
        Ok(usable.map_or_else(|| Next::Wait(dial, open), Next::Use))
    }

    /// Returns one of the connections that has room, each in its turn.
    fn usable(&self, open: &[Arc<dyn Connection>]) -> Option<Arc<dyn Connection>> {
        let mut turns = open.iter().cycle().skip(self.turn(open.len())).take(open.len());
        turns.find(|connection| !connection.is_full()).map(Arc::clone)
    }

    /// Forgets connections that take no more calls and returns the others.
    pub(super) fn sweep(&self) -> Arc<Vec<Arc<dyn Connection>>> {
        let open = self.open.load_full();
        if open.iter().all(|connection| connection.is_open()) {
            return open;
        }
        let is_open = |connection: &&Arc<dyn Connection>| connection.is_open();
        self.open.rcu(|open| open.iter().filter(is_open).cloned().collect::<Vec<_>>());
        self.open.load_full()
    }

    /// Ends a dial: keeps the connection, or tells of the failure.
    ///
    /// Returns what those who wait are told.
    pub(super) fn settle(
        &self,
        dialed: Result<Arc<dyn Connection>>,
    ) -> Result<Arc<dyn Connection>> {
        let mut dials = self.lock();
        let loads = dials.running.take().map(|running| running.loads).unwrap_or_default();
        let now = clock::now();
        match &dialed {
            Ok(connection) if dials.drained => {
                drop(dials);
                connection.drain();
                return Err(draining());
            }
            Ok(connection) => {
                self.open.rcu(|open| {
                    let mut open = Vec::clone(open);
                    open.push(Arc::clone(connection));
                    open
                });
            }
            // Others are open: the node does not want more, and is not out of reach.
            Err(_) if !self.sweep().is_empty() => {
                dials.extra_from = Some(clock::after(now, EXTRA_PAUSE));
            }
            Err(_) => loads.iter().for_each(|load| load.unreachable(now)),
        }
        dialed
    }

    /// Ends a dial that was given up; nothing is known of the node.
    pub(super) fn give_up(&self) -> Error {
        self.lock().running = None;
        vanished()
    }

    /// Lets running calls finish and starts no more, now and later.
    pub(super) fn drain(&self) {
        let open = {
            let mut dials = self.lock();
            dials.drained = true;
            self.open.swap(Arc::default())
        };
        open.iter().for_each(|connection| connection.drain());
    }

    fn lock(&self) -> MutexGuard<'_, Dials> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.open.load().iter().for_each(|connection| connection.drain());
    }
}

/// Waits for the end of a dial; dropping the future does not end it.
async fn outcome(mut dial: watch::Receiver<Outcome>) -> Result<Arc<dyn Connection>> {
    let ended = dial.wait_for(Option::is_some).await;
    ended.map_or_else(|_| Err(vanished()), |ended| ended.clone().unwrap_or_else(|| Err(vanished())))
}

fn vanished() -> Error {
    Error::unavailable("micro.client", "the connection closed").with_retry(Retry::Safe)
}

/// The error of whatever starts after the client was drained.
pub(super) fn draining() -> Error {
    Error::unavailable("micro.client", "the client is draining").with_retry(Retry::Safe)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::exchange::{Exchange, Head};
    use crate::core::future::BoxFuture;
    use crate::core::stream::BoxSource;

    /// Of some size, so that each has an address of its own.
    #[derive(Debug)]
    struct Open(#[expect(dead_code, reason = "only its size matters")] u8);

    impl Connection for Open {
        fn start(
            self: Arc<Self>,
            _: &Head<'_>,
            _: &Bytes,
            _: Option<BoxSource>,
        ) -> Result<Exchange> {
            Err(vanished())
        }

        fn is_open(&self) -> bool {
            true
        }

        fn is_full(&self) -> bool {
            false
        }

        fn ready(&self) -> BoxFuture<'_, Result<()>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn closed(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }

        fn drain(&self) {}

        fn close(&self) {}
    }

    #[test]
    fn calls_in_a_row_share_a_connection_and_every_connection_gets_as_many() {
        let peer = Peer::new("127.0.0.1:1".parse().unwrap(), 3);
        for _ in 0..3 {
            drop(peer.settle(Ok(Arc::new(Open(0)))).unwrap());
        }
        let open = peer.open.load_full();
        let mut counts = [0; 3];
        for _ in 0..6 {
            let row: Vec<_> = (0..ROW).map(|_| peer.ready().unwrap()).collect();
            assert!(row.iter().all(|connection| Arc::ptr_eq(connection, &row[0])));
            counts[open.iter().position(|one| Arc::ptr_eq(one, &row[0])).unwrap()] += 1;
        }
        assert_eq!(counts, [2, 2, 2]);
    }
}
