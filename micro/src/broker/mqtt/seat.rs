//! One subscription: its connection, its handlers, and its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex;

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

/// How long one that is cut has its turn to tell the server: somebody who waits with a deadline gets
/// the next.
const TURN: Duration = Duration::from_secs(2);

/// A pause before the server is told again, where the connection has just ended.
const PART_PAUSE: Duration = Duration::from_millis(20);

/// How long the server is waited for before it is looked whether the connection has ended for good.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// How long the last packets may take to leave.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// Messages that are given back at a time, at most: enough to hide the way to the server and back.
const GIVING_MAX: usize = 64;

/// What became of a message that was offered to the other members of a group.
enum Given {
    Taken,
    /// Nobody took it.
    Kept,
    /// There was no time.
    Late,
}

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
    /// Held by whoever works on its end: a task, and whoever drains it or closes the broker.
    ending: Mutex<()>,
    /// Given back when all else is.
    id: Id,
}

impl Seat {
    pub(super) fn new(
        (intake, member): (Arc<Intake>, Arc<Member>),
        (line, id): (Line, Id),
        publisher: Arc<Publisher>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let (stopping, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (tasks, ending) = (tasks.clone(), Mutex::new(()));
        Arc::new(Self { intake, member, line, publisher, tasks, stopping, over, ending, id })
    }

    /// Asks for nothing more, and has what waits for another delivery given back.
    pub(super) fn leave(&self) {
        self.id.end();
        self.intake.leave();
        self.member.group.hand_back();
    }

    /// Tells the server that nothing more is wanted; `false` if it was not reached until `end`, or
    /// there is nothing left to tell.
    pub(super) async fn part(&self, end: Instant) -> bool {
        let Ok(_turn) = clock::timeout_at(end, self.ending.lock()).await else { return false };
        self.part_in_turn(end).await
    }

    async fn part_in_turn(&self, end: Instant) -> bool {
        let mut stands = self.intake.stands();
        // Progress: each turn waits for the server or pauses; the end of the patience ends it.
        loop {
            if self.is_over() || self.line.is_over() {
                return false;
            }
            match clock::timeout_at(end, self.intake.part()).await {
                Ok(true) => return true,
                Ok(false) => clock::sleep_until(end.min(soon(PART_PAUSE))).await,
                Err(_) => return false,
            }
            let look = end.min(soon(LOOK_PAUSE));
            let _stands = clock::timeout_at(look, stands.wait_for(|stands| *stands)).await.is_ok();
            if clock::now() >= end {
                return false;
            }
        }
    }

    /// Gives what is not settled to other members of the group, those of other processes too, and
    /// ends the connection. What nobody takes stays with the server, in the session. `false` if that
    /// is not done by `end`: then nothing is lost, and somebody has to go on.
    pub(super) async fn give_back(&self, end: Instant) -> bool {
        let Ok(_turn) = clock::timeout_at(end, self.ending.lock()).await else {
            return self.is_over();
        };
        if self.is_over() {
            return true;
        }
        let is_done = self.give_in_turn(end).await;
        if is_done {
            self.finish(end).await;
        }
        is_done
    }

    async fn give_in_turn(&self, end: Instant) -> bool {
        let Some(returns) = self.intake.returns() else { return true };
        // Progress: a turn after which nothing comes is the last; so is one that fails.
        loop {
            let (came, backs) = (self.intake.take_came(), self.intake.backs());
            if backs.is_empty() && !came {
                return true;
            }
            let kept = self.give_each(&backs, returns, end).await;
            // What was acknowledged made room for what waited on the server.
            if kept > 0 || !self.part_giving(end.min(soon(END_PATIENCE)), end).await {
                return self.intake.backs().is_empty() || clock::now() < end;
            }
        }
    }

    /// Ends the connection in order, and waits for that, but not beyond `end`.
    async fn finish(&self, end: Instant) {
        self.end_line();
        let end = end.min(soon(FAREWELL_PATIENCE));
        // Progress: the end of the patience ends it.
        while !self.line.is_over() && clock::now() < end {
            clock::sleep_until(end.min(soon(PART_PAUSE))).await;
        }
        self.id.give_back();
    }

    fn end_line(&self) {
        self.over.store(true, SeqCst);
        // In this order: a connection that is made meanwhile is found by one or the other.
        self.line.end();
        self.intake.disconnect();
    }

    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Parts until `patience`, while what comes meanwhile is given back until `end`: the server's
    /// answer may come after more than there is room for.
    async fn part_giving(&self, patience: Instant, end: Instant) -> bool {
        let parting = self.part_in_turn(patience);
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
                let backs = self.intake.backs();
                self.give_each(&backs, returns, end).await;
            }
        }
    }

    /// Returns how many nobody took. Cancel safe: what is not acknowledged is still there.
    async fn give_each(&self, backs: &[Back], returns: &str, end: Instant) -> usize {
        let (mut kept, mut late) = (0_usize, 0_usize);
        let (mut rest, mut giving) = (backs.iter(), FuturesUnordered::new());
        // Progress: each turn ends one of them.
        loop {
            while giving.len() < GIVING_MAX
                && let Some(back) = rest.next()
            {
                giving.push(self.give(back, returns, end));
            }
            match giving.next().await {
                Some(Given::Taken) => {}
                Some(Given::Kept) => kept += 1,
                Some(Given::Late) => late += 1,
                None => break,
            }
        }
        if kept > 0 {
            let topic = self.intake.pattern();
            tracing::warn!(topic, kept, "messages stay in the session on the server");
        }
        kept + late
    }

    async fn give(&self, back: &Back, returns: &str, end: Instant) -> Given {
        if clock::now() >= end {
            // Begun, it might be published all the same.
            return Given::Late;
        }
        let Ok(letter) = Letter::back(&back.message, back.attempts, returns) else {
            self.intake.keep(back);
            return Given::Kept;
        };
        let given = self.publisher.publish(&back.message.topic, letter);
        match clock::timeout_at(end, given).await {
            Ok(Ok(Reached::Somebody)) => {
                self.intake.acknowledge(back);
                Given::Taken
            }
            Ok(_) => {
                self.intake.keep(back);
                Given::Kept
            }
            Err(_) => Given::Late,
        }
    }

    async fn drain(&self, deadline: Instant) -> Result<()> {
        self.leave();
        let _away = self.part(deadline.min(soon(END_PATIENCE))).await;
        let drained = self.member.drain(handling_end(deadline)).await;
        // What is left then is for the task that its drop starts.
        let _late = self.give_back(deadline).await;
        drained
    }

    /// Ends it with nobody waiting: tells the server and gives back what is not settled, within a
    /// patience of its own.
    pub(super) async fn end_alone(&self) {
        let end = soon(STOP_PATIENCE);
        // Progress: the end of the patience ends it.
        while !self.is_over() && !self.line.is_over() && clock::now() < end {
            let Ok(_turn) = clock::timeout_at(end, self.ending.lock()).await else { break };
            if self.is_over() || self.part_giving(end.min(soon(TURN)), end).await {
                break;
            }
        }
        if !self.give_back(end).await {
            self.finish(soon(FAREWELL_PATIENCE)).await;
        }
    }

    /// Cuts the handlers, and has a task do the rest.
    fn stop(self: &Arc<Self>) {
        if self.is_over() || self.stopping.swap(true, SeqCst) {
            return;
        }
        self.id.end();
        self.intake.leave();
        self.member.stop();
        if !self.intake.has_stood() {
            // The server has given it nothing that is to be given back.
            return self.end_line();
        }
        // Outside of a runtime nothing is told any more.
        if tokio::runtime::Handle::try_current().is_err() {
            return self.line.end();
        }
        let seat = Arc::clone(self);
        let rest = async move { seat.end_alone().await };
        self.tasks.spawn("broker.mqtt.end", rest).detach();
    }
}

/// Returns until when handlers may run where all has to be over by a deadline: what they leave has to
/// be given back in time.
pub(super) fn handling_end(deadline: Instant) -> Instant {
    let now = clock::now();
    let left = clock::remaining(now, deadline);
    clock::after(now, left.saturating_sub(END_PATIENCE).max(left / 5 * 4))
}

fn soon(delay: Duration) -> Instant {
    clock::after(clock::now(), delay)
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
