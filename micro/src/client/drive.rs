//! The slow path of a call: discovery, dialing, retries, hedging.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tower_service::Service;

use crate::client::attempt::Chosen;
use crate::client::bounded::Bound;
use crate::client::failure::{expired, named, unfit, unknown};
use crate::client::hedge;
use crate::client::layer::{Next, Reply, Request};
use crate::client::peer::draining;
use crate::client::plan::Plan;
use crate::client::turn::{Cause, DEADLINE_GRACE, Failed, Turn};
use crate::codec::Format;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::registry::Instance;

/// How long a call waits for the first node of a service to appear.
const DISCOVERY_WAIT: Duration = Duration::from_secs(1);

/// What is known of a call's tries so far.
pub(super) struct Progress {
    /// When the call began.
    began: Instant,
    /// Nodes that failed this call.
    excluded: Vec<Arc<Instance>>,
    /// The node on whose connection a request was lost before it left.
    stale: Option<Arc<Instance>>,
    /// Whether the one repetition that costs nothing was made.
    failed_over: bool,
    retries: u32,
    /// The last failure.
    last: Option<Failed>,
}

impl Progress {
    pub(super) fn new(began: Instant) -> Self {
        let excluded = Vec::new();
        Self { began, excluded, stale: None, failed_over: false, retries: 0, last: None }
    }

    /// Goes on after a first try that failed on an open connection; the call began earlier.
    pub(super) fn after(began: Instant, chosen: &Chosen, error: Error) -> Self {
        Self { last: Some(Failed::started(chosen.clone(), error)), ..Self::new(began) }
    }

    /// Excludes the nodes of a failure.
    fn exclude(&mut self, failed: &Failed) {
        self.excluded.extend(failed.also.as_ref().and_then(Chosen::instance).cloned());
        let Some(instance) = failed.chosen.instance() else { return };
        // A connection that a node closed between two calls says nothing against the node, but a
        // second one does.
        let before = self.stale.as_ref().is_some_and(|stale| stale.id == instance.id);
        if failed.cause == Cause::Unsent && !before {
            self.stale = Some(Arc::clone(instance));
        } else {
            self.excluded.push(Arc::clone(instance));
        }
    }
}

/// Makes a call, through the layers if there are any.
pub(super) async fn drive(mut plan: Plan, progress: Progress) -> Result<(Reply, Format)> {
    if let Some(error) = plan.options.as_mut().and_then(|options| options.error.take()) {
        return Err(error);
    }
    if let Err(error) = &plan.body {
        return Err(error.clone());
    }
    let format = plan.format().clone();
    let bound = Bound::of(&plan, progress.began);
    let reply = match plan.client().layers.clone() {
        None => tries(plan, progress).await?,
        Some(layers) => layered(layers, Request::new(plan, progress.began)).await?,
    };
    let reply = match bound {
        Some(bound) => bound.around(reply),
        None => reply,
    };
    Ok((reply, format))
}

/// Hands a call to the layers, which have until its deadline.
async fn layered(mut layers: Next, request: Request) -> Result<Reply> {
    let until = clock::after(request.deadline(), DEADLINE_GRACE);
    match clock::timeout_at(until, layers.call(request)).await {
        Ok(reply) => reply,
        Err(_) => {
            let detail = "the deadline of the call passed in a layer of the client";
            Err(Error::timeout("micro.client", detail))
        }
    }
}

/// Makes as many tries as a call takes and is allowed.
pub(super) async fn tries(mut plan: Plan, mut progress: Progress) -> Result<Reply> {
    if progress.last.is_none() && plan.client().pool.is_drained() {
        return Err(draining());
    }
    let source = plan.source.take();
    let mut source =
        source.map(|source| source.into_inner().unwrap_or_else(PoisonError::into_inner));
    let pace = Pace { deadline: plan.deadline(progress.began), plan: &plan };
    let mut backoff = Backoff::from_limits(&plan.client().scope.limits.retry);
    if let Some(failed) = progress.last.take() {
        pace.retry(&mut progress, &mut backoff, failed).await?;
    }
    // Progress: each turn is a try; tries are limited by retries, budget, nodes and deadline.
    loop {
        let chosen = pace.choose(&progress).await?;
        let turn = Turn {
            plan: &plan,
            chosen: &chosen,
            excluded: &progress.excluded,
            deadline: pace.deadline,
            patient: progress.failed_over,
            attempt: progress.retries.saturating_add(1),
        };
        let streams = source.is_some();
        let tried = match plan.hedge() {
            Some(after) => hedge::race(&turn, after).await,
            None => turn.run(&mut source).await,
        };
        let spent = streams && source.is_none();
        match tried {
            Ok(reply) => return Ok(reply),
            // A stream of requests can be read only once.
            Err(failed) if spent || clock::now() >= pace.deadline => {
                return Err(named(&plan, &failed.chosen, failed.error));
            }
            Err(failed) => pace.retry(&mut progress, &mut backoff, failed).await?,
        }
    }
}

/// A call between its tries.
struct Pace<'a> {
    plan: &'a Plan,
    deadline: Instant,
}

impl Pace<'_> {
    /// Waits before the next try, or returns the error if there is to be none.
    ///
    /// One repetition is free: that of a request which provably never left, at once and elsewhere.
    /// All others count against the retries of the call and the budget of the service.
    async fn retry(
        &self,
        progress: &mut Progress,
        backoff: &mut Backoff,
        failed: Failed,
    ) -> Result<()> {
        let (plan, now) = (self.plan, clock::now());
        let limits = &plan.client().scope.limits.retry;
        let safe = failed.error.retry() == Retry::Safe;
        let is_node = failed.chosen.instance().is_some();
        progress.exclude(&failed);
        let unsent = safe && failed.cause != Cause::Answered;
        let free = unsent && !progress.failed_over && (is_node || failed.cause == Cause::Unsent);
        // What a node refuses, another one may take at once. One address is given time.
        let pause = if free || (safe && is_node) {
            Duration::ZERO
        } else {
            backoff.next_delay_after_hint(failed.error.retry_after(), limits.hint_max)
        };
        let may = match failed.error.retry() {
            Retry::Safe => true,
            Retry::Unknown => plan.is_idempotent() && !plan.streams_requests(),
            Retry::Never => false,
        };
        // A pause that outlasts the call helps nobody.
        let may = may
            && clock::after(now, pause) < self.deadline
            && plan.choose(now, &progress.excluded).is_some()
            && (free || progress.retries < plan.retries_max() && plan.budget().withdraw(now));
        if !may {
            return Err(named(plan, &failed.chosen, failed.error));
        }
        progress.failed_over |= free;
        progress.retries += u32::from(!free);
        progress.last = Some(failed);
        if !pause.is_zero() {
            clock::sleep(pause).await;
        }
        Ok(())
    }

    /// Chooses a node, waiting for the registry's first answer or the first node if need be.
    async fn choose(&self, progress: &Progress) -> Result<Chosen> {
        let (plan, now) = (self.plan, clock::now());
        let failed = |last: &Failed| named(plan, &last.chosen, last.error.clone());
        if now >= self.deadline {
            return Err(progress.last.as_ref().map_or_else(|| expired(plan), failed));
        }
        if let Some(chosen) = plan.choose(now, &progress.excluded) {
            return Ok(chosen);
        }
        if let Some(last) = &progress.last {
            return Err(failed(last));
        }
        let view = &plan.endpoint.target.view;
        let wait = self.deadline.min(clock::after(now, DISCOVERY_WAIT));
        match clock::timeout_at(wait, view.wait_for_instances()).await {
            Ok(Ok(_)) => plan.choose(clock::now(), &[]).ok_or_else(|| unfit(plan)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(view.failure().unwrap_or_else(|| unknown(plan))),
        }
    }
}
