//! One subscription: its workers and its end.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::broker::Handler;
use crate::broker::delivery::Ack;
use crate::broker::delivery::Delivery;
use crate::broker::delivery::deliver;
use crate::broker::receipt::Settled;
use crate::broker::subscription::Control;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::shutdown::Shutdown;
use crate::core::shutdown::TaskHandle;

use super::Buried;
use super::Inner;
use super::counts::count;
use super::group::Group;
use super::held::Held;

/// A member of a group.
pub(in crate::broker) struct Member {
    id: u64,
    inner: Arc<Inner>,
    pub(in crate::broker) group: Arc<Group>,
    /// Draining: take nothing more. Closed: cut what runs.
    life: Shutdown,
    workers: Mutex<Vec<TaskHandle>>,
    fetches: AtomicBool,
    joined: AtomicBool,
}

impl Member {
    /// Starts the workers of a subscription that has joined `group`.
    pub(super) fn start(
        id: u64,
        inner: &Arc<Inner>,
        group: Arc<Group>,
        handler: &Handler,
        concurrency: usize,
    ) -> Arc<Self> {
        let life = Shutdown::new();
        let start = || {
            let worker = Worker {
                inner: Arc::clone(inner),
                group: Arc::clone(&group),
                handler: Arc::clone(handler),
                life: life.clone(),
            };
            inner.tracker.spawn("broker.memory", worker.run())
        };
        let workers = (0..concurrency).map(|_| start()).collect();
        Arc::new(Self {
            id,
            inner: Arc::clone(inner),
            group,
            life,
            workers: Mutex::new(workers),
            fetches: AtomicBool::new(true),
            joined: AtomicBool::new(true),
        })
    }

    /// Takes no further messages. The last member of a group works off what the group has: nobody
    /// else would.
    pub(super) fn stop_fetching(&self) {
        if !self.fetches.swap(false, SeqCst) {
            return;
        }
        if self.group.stop_fetching() {
            self.inner.remove(&self.group);
        } else {
            self.life.drain();
        }
    }

    /// Waits for the workers until `deadline`, cuts the others, leaves, and returns how many were
    /// cut.
    pub(in crate::broker) async fn finish(&self, deadline: Instant) -> usize {
        self.stop_fetching();
        let workers = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *workers)
        };
        let mut late = Vec::new();
        for mut worker in workers {
            if clock::timeout_at(deadline, &mut worker).await.is_err() {
                late.push(worker);
            }
        }
        self.end();
        let cut = late.len();
        let patience = clock::after(clock::now(), self.inner.cancel_timeout);
        for worker in late {
            if clock::timeout_at(patience, worker).await.is_err() {
                tracing::warn!(topic = self.group.pattern, "a cut subscriber does not yield");
            }
        }
        cut
    }

    fn end(&self) {
        self.stop_fetching();
        self.life.close();
        if self.joined.swap(false, SeqCst) {
            self.inner.forget(self.id);
            self.group.leave();
        }
    }
}

impl Control for Member {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.finish(deadline).await {
                0 => Ok(()),
                cut => {
                    let text = format!("drain of {}: {cut} subscribers cut", self.group.pattern);
                    Err(Error::timeout("micro.broker", text))
                }
            }
        })
    }

    fn stop(&self) {
        self.end();
    }

    fn is_active(&self) -> bool {
        self.fetches.load(SeqCst) && self.group.is_open()
    }
}

/// What is to become of a copy after a delivery.
enum Decided {
    Done,
    Again(Option<Duration>),
    GivenUp(String),
}

/// Handles one delivery at a time.
struct Worker {
    inner: Arc<Inner>,
    group: Arc<Group>,
    handler: Handler,
    life: Shutdown,
}

impl Worker {
    async fn run(self) {
        loop {
            // Cancel safety: waiting for a message holds none.
            let held = tokio::select! {
                biased;
                () = self.life.draining() => return,
                held = self.group.next() => held,
            };
            let Some(held) = held else { return };
            // Cancel safety: what is held goes back to the queue when it is dropped.
            tokio::select! {
                biased;
                () = self.handle(held) => {}
                () = self.life.closed() => return,
            }
        }
    }

    async fn handle(&self, mut held: Held) {
        if !held.is_given_up() {
            let Some(delivery) = held.delivery() else { return };
            match self.decide(delivery).await {
                Decided::Done => return held.finish(Settled::Acked),
                Decided::Again(after) => return held.retry(after),
                Decided::GivenUp(reason) => held.give_up(reason),
            }
        }
        let Some(letter) = held.dead_letter() else { return };
        if let Buried::Again(after) = self.inner.bury(&letter).await {
            // Limit: it keeps its room, so that dead letters without a reader slow publishers down
            // instead of piling up; the worker is free meanwhile.
            return held.retry(after);
        }
        count(&self.inner.tally.dead);
        held.finish(Settled::Dead);
    }

    /// Runs the handler and counts what it decides.
    async fn decide(&self, delivery: Delivery) -> Decided {
        let tally = &self.inner.tally;
        let attempt = delivery.attempt;
        count(&tally.delivered);
        match deliver(&self.handler, delivery, self.ack_timeout()).await {
            Ack::Ack => {
                count(&tally.acked);
                Decided::Done
            }
            Ack::Retry { after } if attempt < self.inner.limits.deliveries_max => {
                count(&tally.retried);
                Decided::Again(after)
            }
            Ack::Retry { .. } => Decided::GivenUp(format!("not handled in {attempt} deliveries")),
            Ack::Reject { reason } => Decided::GivenUp(reason),
        }
    }

    fn ack_timeout(&self) -> Duration {
        self.inner.limits.ack_timeout
    }
}
