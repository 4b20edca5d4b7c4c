//! A call as its maker holds it: a future with options.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::client::attempt::Attempt;
use crate::client::drive::{self, Progress};
use crate::client::layer::Reply;
use crate::client::options::Options;
use crate::client::plan::Plan;
use crate::codec::{DecFn, Format, decoded};
use crate::core::clock;
use crate::core::context::Context;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Exchange, Head};
use crate::core::future::BoxFuture;
use crate::core::metadata::Metadata;
use crate::core::net::Address;
use crate::core::stream::Streaming;
use crate::registry::Instance;
use crate::selector::{Outcome, route_key};

/// A call to an endpoint. It starts when it is first polled; dropping it cancels it.
///
/// The call inherits deadline, trace and persistent metadata from the handler it is made in. It
/// has exactly one outcome, by its deadline. That of a stream is its beginning; the deadline holds
/// for the rest of it where [`Call::bounded`] asks for that.
///
/// # Retries
/// A call is repeated by itself only if the request provably did not run, or the endpoint is
/// idempotent; never at a node that failed it before, and within the retries of the call and the
/// retry budget of the service. One repetition is free: of a request that never left, because its
/// connection had ended or none could be made, at once and at another node.
///
/// # Errors
/// What the handler answers, and with the id `micro.client` or `micro.transport`:
/// - 408 when the deadline passes; it may have run unless the text says that it was not sent,
/// - 413 when a message is longer than allowed,
/// - 429 when the node takes no more calls, safe to repeat,
/// - 503 when no node is known or can be reached, safe to repeat, or when the connection broke
///   after the request was sent, which may have run.
///
/// [`Error::retry`] tells whether a repetition is safe.
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<T, E = Error> {
    /// Taken by the slow path.
    plan: Option<Plan>,
    stage: Stage,
    finish: Finish<T>,
    error: PhantomData<fn() -> E>,
}

enum Stage {
    /// Not started.
    Idle,
    /// The first try of a plain call.
    Flight(Exchange, Attempt),
    /// On the slow path.
    Driven(BoxFuture<'static, Result<(Reply, Format)>>),
    Over,
}

/// How the reply becomes a value.
enum Finish<T> {
    Message(DecFn<T>),
    Stream(StreamFn<T>),
}

type StreamFn<T> = Box<dyn FnOnce(Reply, Format) -> Result<T> + Send>;

impl<T, E> Call<T, E> {
    fn new(plan: Plan, finish: Finish<T>) -> Self {
        Self { plan: Some(plan), stage: Stage::Idle, finish, error: PhantomData }
    }

    pub(super) fn message(plan: Plan, decode: DecFn<T>) -> Self {
        Self::new(plan, Finish::Message(decode))
    }
}

impl<T: Send + 'static, E> Call<Streaming<T>, E> {
    pub(super) fn stream(plan: Plan, decode: DecFn<T>) -> Self {
        let finish = move |reply, format| match reply {
            Reply::Stream(messages) => Ok(decoded(messages, format, decode)),
            Reply::Message(_) => {
                Err(Error::internal("micro.client", "the node answered a stream by one message"))
            }
        };
        Self::new(plan, Finish::Stream(Box::new(finish)))
    }
}

/// Options; they have no effect once the call has started.
impl<T, E> Call<T, E> {
    fn with(mut self, set: impl FnOnce(&mut Options)) -> Self {
        if let (Stage::Idle, Some(plan)) = (&self.stage, &mut self.plan) {
            set(plan.options());
        }
        self
    }

    pub(super) fn with_header(self, insert: impl FnOnce(&mut Metadata) -> Result<()>) -> Self {
        self.with(|options| {
            let inserted = insert(&mut options.headers);
            options.error = options.error.take().or(inserted.err());
        })
    }

    /// Gives up after this time, or at the inherited deadline if that is sooner.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = Some(timeout))
    }

    /// Gives up each single try after this time; an idempotent call then goes to another node.
    pub fn try_timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.try_timeout = Some(timeout))
    }

    /// Repeats the call at most this many times when it may be repeated.
    ///
    /// With none, a request that never left is still sent to another node, once.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|options| options.retries = Some(retries))
    }

    /// Sends a second request to another node when the first has no answer after this time, and
    /// takes whichever answers first; only for idempotent calls without a stream of requests, and
    /// within the retry budget. A call to one address has no other node and is not hedged.
    pub fn hedge(self, after: Duration) -> Self {
        self.with(|options| options.hedge = Some(after))
    }

    /// Sends a pair of metadata; the call fails with 400 if the pair is not allowed.
    pub fn metadata(self, key: &str, value: &str) -> Self {
        self.with(|options| {
            let inserted = options.metadata.insert(key, value);
            options.error = options.error.take().or(inserted.err());
        })
    }

    /// Calls the node at an address, past discovery; the call fails with 400 if it is not one.
    ///
    /// Filters and keys then have no meaning. The connection is kept for further calls to the
    /// address, until it was idle for a while.
    pub fn to(self, address: &str) -> Self {
        let parsed = address.parse::<Address>();
        self.with(|options| match parsed {
            Ok(address) => options.to = Some(address),
            Err(error) => options.error = options.error.take().or(Some(error)),
        })
    }

    /// Calls only nodes for which the filter holds; see [`crate::selector::filter`].
    pub fn filter(self, filter: impl Fn(&Instance) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| {
            let before = options.filter.take();
            options.filter = Some(Arc::new(move |instance| {
                before.as_ref().is_none_or(|before| before(instance)) && filter(instance)
            }));
        })
    }

    /// Prefers the same node for the same key, with a selector that honours keys.
    pub fn route_by(self, key: impl AsRef<[u8]>) -> Self {
        let key = route_key(key.as_ref());
        self.with(|options| options.key = Some(key))
    }

    /// States that running the call twice is as good as once, so that it may be repeated.
    pub fn idempotent(self) -> Self {
        self.with(|options| options.idempotent = true)
    }

    /// Inherits from this context instead of the one the call was made in.
    pub fn context(mut self, context: &Context) -> Self {
        if let (Stage::Idle, Some(plan)) = (&self.stage, &mut self.plan) {
            plan.context = Some(context.clone());
        }
        self
    }
}

/// An option of calls that are answered by a stream.
impl<T, E> Call<Streaming<T>, E> {
    /// Has the deadline of the call hold for the whole stream, not only until it begins.
    ///
    /// A stream that is not over by then ends with a 408, whatever is still on its way, and is
    /// reset: its handler is given up, with the calls that it makes for it. Without this a stream
    /// lasts for as long as both ends want it.
    pub fn bounded(self) -> Self {
        self.with(|options| options.bounded = true)
    }
}

/// An error that a call can end with: one that failures of the transport become.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry transport failures",
    label = "returned by a contract's method",
    note = "add a variant `Rpc(micro::Error)` and write `impl From<micro::Error> for {Self}`"
)]
pub trait ContractError: From<Error> {}

#[diagnostic::do_not_recommend]
impl<E: From<Error>> ContractError for E {}

impl<T, E: ContractError> Future for Call<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Idle = this.stage {
            this.begin(task.waker());
        }
        if let Stage::Flight(exchange, attempt) = &mut this.stage {
            let streams = matches!(this.finish, Finish::Stream(_));
            let (at, reply) = std::task::ready!(poll_flight(exchange, streams, task));
            match reply {
                Ok(body) => {
                    attempt.finish(at, Outcome::Success);
                    return this.land(body);
                }
                Err(error) => {
                    attempt.fail(at, &error);
                    // The deadline counts from the beginning of the call.
                    let progress = Progress::after(attempt.started(), &attempt.chosen, error);
                    this.go_on(progress);
                }
            }
        }
        let Stage::Driven(driven) = &mut this.stage else {
            return Poll::Ready(Err(over().into()));
        };
        let driven = std::task::ready!(driven.as_mut().poll(task));
        this.stage = Stage::Over;
        Poll::Ready(match driven {
            Ok((reply, format)) => finish(&mut this.finish, reply, &format).map_err(E::from),
            Err(error) => Err(error.into()),
        })
    }
}

impl<T, E: ContractError> Call<T, E> {
    /// Starts the first try at once where that needs no waiting.
    fn begin(&mut self, waker: &Waker) {
        let now = clock::now();
        if let Some(plan) = &self.plan {
            plan.budget().deposit(now);
            if let Some((exchange, attempt)) = launch(plan, now, waker) {
                self.stage = Stage::Flight(exchange, attempt);
                return;
            }
        }
        self.go_on(Progress::new(now));
    }

    /// Goes on along the slow path.
    fn go_on(&mut self, progress: Progress) {
        self.stage = match self.plan.take() {
            Some(plan) => Stage::Driven(Box::pin(drive::drive(plan, progress))),
            None => Stage::Over,
        };
    }

    /// Ends a flight with its answer; no body means that a stream has begun.
    fn land(&mut self, body: Option<Bytes>) -> Poll<Result<T, E>> {
        if let (Finish::Message(decode), Some(body), Some(plan)) = (&self.finish, &body, &self.plan)
        {
            self.stage = Stage::Over;
            return Poll::Ready(decode(plan.format(), &body.into()).map_err(E::from));
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let reply = match (body, stage) {
            (Some(body), _) => Reply::Message(body),
            (None, Stage::Flight(exchange, _)) => Reply::Stream(exchange.into_stream()),
            (None, _) => return Poll::Ready(Err(over().into())),
        };
        let Some(plan) = &self.plan else { return Poll::Ready(Err(over().into())) };
        Poll::Ready(finish(&mut self.finish, reply, plan.format()).map_err(E::from))
    }
}

fn poll_flight(
    exchange: &mut Exchange,
    streams: bool,
    task: &mut Task<'_>,
) -> Poll<(Instant, Result<Option<Bytes>>)> {
    if streams {
        let opened = std::task::ready!(exchange.poll_opened(task));
        return Poll::Ready((clock::now(), opened.map(|()| None)));
    }
    let answer = std::task::ready!(exchange.poll_reply(task));
    Poll::Ready((answer.at, answer.result.map(Some)))
}

fn over() -> Error {
    Error::internal("micro.client", "the call was polled after its end")
}

fn finish<T>(finish: &mut Finish<T>, reply: Reply, format: &Format) -> Result<T> {
    match (finish, reply) {
        (Finish::Message(decode), Reply::Message(body)) => decode(format, &(&body).into()),
        (Finish::Message(_), Reply::Stream(_)) => {
            Err(Error::internal("micro.client", "the node answered one message by a stream"))
        }
        (Finish::Stream(finish), reply) => {
            let spent: StreamFn<T> = Box::new(|_, _| Err(over()));
            std::mem::replace(finish, spent)(reply, format.clone())
        }
    }
}

/// Starts a try on an open connection; `None` leaves it to the slow path.
fn launch(plan: &Plan, now: Instant, waker: &Waker) -> Option<(Exchange, Attempt)> {
    let deadline = plan.deadline(now);
    if !plan.is_plain() || deadline <= now {
        return None;
    }
    let body = plan.body.as_ref().ok()?;
    let chosen = plan.choose(now, &[])?;
    let connection = chosen.peer()?.ready()?;
    // A connection that has closed meanwhile is replaced on the slow path.
    let head = Head { waker: Some(waker), ..plan.head(now, deadline) };
    let exchange = connection.start(&head, body, None).ok()?;
    let attempt = Attempt::start(chosen, now).traced(plan, &head);
    Some((exchange, attempt))
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
