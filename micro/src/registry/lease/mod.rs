//! The registration of one node, kept alive until it is closed.
//!
//! One state machine decides: what the registry should hold follows from the goal alone, never
//! from the outcome of the last attempt, so a node that is not ready cannot flap.

mod sight;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::Limits;
use crate::core::shutdown::TaskTracker;
use crate::registry::Registry;
use crate::registry::check::ERROR_ID;
use crate::registry::check::bad;
use crate::registry::check::check;
use crate::registry::lease::sight::Sight;
use crate::registry::pace::jitter;
use crate::registry::record::Record;
use crate::registry::record::STATE;
use crate::registry::record::STATE_DRAINING;

/// One write to the registry takes at most this long; then it counts as failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest first pause after a failed write; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_BASE: Duration = Duration::from_millis(50);
/// The longest pause after a failed write: a registry that returns holds the record within it.
const BACKOFF_MAX: Duration = Duration::from_millis(1500);

/// Keeps a node registered: heartbeats with jitter, repeats with backoff while the registry fails.
///
/// Dropping a lease without [`Lease::close`] deregisters in the background.
pub struct Lease {
    goal: watch::Sender<Goal>,
    status: watch::Receiver<Status>,
    sight: Sight,
}

/// What the registry should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// The record.
    Ready,
    /// Nothing, for as long as the node cannot serve.
    NotReady,
    /// The record, marked as draining; there is no way back.
    Draining,
    /// Nothing: a node that was not ready has nothing to drain; there is no way back.
    Away,
    /// Nothing, for ever.
    Closed,
}

impl Wish {
    fn is_present(self) -> bool {
        matches!(self, Self::Ready | Self::Draining)
    }
}

#[derive(Clone, Copy, Debug)]
struct Goal {
    wish: Wish,
    /// Grows with every change of the wish.
    sequence: u64,
}

#[derive(Clone, Debug, Default)]
struct Status {
    /// The sequence of the last goal that the registry reached; `None` before the first.
    reached: Option<u64>,
    /// When the registry forgets the node if nothing more is heard; `None` if it holds none.
    held_until: Option<Instant>,
    failure: Option<Error>,
    ended: bool,
}

impl Lease {
    /// Starts to keep `record` registered; returns before anything is written.
    ///
    /// The node disappears `limits.registry.ttl` after the last heartbeat. The task belongs to
    /// `tracker`, and the call must be made inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// 400 or 413 if the record may not be registered (see [`check`]) or the heartbeat is not
    /// below the ttl; 501 if the registry cannot register.
    pub fn start(
        registry: Arc<dyn Registry>,
        record: Record,
        limits: &Limits,
        tracker: &TaskTracker,
    ) -> Result<Self> {
        let (ttl, heartbeat) = (limits.registry.ttl, limits.registry.heartbeat_interval);
        check(&record, ttl, &limits.registry)?;
        if heartbeat.is_zero() || heartbeat >= ttl {
            return Err(bad(format_args!("heartbeat {heartbeat:?} is not below ttl {ttl:?}")));
        }
        if !registry.capabilities().register {
            let detail = format!("the registry {} cannot register", registry.name());
            return Err(Error::unimplemented(ERROR_ID, detail));
        }
        let (goal, goals) = watch::channel(Goal { wish: Wish::Ready, sequence: 1 });
        let (reports, status) = watch::channel(Status::default());
        // A registry that hangs shows its failure within a heartbeat and a write.
        let slack = heartbeat.saturating_mul(2).saturating_add(WRITE_TIMEOUT);
        let sight = Sight::new(ttl.max(slack));
        let keeper = Keeper {
            registry,
            record,
            limits: limits.clone(),
            goals,
            reports,
            sight: sight.clone(),
        };
        // The handle is let go: the task ends when the goal is `Closed`, which dropping ensures.
        drop(tracker.spawn("registry.lease", keeper.run()));
        Ok(Self { goal, status, sight })
    }

    /// Returns whether the registry holds the node as far as this process can know: a lease that
    /// was not renewed in time, as after a stopped process resumes, counts as lost.
    pub fn is_registered(&self) -> bool {
        self.status.borrow().held_until.is_some_and(|until| clock::now() < until)
    }

    /// Tells whether the process was stopped for so long before `now` that the registry has
    /// forgotten the node and others have gone on without it, until it is registered again.
    ///
    /// A registry that fails is no lapse: those that know the node may go on calling it. The time
    /// that counts is the ttl, or two heartbeats and a write if that is longer. Costs one atomic
    /// read.
    pub fn is_lapsed(&self, now: Instant) -> bool {
        self.sight.is_lost(now)
    }

    /// Waits until the registry holds the node; at once if it does. Cancel safe.
    ///
    /// # Errors
    ///
    /// Unavailable if the lease is closed first.
    pub async fn registered(&self) -> Result<()> {
        self.wait(|status| status.held_until.is_some_and(|until| clock::now() < until)).await
    }

    /// Returns the error of the last write to the registry; `None` if it succeeded.
    pub fn failure(&self) -> Option<Error> {
        self.status.borrow().failure.clone()
    }

    /// Registers the node again after [`Self::set_not_ready`]; ignored once it is draining.
    pub fn set_ready(&self) {
        self.wish(Wish::Ready);
    }

    /// Removes the node from the registry until [`Self::set_ready`]; ignored once it is draining.
    pub fn set_not_ready(&self) {
        self.wish(Wish::NotReady);
    }

    /// Starts to mark the node as draining, without waiting as [`Self::set_draining`] does.
    pub fn drain(&self) {
        self.wish(Wish::Draining);
    }

    /// Marks the node as draining, so that it is not chosen for new calls, and returns when that is
    /// written.
    ///
    /// A node that is not ready is in no registry and stays so. While the registry fails this waits
    /// and repeats: give it a deadline. Cancel safe: the mark is written all the same.
    ///
    /// # Errors
    ///
    /// Unavailable if the lease is closed.
    pub async fn set_draining(&self) -> Result<()> {
        let sequence = self.wish(Wish::Draining);
        self.wait(|status| status.reached >= Some(sequence)).await
    }

    /// Starts to remove the node from the registry, without waiting as [`Self::close`] does.
    pub fn end(&self) {
        self.wish(Wish::Closed);
    }

    /// Removes the node from the registry and ends the lease; may be repeated.
    ///
    /// Returns after at most `shutdown.close_timeout`; a node that could not be removed by then
    /// expires. Cancel safe: the removal goes on all the same.
    ///
    /// # Errors
    ///
    /// The registry's error if the node could not be removed.
    pub async fn close(&self) -> Result<()> {
        self.wish(Wish::Closed);
        let mut status = self.status.clone();
        let ended = match status.wait_for(|status| status.ended).await {
            Ok(status) => status.failure.clone(),
            Err(_aborted) => Some(self.closed()),
        };
        ended.map_or(Ok(()), Err)
    }

    /// Changes the wish where the state machine allows it; returns the sequence of the goal.
    fn wish(&self, next: Wish) -> u64 {
        self.goal.send_if_modified(|goal| {
            let next = match (goal.wish, next) {
                (_, Wish::Closed) => Wish::Closed,
                (Wish::NotReady, Wish::Draining) => Wish::Away,
                (Wish::Ready | Wish::NotReady, next) => next,
                (last, _) => last,
            };
            let changes = next != goal.wish;
            if changes {
                *goal = Goal { wish: next, sequence: goal.sequence.saturating_add(1) };
            }
            changes
        });
        self.goal.borrow().sequence
    }

    async fn wait(&self, reached: impl Fn(&Status) -> bool) -> Result<()> {
        let mut status = self.status.clone();
        let settled = status.wait_for(|status| status.ended || reached(status)).await;
        match settled {
            Ok(status) if !status.ended => Ok(()),
            _ => Err(self.closed()),
        }
    }

    fn closed(&self) -> Error {
        Error::unavailable(ERROR_ID, "the lease is closed")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.wish(Wish::Closed);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (goal, registered) = (self.goal.borrow().wish, self.is_registered());
        f.debug_struct("Lease").field("goal", &goal).field("registered", &registered).finish()
    }
}

/// The task behind a lease.
struct Keeper {
    registry: Arc<dyn Registry>,
    record: Record,
    limits: Limits,
    goals: watch::Receiver<Goal>,
    reports: watch::Sender<Status>,
    sight: Sight,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        loop {
            let goal = *self.goals.borrow_and_update();
            if goal.wish == Wish::Closed {
                break;
            }
            // Not cut short when the goal changes: a write in flight could land after the next.
            let pause = match self.write(goal).await {
                Ok(()) => {
                    backoff.reset();
                    let limits = &self.limits.registry;
                    let percent = limits.heartbeat_jitter_percent;
                    goal.wish.is_present().then(|| jitter(limits.heartbeat_interval, percent))
                }
                Err(()) => Some(backoff.next_delay()),
            };
            // Cancel safety: both arms only wait; the goal is read again at the top.
            tokio::select! {
                changed = self.goals.changed() => if changed.is_err() { break },
                () = wait(pause) => {}
            }
        }
        self.leave().await;
    }

    /// Brings the registry to the goal once and reports how that went.
    async fn write(&mut self, goal: Goal) -> Result<(), ()> {
        let start = clock::now();
        let (present, ttl) = (goal.wish.is_present(), self.limits.registry.ttl);
        if goal.wish == Wish::Draining
            && let Some(node) = self.record.nodes.first_mut()
        {
            node.metadata.insert(STATE.to_owned(), STATE_DRAINING.to_owned());
        }
        let written = if present {
            limited(self.registry.register(&self.record, ttl)).await
        } else {
            limited(self.registry.deregister(&self.record)).await
        };
        if present {
            self.sight.renew(clock::now());
        } else {
            // Nobody looks for a node that is not to be found.
            self.sight.rest();
        }
        let held_until = present.then(|| clock::after(start, ttl));
        self.reports.send_modify(|status| match &written {
            Ok(()) => {
                *status = Status { reached: Some(goal.sequence), held_until, ..Status::default() };
            }
            Err(error) => {
                if status.failure.is_none() {
                    let registry = self.registry.name();
                    tracing::warn!(registry, %error, "registry write failed, repeating");
                }
                status.failure = Some(error.clone());
            }
        });
        written.map_err(drop)
    }

    /// Removes the node within the close timeout.
    async fn leave(&mut self) {
        let deadline = clock::after(clock::now(), self.limits.shutdown.close_timeout);
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        let closing = Goal { wish: Wish::Closed, sequence: u64::MAX };
        let left = clock::timeout_at(deadline, async {
            while self.write(closing).await.is_err() {
                clock::sleep(backoff.next_delay()).await;
            }
        });
        let in_time = left.await.is_ok();
        let ttl = self.limits.registry.ttl;
        self.reports.send_modify(|status| {
            if !in_time && status.failure.is_none() {
                let detail = format!("node not removed in time, it expires in {ttl:?}");
                status.failure = Some(Error::timeout(ERROR_ID, detail));
            }
            status.ended = true;
        });
    }
}

async fn limited(write: impl Future<Output = Result<()>>) -> Result<()> {
    clock::timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(|_elapsed| {
        let detail = format!("the registry did not answer within {WRITE_TIMEOUT:?}");
        Err(Error::timeout(ERROR_ID, detail))
    })
}

async fn wait(pause: Option<Duration>) {
    match pause {
        Some(pause) => clock::sleep(pause).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
