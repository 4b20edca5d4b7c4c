//! One try of a call at one node: connecting, sending, waiting.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::attempt::{Attempt, Chosen, is_unsent};
use crate::client::layer::Reply;
use crate::client::lent::Lent;
use crate::client::plan::Plan;
use crate::core::attempt;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Exchange};
use crate::core::stream::BoxSource;
use crate::registry::Instance;
use crate::selector::Outcome;

/// How much later than its deadline a call ends when the transport does not end it.
pub(super) const DEADLINE_GRACE: Duration = Duration::from_millis(20);

/// Connections that close before a request is sent, in one try.
const STALE_MAX: u32 = 2;

/// Times that other callers take the room that a try was told of.
const CROWDED_MAX: u32 = 64;

/// A try that is about to be made.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a Plan,
    pub(super) chosen: &'a Chosen,
    /// Nodes that failed this call.
    pub(super) excluded: &'a [Arc<Instance>],
    /// When the call ends.
    pub(super) deadline: Instant,
    /// Whether another node may be tried while there is time.
    pub(super) patient: bool,
    /// Which try of the call it is, from 1; repetitions of what never left are not counted.
    pub(super) attempt: u32,
}

/// A try that failed.
pub(super) struct Failed {
    pub(super) chosen: Chosen,
    /// The other node of a hedged try.
    pub(super) also: Option<Chosen>,
    pub(super) error: Error,
    pub(super) cause: Cause,
}

/// What a failure says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It never left: its connection had ended, or drains.
    Unsent,
    /// It never left: there was no connection.
    Undialed,
    /// The node answered, refused or was not heard of again.
    Answered,
}

impl Failed {
    /// Makes the failure of a request that was handed to a connection.
    pub(super) fn started(chosen: Chosen, error: Error) -> Self {
        let cause = if is_unsent(&error) { Cause::Unsent } else { Cause::Answered };
        Self { chosen, also: None, error, cause }
    }
}

impl Turn<'_> {
    /// Makes the try; it takes the stream of requests when it starts.
    pub(super) async fn run(&self, source: &mut Option<BoxSource>) -> Result<Reply, Failed> {
        let (mut stale, mut crowded) = (0, 0);
        // Progress: each turn sends, fails, or counts towards one of two limits.
        loop {
            let connection = self.open().await?;
            let now = clock::now();
            let until = self.until(now);
            let mut head = self.plan.head(now, until);
            if self.attempt > 1 {
                attempt::tell(&mut head.extra.get_or_insert_default().metadata, self.attempt);
            }
            let counted = Attempt::start(self.chosen.clone(), now).traced(self.plan, &head);
            let body = self.plan.body.clone().unwrap_or_default();
            let lent = source.take().map(Lent::new);
            match connection.start(&head, &body, lent.as_ref().map(Lent::handed)) {
                Ok(exchange) => return self.finish(exchange, counted, until).await,
                Err(error) if error.retry() != Retry::Safe => {
                    return Err(Failed::started(self.chosen.clone(), error));
                }
                // Requests that somebody has begun to read cannot be sent again.
                Err(error) if !Lent::give_back(lent, source) => {
                    return Err(Failed::started(self.chosen.clone(), error));
                }
                Err(error) if is_unsent(&error) && stale < STALE_MAX => stale += 1,
                Err(error) if !is_unsent(&error) && crowded < CROWDED_MAX => crowded += 1,
                Err(error) => return Err(Failed::started(self.chosen.clone(), error)),
            }
        }
    }

    /// Connects to the chosen node; half of the time is left for another one.
    async fn open(&self) -> Result<Arc<dyn Connection>, Failed> {
        let now = clock::now();
        let undialed = |error| Failed {
            chosen: self.chosen.clone(),
            also: None,
            error,
            cause: Cause::Undialed,
        };
        let Some(peer) = self.chosen.peer() else {
            let gone = Error::unavailable("micro.client", "the node has no address");
            return Err(undialed(gone.with_retry(Retry::Safe)));
        };
        // In flight while it waits, so that others go elsewhere. Whether the node can be reached
        // at all is for the dial to say: a caller in a hurry knows nothing of that.
        let _waiting = Attempt::start(self.chosen.clone(), now);
        let mut connecting = pin!(peer.connect(self.plan.client(), self.chosen.load()));
        let half = clock::after(now, clock::remaining(now, self.deadline) / 2);
        let connected = match clock::timeout_at(half, &mut connecting).await {
            Err(_) if !self.patient && self.is_elsewhere() => {
                let detail = "no connection in half of the time that was left";
                return Err(undialed(
                    Error::unavailable("micro.client", detail).with_retry(Retry::Safe),
                ));
            }
            Err(_) => clock::timeout_at(self.deadline, connecting).await,
            done => done,
        };
        connected
            .unwrap_or_else(|_| {
                let detail = "the deadline passed while connecting";
                Err(Error::timeout("micro.client", detail).with_retry(Retry::Safe))
            })
            .map_err(undialed)
    }

    /// Returns whether another node could take the call.
    fn is_elsewhere(&self) -> bool {
        let mut excluded = self.excluded.to_vec();
        excluded.extend(self.chosen.instance().cloned());
        self.chosen.instance().is_some() && self.plan.choose(clock::now(), &excluded).is_some()
    }

    /// Returns when the try ends: with the call, or sooner where that is asked for.
    fn until(&self, now: Instant) -> Instant {
        let single = self.plan.options.as_ref().and_then(|options| options.try_timeout);
        single.map_or(self.deadline, |timeout| self.deadline.min(clock::after(now, timeout)))
    }

    /// Waits for the answer.
    async fn finish(
        &self,
        mut exchange: Exchange,
        mut counted: Attempt,
        until: Instant,
    ) -> Result<Reply, Failed> {
        let streams = self.plan.endpoint.route.kind().streams_responses();
        let answer = std::future::poll_fn(|task| {
            if streams {
                return exchange.poll_opened(task).map(|opened| opened.map(|()| None));
            }
            exchange.poll_reply(task).map(|answer| answer.result.map(Some))
        });
        let answer = clock::timeout_at(clock::after(until, DEADLINE_GRACE), answer).await;
        let now = clock::now();
        let passed = || Err(Error::timeout("micro.client", "the deadline of the call passed"));
        match answer.unwrap_or_else(|_| passed()) {
            Ok(body) => {
                counted.finish(now, Outcome::Success);
                let stream = || Reply::Stream(exchange.into_stream());
                Ok(body.map_or_else(stream, Reply::Message))
            }
            Err(error) => {
                counted.fail(now, &error);
                Err(Failed::started(self.chosen.clone(), self.timed(error, until)))
            }
        }
    }

    /// Names the timer that ended a try before its call.
    fn timed(&self, error: Error, until: Instant) -> Error {
        let local = error.code() == 408 && error.id().starts_with("micro.");
        if !local || until >= self.deadline {
            return error;
        }
        error.with_detail("no answer within the time of one try")
    }
}
