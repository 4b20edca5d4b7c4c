//! A call as its maker holds it: a future with options.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::attempt::{Chosen, Counted, outcome_of};
use crate::client::drive::{self, Progress, RawReply};
use crate::client::options::Options;
use crate::client::plan::Plan;
use crate::codec::{DecFn, Format, decoded};
use crate::core::clock;
use crate::core::context::Context;
use crate::core::error::{Error, Result};
use crate::core::exchange::Exchange;
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::core::stream::Streaming;
use crate::registry::Instance;
use crate::selector::{Outcome, route_key};

/// A call to an endpoint. It starts when it is first polled; dropping it cancels it.
///
/// The call inherits deadline, trace and persistent metadata from the handler it is made in. It
/// has exactly one outcome, by its deadline. It is retried by itself only if the request provably
/// did not run, or the endpoint is idempotent.
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<T, E = Error> {
    state: State,
    finish: Finish<T>,
    error: PhantomData<fn() -> E>,
}

enum State {
    /// Not started.
    Idle(Plan),
    Flight(Flight),
    Driven(BoxFuture<'static, Result<(RawReply, Format)>>),
    Over,
}

/// The first try of a plain call.
struct Flight {
    plan: Plan,
    began: Instant,
    exchange: Exchange,
    chosen: Chosen,
    counted: Counted,
    streams: bool,
}

/// How the reply becomes a value.
enum Finish<T> {
    Message(DecFn<T>),
    Stream(StreamFn<T>),
}

type StreamFn<T> = Box<dyn FnOnce(RawReply, Format) -> Result<T> + Send>;

impl<T> Call<T> {
    pub(super) fn message<E>(plan: Plan, decode: DecFn<T>) -> Call<T, E> {
        Call { state: State::Idle(plan), finish: Finish::Message(decode), error: PhantomData }
    }
}

impl<T: Send + 'static> Call<Streaming<T>> {
    pub(super) fn stream<E>(plan: Plan, decode: DecFn<T>) -> Call<Streaming<T>, E> {
        let finish = move |reply, format| match reply {
            RawReply::Stream(messages) => Ok(decoded(messages, format, decode)),
            RawReply::Message(_) => {
                Err(Error::internal("micro.client", "the node answered a stream by one message"))
            }
        };
        let finish = Finish::Stream(Box::new(finish));
        Call { state: State::Idle(plan), finish, error: PhantomData }
    }
}

/// Options; they have no effect once the call has started.
impl<T, E> Call<T, E> {
    fn with(mut self, set: impl FnOnce(&mut Options)) -> Self {
        if let State::Idle(plan) = &mut self.state {
            set(plan.options());
        }
        self
    }

    /// Gives up after this time, or at the inherited deadline if that is sooner.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = Some(timeout))
    }

    /// Gives up each single try after this time; the next one goes to another node.
    pub fn try_timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.try_timeout = Some(timeout))
    }

    /// Repeats the call at most this many times when it may be repeated.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|options| options.retries = Some(retries))
    }

    /// Sends a second request to another node when the first has no answer after this time, and
    /// takes whichever answers first; only for idempotent calls, and within the retry budget.
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
    pub fn to(self, address: &str) -> Self {
        let parsed = address.parse::<Address>();
        self.with(|options| match parsed {
            Ok(address) => options.to = Some(address),
            Err(error) => options.error = options.error.take().or(Some(error)),
        })
    }

    /// Calls only nodes for which the filter holds; see [`crate::selector::filter`].
    pub fn filter(
        self,
        filter: impl Fn(&Instance) -> bool + Send + Sync + 'static,
    ) -> Self {
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
        if let State::Idle(plan) = &mut self.state {
            plan.context = Some(context.clone());
        }
        self
    }
}

impl<T, E: From<Error>> Future for Call<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Progress: idle becomes flight or driven, flight becomes driven or over.
        loop {
            match &mut this.state {
                State::Idle(_) => {
                    let State::Idle(plan) = std::mem::replace(&mut this.state, State::Over) else {
                        return Poll::Pending;
                    };
                    this.state = begin(plan);
                }
                State::Flight(flight) => {
                    let (at, reply) = std::task::ready!(flight.poll(task));
                    let State::Flight(flight) = std::mem::replace(&mut this.state, State::Over)
                    else {
                        return Poll::Pending;
                    };
                    match flight.settle(at, reply) {
                        Ok((plan, reply)) => return this.ready(Ok(reply), &plan.client().format),
                        Err(driven) => this.state = State::Driven(driven),
                    }
                }
                State::Driven(driven) => {
                    let reply = std::task::ready!(driven.as_mut().poll(task));
                    this.state = State::Over;
                    let (reply, format) = match reply {
                        Ok((reply, format)) => (Ok(reply), format),
                        Err(error) => (Err(error), Format::default()),
                    };
                    return this.ready(reply, &format);
                }
                State::Over => {
                    let polled = Error::internal("micro.client", "the call was polled after its end");
                    return Poll::Ready(Err(polled.into()));
                }
            }
        }
    }
}

impl<T, E: From<Error>> Call<T, E> {
    fn ready(&mut self, reply: Result<RawReply>, format: &Format) -> Poll<Result<T, E>> {
        let finished = reply.and_then(|reply| match (&mut self.finish, reply) {
            (Finish::Message(decode), RawReply::Message(body)) => decode(format, &body),
            (Finish::Message(_), RawReply::Stream(_)) => {
                Err(Error::internal("micro.client", "the node answered one message by a stream"))
            }
            (Finish::Stream(finish), reply) => {
                let over: StreamFn<T> = Box::new(|_, _| Err(Error::internal("micro.client", "over")));
                std::mem::replace(finish, over)(reply, format.clone())
            }
        });
        Poll::Ready(finished.map_err(E::from))
    }
}

/// Starts the first try at once where that needs no waiting.
fn begin(plan: Plan) -> State {
    let now = clock::now();
    plan.client().budget.deposit(now);
    if plan.is_plain() {
        match launch(plan, now) {
            Ok(flight) => return State::Flight(flight),
            Err(plan) => return State::Driven(Box::pin(drive::drive(*plan, Progress::new(now)))),
        }
    }
    State::Driven(Box::pin(drive::drive(plan, Progress::new(now))))
}

fn launch(plan: Plan, now: Instant) -> Result<Flight, Box<Plan>> {
    let deadline = plan.deadline(now);
    let started = (deadline > now).then(|| plan.choose(now, &[])).flatten().and_then(|chosen| {
        let connection = chosen.peer.ready()?;
        let body = plan.body.as_ref().ok()?;
        let head = plan.head(now, deadline);
        // A connection that has closed meanwhile is replaced on the slow path.
        let exchange = connection.start(&head, body, None).ok()?;
        let counted = Counted::start(&chosen, now);
        Some((exchange, chosen, counted))
    });
    let streams = plan.endpoint.route.kind().streams_responses();
    match started {
        Some((exchange, chosen, counted)) => {
            Ok(Flight { plan, began: now, exchange, chosen, counted, streams })
        }
        None => Err(Box::new(plan)),
    }
}

impl Flight {
    fn poll(&mut self, task: &mut Task<'_>) -> Poll<(Instant, Result<Option<RawReply>>)> {
        if self.streams {
            let opened = std::task::ready!(self.exchange.poll_opened(task));
            return Poll::Ready((clock::now(), opened.map(|()| None)));
        }
        let answer = std::task::ready!(self.exchange.poll_reply(task));
        Poll::Ready((answer.at, answer.result.map(|body| Some(RawReply::Message(body)))))
    }

    /// Counts the outcome; a failure goes on to the slow path, which decides what to do.
    #[expect(clippy::type_complexity, reason = "either the reply or the future that gets it")]
    fn settle(
        self,
        at: Instant,
        reply: Result<Option<RawReply>>,
    ) -> Result<(Plan, RawReply), BoxFuture<'static, Result<(RawReply, Format)>>> {
        match reply {
            Ok(reply) => {
                self.counted.finish(at, Outcome::Success);
                let reply = reply.unwrap_or_else(|| RawReply::Stream(self.exchange.into_stream()));
                Ok((self.plan, reply))
            }
            Err(error) => {
                self.counted.finish(at, outcome_of(&error));
                let progress = Progress::after(self.began, &self.chosen, error);
                Err(Box::pin(drive::drive(self.plan, progress)))
            }
        }
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
