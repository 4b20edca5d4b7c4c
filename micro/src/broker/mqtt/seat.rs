//! One subscription: its connection, its handlers, and its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::broker::memory::member::Member;
use crate::broker::subscription::Control;
use crate::core::clock::{self, Instant};
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::shutdown::TaskTracker;

use super::ids::Id;
use super::intake::{Back, Intake};
use super::line::Line;
use super::publisher::{Publisher, Reached};
use super::wire::Letter;

/// How long a subscription that ends may take to tell the server, and to give back what it did not
/// settle.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(5);

/// How long one that is cut may take for that, with nobody waiting.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A pause before the server is told again, where the connection has just ended.
const PART_PAUSE: Duration = Duration::from_millis(20);

/// A subscription.
pub(super) struct Seat {
    pub(super) intake: Arc<Intake>,
    pub(super) member: Arc<Member>,
    pub(super) line: Line,
    pub(super) publisher: Arc<Publisher>,
    pub(super) tasks: TaskTracker,
    /// Somebody cuts it.
    stopping: AtomicBool,
    /// There is nothing left to do for its end.
    over: AtomicBool,
    /// Given back when all else is.
    _id: Id,
}

impl Seat {
    pub(super) fn new(
        (intake, member): (Arc<Intake>, Arc<Member>),
        (line, id): (Line, Id),
        publisher: Arc<Publisher>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let (stopping, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let tasks = tasks.clone();
        Arc::new(Self { intake, member, line, publisher, tasks, stopping, over, _id: id })
    }

    /// Asks for nothing more, and has what waits for another delivery given back.
    pub(super) fn leave(&self) {
        self.intake.leave();
        self.member.group.hand_back();
    }

    /// Tells the server that nothing more is wanted; `false` if it was not reached until `end`.
    pub(super) async fn part(&self, end: Instant) -> bool {
        let mut stands = self.intake.stands();
        // Progress: each turn waits for the server or pauses.
        loop {
            match clock::timeout_at(end, self.intake.part()).await {
                Ok(true) => return true,
                Ok(false) => clock::sleep(PART_PAUSE).await,
                Err(_) => return false,
            }
            if clock::timeout_at(end, stands.wait_for(|stands| *stands)).await.is_err() {
                return false;
            }
        }
    }

    /// Gives what is not settled to other members of the group, those of other processes too, and
    /// ends the connection. What nobody takes stays with the server, in the session.
    pub(super) async fn give_back(&self, end: Instant) {
        if let Some(returns) = self.intake.returns() {
            // Progress: a turn after which nothing comes is the last; so is one that fails.
            loop {
                let (came, backs) = (self.intake.take_came(), self.intake.take_back());
                if backs.is_empty() && !came {
                    break;
                }
                if self.give_each(&backs, returns, end).await > 0 {
                    break;
                }
                // What was acknowledged made room for what waited on the server.
                let patience = clock::after(clock::now(), END_PATIENCE);
                if !self.part_giving(end.min(patience)).await {
                    break;
                }
            }
        }
        self.intake.disconnect();
        self.line.end();
        self.over.store(true, SeqCst);
    }

    /// Parts, while what comes meanwhile is given back: the server's answer may come after more than
    /// there is room for.
    async fn part_giving(&self, end: Instant) -> bool {
        let parting = self.part(end);
        tokio::pin!(parting);
        // Progress: the end of the patience ends it.
        loop {
            // Cancel safety: a pause that is cut loses nothing.
            tokio::select! {
                biased;
                parted = &mut parting => return parted,
                () = clock::sleep(PART_PAUSE) => {}
            }
            if let Some(returns) = self.intake.returns() {
                let backs = self.intake.take_back();
                self.give_each(&backs, returns, end).await;
            }
        }
    }

    /// Returns how many nobody took.
    async fn give_each(&self, backs: &[Back], returns: &str, end: Instant) -> usize {
        let mut kept = 0;
        for back in backs {
            let Ok(letter) = Letter::back(&back.message, back.attempts, returns) else {
                kept += 1;
                continue;
            };
            let given = self.publisher.publish(&back.message.topic, letter);
            match clock::timeout_at(end, given).await {
                Ok(Ok(Reached::Somebody)) => self.intake.acknowledge(back),
                _ => kept += 1,
            }
        }
        if kept > 0 {
            let topic = self.intake.pattern();
            tracing::warn!(topic, kept, "messages stay in the session on the server");
        }
        kept
    }

    async fn drain(&self, deadline: Instant) -> Result<()> {
        self.leave();
        let patience = clock::after(clock::now(), END_PATIENCE);
        let _away = self.part(deadline.min(patience)).await;
        let drained = self.member.drain(deadline).await;
        self.give_back(deadline.max(clock::after(clock::now(), END_PATIENCE))).await;
        drained
    }

    /// Cuts the handlers, and has a task do the rest.
    fn stop(self: &Arc<Self>) {
        if self.over.load(SeqCst) || self.stopping.swap(true, SeqCst) {
            return;
        }
        self.intake.leave();
        self.member.stop();
        // Outside of a runtime nothing is told any more.
        if tokio::runtime::Handle::try_current().is_err() {
            return self.line.end();
        }
        let seat = Arc::clone(self);
        let rest = async move {
            let end = clock::after(clock::now(), STOP_PATIENCE);
            let _away = seat.part_giving(end).await;
            seat.give_back(end).await;
        };
        self.tasks.spawn("broker.mqtt.end", rest).detach();
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("intake", &self.intake)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// What the handle of a subscription holds.
#[derive(Debug)]
pub(super) struct Kept(pub(super) Arc<Seat>);

impl Control for Kept {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.drain(deadline))
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn is_active(&self) -> bool {
        self.0.member.is_active()
    }
}
