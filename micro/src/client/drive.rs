//! The slow path of a call: discovery, dialing, retries, hedging.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tower_service::Service;

use crate::client::attempt::{Attempt, Chosen};
use crate::client::hedge;
use crate::client::layer::{Next, Reply, Request};
use crate::client::plan::Plan;
use crate::codec::Format;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Exchange;
use crate::registry::Instance;
use crate::selector::Outcome;

/// How long a call waits for the first node of a service to appear.
const DISCOVERY_WAIT: Duration = Duration::from_secs(1);

/// Tries that provably did not run, beyond which a call gives up; they use up no retries.
const SAFE_TRIES_MAX: u32 = 8;

/// How much later than its deadline a call ends when the transport does not end it.
const DEADLINE_GRACE: Duration = Duration::from_millis(20);

/// What is known of a call's tries so far.
pub(super) struct Progress {
    /// When the call began.
    began: Instant,
    /// Nodes that failed this call.
    pub(super) excluded: Vec<Arc<Instance>>,
    safe_tries: u32,
    retries: u32,
    /// The last failure and the node it came from.
    last: Option<(Chosen, Error)>,
}

impl Progress {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, excluded: Vec::new(), safe_tries: 0, retries: 0, last: None }
    }

    /// Goes on after a first try that failed on an open connection; the call began earlier.
    pub(super) fn after(began: Instant, chosen: &Chosen, error: Error) -> Self {
        Self { last: Some((chosen.clone(), error)), ..Self::new(began) }
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
    let format = plan.client().format.clone();
    let reply = match plan.client().layers.clone() {
        None => tries(plan, progress).await?,
        Some(layers) => layered(layers, Request::new(plan, progress.began)).await?,
    };
    Ok((reply, format))
}

/// Hands a call to the layers, which have until its deadline.
async fn layered(mut layers: Next, request: Request) -> Result<Reply> {
    let until = request.deadline() + DEADLINE_GRACE;
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
    let deadline = plan.deadline(progress.began);
    let mut backoff = Backoff::from_limits(&plan.client().scope.limits.retry);
    if let Some((chosen, error)) = progress.last.take() {
        retry(&plan, &mut progress, (&mut backoff, deadline), (chosen, error, false)).await?;
    }
    // Progress: each turn is a try; tries are limited by retries, budget, nodes and deadline.
    loop {
        let chosen = choose(&plan, &progress, deadline).await?;
        let tried = match plan.hedge() {
            Some(after) => hedge::race(&plan, &progress, &chosen, (after, deadline)).await,
            None => attempt(&mut plan, &chosen, deadline).await,
        };
        match tried {
            Ok(reply) => return Ok(reply),
            Err(Failed { error, fresh }) => {
                if clock::now() >= deadline {
                    return Err(named(&plan, &chosen, error));
                }
                let pace = (&mut backoff, deadline);
                retry(&plan, &mut progress, pace, (chosen, error, fresh)).await?;
            }
        }
    }
}

/// A try that failed; `fresh` if its connection was dialed or checked for it.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) fresh: bool,
}

/// Waits before the next try, or returns the error if there is to be none.
async fn retry(
    plan: &Plan,
    progress: &mut Progress,
    (backoff, deadline): (&mut Backoff, Instant),
    (chosen, error, fresh): (Chosen, Error, bool),
) -> Result<()> {
    let client = plan.client();
    let safe = error.retry() == Retry::Safe;
    // A connection that a node closed between two calls says nothing against the node.
    if let Some(instance) = chosen.instance().filter(|_| fresh || !safe) {
        progress.excluded.push(Arc::clone(instance));
    }
    let may = match error.retry() {
        Retry::Safe => progress.safe_tries < SAFE_TRIES_MAX,
        Retry::Unknown => plan.is_idempotent() && plan.source.is_none(),
        Retry::Never => false,
    };
    let streamed = plan.endpoint.route.kind().streams_requests() && plan.source.is_none();
    if !may || streamed {
        return Err(named(plan, &chosen, error));
    }
    let now = clock::now();
    let first = safe && progress.safe_tries == 0;
    let hint = error.retry_after();
    let pause = if hint.is_some() || !first {
        backoff.next_delay_after_hint(hint, client.scope.limits.retry.hint_max)
    } else {
        Duration::ZERO
    };
    // A pause that outlasts the call helps nobody.
    if clock::after(now, pause) >= deadline {
        return Err(named(plan, &chosen, error));
    }
    if safe {
        progress.safe_tries += 1;
    } else if progress.retries >= plan.retries_max() || !client.budget.withdraw(now) {
        return Err(named(plan, &chosen, error));
    } else {
        progress.retries += 1;
    }
    progress.last = Some((chosen, error));
    if !pause.is_zero() {
        clock::sleep(pause).await;
    }
    Ok(())
}

/// Chooses a node, waiting for the registry's first answer or the first node if need be.
async fn choose(plan: &Plan, progress: &Progress, deadline: Instant) -> Result<Chosen> {
    let now = clock::now();
    if now >= deadline {
        return Err(match &progress.last {
            Some((chosen, error)) => named(plan, chosen, error.clone()),
            None => expired(plan),
        });
    }
    if let Some(chosen) = plan.choose(now, &progress.excluded) {
        return Ok(chosen);
    }
    if let Some((chosen, error)) = &progress.last {
        return Err(named(plan, chosen, error.clone()));
    }
    let view = &plan.endpoint.target.view;
    let wait = deadline.min(now + DISCOVERY_WAIT);
    match clock::timeout_at(wait, view.wait_for_instances()).await {
        Ok(Ok(_)) => plan.choose(clock::now(), &[]).ok_or_else(|| unfit(plan)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(view.failure().unwrap_or_else(|| unknown(plan))),
    }
}

/// Tries the call at one node.
async fn attempt(plan: &mut Plan, chosen: &Chosen, deadline: Instant) -> Result<Reply, Failed> {
    let source = plan.source.take();
    let connection = match open(plan, chosen, deadline).await {
        Ok(connection) => connection,
        Err(failed) => {
            plan.source = source;
            return Err(failed);
        }
    };
    let now = clock::now();
    let until = try_deadline(plan, now, deadline);
    let head = plan.head(now, until);
    let attempt = Attempt::start(chosen.clone(), now).traced(plan, &head);
    let body = plan.body.clone().unwrap_or_default();
    let source = source.map(|source| source.into_inner().unwrap_or_else(PoisonError::into_inner));
    let started = connection.start(&head, &body, source);
    finish(plan, started, attempt, until).await
}

/// Connects to the chosen node.
pub(super) async fn open(
    plan: &Plan,
    chosen: &Chosen,
    deadline: Instant,
) -> Result<Arc<dyn crate::core::exchange::Connection>, Failed> {
    let now = clock::now();
    let Some(peer) = chosen.peer() else {
        return Err(Failed { error: unfit(plan), fresh: true });
    };
    let mut attempt = Attempt::start(chosen.clone(), now);
    let error = match clock::timeout_at(deadline, peer.connect(plan.client())).await {
        Ok(Ok(connection)) => {
            attempt.finish(now, Outcome::Abandoned);
            return Ok(connection);
        }
        Ok(Err(error)) => error,
        Err(_) => Error::timeout("micro.client", "the deadline passed while connecting")
            .with_retry(Retry::Safe),
    };
    attempt.finish(clock::now(), Outcome::Unreachable);
    Err(Failed { error, fresh: true })
}

pub(super) fn try_deadline(plan: &Plan, now: Instant, deadline: Instant) -> Instant {
    let single = plan.options.as_ref().and_then(|options| options.try_timeout);
    single.map_or(deadline, |timeout| deadline.min(clock::after(now, timeout)))
}

/// Waits for the answer of a try that was started.
pub(super) async fn finish(
    plan: &Plan,
    started: Result<Exchange>,
    mut attempt: Attempt,
    until: Instant,
) -> Result<Reply, Failed> {
    let mut exchange = match started {
        Ok(exchange) => exchange,
        Err(error) => return Err(Failed { error, fresh: false }),
    };
    let streams = plan.endpoint.route.kind().streams_responses();
    let answer = std::future::poll_fn(|task| {
        if streams {
            return exchange.poll_opened(task).map(|opened| opened.map(|()| None));
        }
        exchange.poll_reply(task).map(|answer| answer.result.map(Some))
    });
    let answer = match clock::timeout_at(until + DEADLINE_GRACE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::timeout("micro.client", "the deadline of the call passed")),
    };
    let now = clock::now();
    match answer {
        Ok(body) => {
            attempt.finish(now, Outcome::Success);
            let stream = || Reply::Stream(exchange.into_stream());
            Ok(body.map_or_else(stream, Reply::Message))
        }
        Err(error) => {
            attempt.fail(now, &error);
            Err(Failed { fresh: error.retry() != Retry::Safe, error })
        }
    }
}

/// Adds operation and node to an error of the way there; the answer of a handler stays as it is.
fn named(plan: &Plan, chosen: &Chosen, error: Error) -> Error {
    if !error.id().starts_with("micro.") {
        return error;
    }
    let route = &plan.endpoint.route;
    let node = chosen.instance().map_or("a node", |instance| instance.id.as_str());
    let (service, endpoint) = (route.service(), route.endpoint());
    let address = chosen.peer().map(|peer| peer.address().to_string()).unwrap_or_default();
    let detail = format!("{service} {endpoint} on {node} ({address}): {}", error.detail());
    let named = Error::new(error.id().to_owned(), error.code(), detail).with_retry(error.retry());
    named.with_source(error)
}

fn expired(plan: &Plan) -> Error {
    let route = &plan.endpoint.route;
    let detail = format!(
        "{} {}: the deadline passed before a node was chosen",
        route.service(),
        route.endpoint()
    );
    Error::timeout("micro.client", detail).with_retry(Retry::Safe)
}

fn unknown(plan: &Plan) -> Error {
    let service = plan.endpoint.route.service();
    let registry = plan.client().registry.inner().name();
    let detail = format!("no node of service `{service}` in the registry `{registry}`");
    Error::unavailable("micro.client", detail).with_retry(Retry::Safe)
}

fn unfit(plan: &Plan) -> Error {
    let route = &plan.endpoint.route;
    let detail = format!(
        "no node of service `{}` fits the call to {}: all are filtered out or lack the endpoint",
        route.service(),
        route.endpoint()
    );
    Error::unavailable("micro.client", detail).with_retry(Retry::Safe)
}
