//! One try of a call at one node, counted in the node's load until it ends.

use std::sync::Arc;

use tokio::time::Instant;

use crate::client::peer::Peer;
use crate::client::plan::Plan;
use crate::client::target::Nodes;
use crate::core::clock;
use crate::core::error::{Error, Retry};
use crate::core::exchange::Head;
use crate::core::trace::Trace;
use crate::debug::{Monitor, SpanKind};
use crate::registry::Instance;
use crate::selector::{Candidate, Load, Outcome};

/// Who was chosen for a try.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// A node of the registry.
    Node(Arc<Nodes>, usize),
    /// The address that the caller or the client named.
    Address(Arc<Peer>),
}

impl Chosen {
    pub(super) fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Node(nodes, index) => nodes.peer(*index),
            Self::Address(peer) => Some(peer),
        }
    }

    pub(super) fn instance(&self) -> Option<&Arc<Instance>> {
        self.candidate().map(|candidate| &candidate.instance)
    }

    /// Returns what calls say of the node.
    pub(super) fn load(&self) -> Option<&Arc<Load>> {
        self.candidate().map(|candidate| &candidate.load)
    }

    fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Node(nodes, index) => nodes.candidates.get(*index),
            Self::Address(_) => None,
        }
    }
}

/// A try that counts at its node from its start to its end, or to its drop.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) chosen: Chosen,
    pub(super) started: Instant,
    over: bool,
    /// What is recorded of it, if it is traced.
    traced: Option<Box<Traced>>,
}

/// A try that is recorded.
#[derive(Debug)]
struct Traced {
    monitor: Monitor,
    trace: Trace,
    name: String,
    /// The code of its error, if that is known.
    code: Option<u16>,
}

impl Attempt {
    pub(super) fn start(chosen: Chosen, now: Instant) -> Self {
        if let Some(candidate) = chosen.candidate() {
            candidate.load.start();
        }
        Self { chosen, started: now, over: false, traced: None }
    }

    /// Has the try recorded, if its head says that the trace is.
    pub(super) fn traced(mut self, plan: &Plan, head: &Head<'_>) -> Self {
        let trace = head.extra.as_ref().and_then(|extra| extra.trace);
        let Some(trace) = trace.filter(|trace| trace.is_sampled()) else { return self };
        if let Some(monitor) = plan.client().monitor.clone() {
            let name = format!("{}.{}", head.route.service(), head.route.endpoint());
            self.traced = Some(Box::new(Traced { monitor, trace, name, code: None }));
        }
        self
    }

    /// Counts how a try ended that failed.
    pub(super) fn fail(&mut self, at: Instant, error: &Error) {
        if let Some(traced) = &mut self.traced {
            traced.code = Some(error.code());
        }
        self.finish(at, outcome_of(error));
    }

    /// Returns when the try began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Counts how the try ended.
    pub(super) fn finish(&mut self, at: Instant, outcome: Outcome) {
        self.over = true;
        if let Some(candidate) = self.chosen.candidate() {
            candidate.load.finish(at, self.started, outcome);
        }
        if let Some(traced) = self.traced.take() {
            let code = traced.code.unwrap_or(match outcome {
                Outcome::Success => 200,
                Outcome::Abandoned => 499,
                _ => 503,
            });
            let span = (traced.name.as_str(), SpanKind::Client, code);
            traced.monitor.record(traced.trace, span, self.started, at);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            self.finish(clock::now(), Outcome::Abandoned);
        }
    }
}

/// Returns what an error says of the node: an answer of the application speaks well of it, a
/// refusal neither well nor ill.
fn outcome_of(error: &Error) -> Outcome {
    match error.code() {
        503 if is_unsent(error) => Outcome::Abandoned,
        503 if error.retry() == Retry::Safe => Outcome::Refused,
        408 => Outcome::Expired,
        429 => Outcome::Refused,
        500 | 502..=504 => Outcome::Failure,
        _ => Outcome::Success,
    }
}

/// Tells whether a request never left, because its connection had ended or drains.
///
/// Invariant: transports say so by a 503 under this id; a refusal of the node is a 429 or has the
/// id of an endpoint.
pub(super) fn is_unsent(error: &Error) -> bool {
    error.code() == 503 && error.retry() == Retry::Safe && error.id() == "micro.transport"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_of_the_node_what_it_is_to_blame_for() {
        let safe = |error: Error| error.with_retry(Retry::Safe);
        let table = [
            (safe(Error::unavailable("micro.transport", "draining")), Outcome::Abandoned),
            (safe(Error::unavailable("shop.Orders.Read", "busy")), Outcome::Refused),
            (safe(Error::too_many_requests("micro.transport", "refused")), Outcome::Refused),
            (Error::too_many_requests("shop", "quota"), Outcome::Refused),
            (Error::unavailable("micro.transport", "broke"), Outcome::Failure),
            (Error::timeout("micro.transport", "late"), Outcome::Expired),
            (Error::internal("shop", "panic"), Outcome::Failure),
            (Error::not_found("shop", "no order 7"), Outcome::Success),
        ];
        for (error, outcome) in table {
            assert_eq!(outcome_of(&error), outcome, "{error:?}");
        }
    }
}
