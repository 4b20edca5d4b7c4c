//! From a call as it arrived to the handler's future.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Codecs, Format};
use crate::core::account::Account;
use crate::core::attempt;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::content_type::ContentType;
use crate::core::context::{Context, Parts};
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Dispatch, Extra, Inbound, Outgoing, Release, Running, Slot, Target};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::metadata::Metadata;
use crate::core::proven::Proven;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::trace::Trace;
use crate::debug::Monitor;
use crate::server::gate::{Gate, Refused};
use crate::server::layer::{Next, Request};
use crate::server::policy::{Access, Caller, Origin, Rule};
use crate::server::recheck::{Recheck, rechecked};
use crate::server::roster::Seat;
use crate::server::serve::Incoming;
use crate::server::stream::held;
use crate::server::table::{Entry, Table};

/// Every mounted endpoint behind one door: policy, limits, deadlines, layers.
///
/// As a [`Dispatch`] it reads where a call comes from out of its remote address.
#[derive(Debug)]
pub struct Router {
    pub(super) table: Table,
    pub(super) codecs: Codecs,
    pub(super) limits: Arc<Limits>,
    pub(super) rule: Rule,
    pub(super) layers: Option<Next>,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: Shutdown,
    pub(super) tasks: TaskTracker,
    pub(super) lapsed: Option<Lapsed>,
    pub(super) monitor: Monitor,
}

/// Tells whether the process may have been forgotten by those who call it.
#[derive(Clone)]
pub(super) struct Lapsed(pub(super) Arc<dyn Fn(Instant) -> bool + Send + Sync>);

impl fmt::Debug for Lapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lapsed")
    }
}

/// What a transport knows of a call beside the call itself.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) origin: Origin,
    /// Whom the connection proves the caller to be.
    pub(super) proven: &'a Proven,
    /// Who calls, as [`Router::admit`] found.
    pub(super) account: Option<Arc<Account>>,
    /// The format of the request where its content type does not say it.
    pub(super) request: Option<Format>,
    /// The content type of the response where it differs from that of the request.
    pub(super) response: Option<ContentType>,
}

impl Router {
    /// Finds an endpoint; callers on other hosts learn only of what they may call.
    pub(super) fn find(&self, service: &str, endpoint: &str, origin: Origin) -> Result<Target> {
        let path = format!("/{service}/{endpoint}");
        self.table.find(&path).ok_or_else(|| self.missing(&path, origin))
    }

    /// Makes the 404 of a path.
    pub(super) fn missing(&self, path: &str, origin: Origin) -> Error {
        self.table.missing(path, origin == Origin::Local || self.rule.shows_all())
    }

    /// Returns an endpoint by its place.
    pub(super) fn entry(&self, target: Target) -> Result<&Arc<Entry>> {
        let missing = || Error::not_found("micro.server", "there is no such endpoint");
        self.table.entry(target).ok_or_else(missing)
    }

    /// Begins a call that was admitted.
    pub(super) fn run(&self, mut call: Inbound, mut arrival: Arrival<'_>) -> Result<Running> {
        let entry = self.entry(call.target)?;
        if self.lapsed.as_ref().is_some_and(|lapsed| lapsed.0(call.now)) && !entry.internal {
            return Err(entry.refused(lapsed(&entry.id)));
        }
        let format = match arrival.request.take() {
            Some(format) => format,
            None => self.codecs.format(&call.content_type).map_err(|e| entry.refused(e))?,
        };
        let mut incoming =
            Incoming::new(format, std::mem::take(&mut call.body), call.messages.take());
        if let Some(response) = &arrival.response {
            let format = self.codecs.format(response).map_err(|e| entry.refused(e))?;
            incoming = incoming.answered_in(format);
        }
        let account = arrival.account.as_ref();
        let caller =
            Caller { remote: &call.remote, origin: arrival.origin, proven: arrival.proven };
        let recheck = Recheck::of(&self.rule, entry, &call, caller, account);
        let incoming = incoming.rechecked(recheck);
        let (now, deadline) = (call.now, self.deadline(entry, call.now, call.deadline));
        let is_repeated = call.extra.as_mut().is_some_and(|e| attempt::take(&mut e.metadata));
        let context = self.context(entry, call, deadline, arrival);
        match entry.enter(now, context.parts().trace.as_ref()) {
            Ok(slot) => Ok(self.start(entry, context, incoming, slot)),
            // The queue is for those who ask for the first time: an overload grows by the others.
            Err(Refused::Full) if is_repeated => Err(self.refusal(entry, Refused::Repeated)),
            Err(Refused::Full) if !entry.internal => {
                let until = self.queue_end(now, deadline);
                self.queue(entry, context, incoming, (now, until))
            }
            Err(refused) => Err(self.refusal(entry, refused)),
        }
    }

    /// Decides who calls and whether they may, before anything is decoded.
    pub(super) fn admit(
        &self,
        entry: &Entry,
        extra: Option<&Extra>,
        caller: Caller<'_>,
    ) -> Result<Option<Arc<Account>>> {
        static NONE: Metadata = Metadata::new();
        let admitted = self.rule.admit(&Access {
            endpoint: &entry.id,
            spec: Some(entry.spec),
            method: "",
            path: "",
            headers: extra.map_or(&NONE, |extra| &extra.headers),
            remote: caller.remote,
            off_host: caller.origin == Origin::OffHost,
            proven: caller.proven,
        });
        if !entry.internal && admitted.is_ok() {
            return admitted;
        }
        let admitted = admitted.and_then(|account| match entry.internal {
            true if !entry.spec.public => inside(&entry.id, account, caller.origin),
            _ => Ok(account),
        });
        admitted.map_err(|error| entry.refused(error))
    }

    /// Decides who asks for the numbers of the process and whether they may, as for a call of
    /// `Debug.Stats`.
    pub(super) fn admit_question(
        &self,
        extra: &Extra,
        caller: Caller<'_>,
    ) -> Result<Option<Arc<Account>>> {
        let account = self.rule.admit(&Access {
            endpoint: STATS,
            spec: None,
            method: "",
            path: "",
            headers: &extra.headers,
            remote: caller.remote,
            off_host: caller.origin == Origin::OffHost,
            proven: caller.proven,
        })?;
        inside(STATS, account, caller.origin)
    }

    /// Decides whether a caller may use the user's own HTTP router.
    pub(super) fn admit_route<B>(
        &self,
        request: &http::Request<B>,
        extra: &Extra,
        caller: Caller<'_>,
    ) -> Result<Option<Arc<Account>>> {
        self.admit_path((request.method().as_str(), request.uri().path()), extra, caller)
    }

    /// Decides who asks which endpoints there are, and whether to show all or only the public ones.
    ///
    /// # Errors
    /// 401 or 403 for credentials that are not good.
    pub(super) fn admit_reader(
        &self,
        path: &str,
        extra: &Extra,
        caller: Caller<'_>,
    ) -> Result<(Option<Arc<Account>>, bool)> {
        match self.admit_path(("GET", path), extra, caller) {
            Ok(account) => {
                let known = account.is_some() || caller.origin == Origin::Local;
                Ok((account, known || self.rule.shows_all()))
            }
            // Who says nothing of himself learns what anybody may.
            Err(_) if extra.headers.is_empty() => Ok((None, false)),
            Err(error) => Err(error),
        }
    }

    fn admit_path(
        &self,
        (method, path): (&str, &str),
        extra: &Extra,
        caller: Caller<'_>,
    ) -> Result<Option<Arc<Account>>> {
        self.rule.admit(&Access {
            endpoint: "",
            spec: None,
            method,
            path,
            headers: &extra.headers,
            remote: caller.remote,
            off_host: caller.origin == Origin::OffHost,
            proven: caller.proven,
        })
    }

    /// Takes a slot of the process for a route of the user's, waiting as long as a call would.
    pub(super) async fn enter_route(&self) -> Result<Slot> {
        let now = clock::now();
        let entered = match self.gate.enter() {
            Err(Refused::Full) => match self.gate.queue() {
                Ok(_place) => {
                    let wait_max = self.limits.call.queue_wait_max;
                    self.gate.wait(clock::after(now, wait_max)).await
                }
                Err(refused) => Err(refused),
            },
            entered => entered,
        };
        let limits = &self.limits.call;
        let refused =
            |why| refusal("micro.server", why, limits.in_flight_max, limits.queue_wait_max);
        entered.map_err(refused)?;
        let owner: Arc<dyn Release> = Arc::<Gate>::clone(&self.gate);
        Ok(Slot::new(owner, now, None))
    }

    /// Counts a connection for the account that a call on it proved.
    ///
    /// # Errors
    /// 429, safe to retry, when the account has as many connections as it may.
    pub(super) fn claim(&self, seat: &Seat, account: Option<&Account>) -> Result<()> {
        let max = self.limits.connection.per_principal_max;
        match account {
            Some(account) if !seat.claim(account.id(), max) => {
                let detail = format!("the account has {max} connections, as many as it may");
                Err(Error::too_many_requests("micro.server", detail).with_retry(Retry::Safe))
            }
            _ => Ok(()),
        }
    }

    fn admit_and_run(
        &self,
        call: Inbound,
        (origin, proven): (Origin, &Proven),
        seat: Option<&Seat>,
    ) -> Result<Running> {
        let entry = self.entry(call.target)?;
        let caller = Caller { remote: &call.remote, origin, proven };
        let account = self.admit(entry, call.extra.as_deref(), caller)?;
        if let Some(seat) = seat {
            self.claim(seat, account.as_deref())?;
        }
        self.run(call, Arrival { origin, proven, account, request: None, response: None })
    }

    /// Returns when the call ends: the caller's deadline within what the endpoint or the process
    /// allows, or their default.
    ///
    /// A stream of requests takes as long as its caller sends, so it has no default but the
    /// longest deadline there is.
    pub(super) fn deadline(&self, entry: &Entry, now: Instant, asked: Option<Instant>) -> Instant {
        let limits = &self.limits.call;
        let longest = entry.spec.timeout.unwrap_or(limits.timeout_max);
        match asked {
            Some(deadline) => deadline.min(clock::after(now, longest)),
            None if entry.spec.kind.streams_requests() => clock::after(now, longest),
            None => clock::after(now, entry.spec.timeout.unwrap_or(limits.default_timeout)),
        }
    }

    fn context(
        &self,
        entry: &Entry,
        call: Inbound,
        deadline: Instant,
        arrival: Arrival<'_>,
    ) -> Context {
        let now = call.now;
        let trusted = arrival.origin == Origin::Local || arrival.account.is_some();
        let mut parts = Parts {
            deadline: Some(deadline),
            account: arrival.account,
            remote: Some(call.remote),
            callee: Some(Arc::clone(&entry.callee)),
            ..Parts::default()
        };
        if let Some(extra) = call.extra {
            parts.metadata = extra.metadata;
            parts.trace = extra.trace.map(Trace::child);
            // A stranger's baggage would travel on to services that trust this one.
            if trusted {
                parts.persistent = extra.persistent;
            }
        }
        if parts.trace.is_none() && !entry.internal && entry.calls.is_loud() {
            parts.trace = self.monitor.root(now);
            if parts.trace.is_none() {
                entry.calls.hush();
            }
        }
        Context::from_parts(parts)
    }

    fn start(
        &self,
        entry: &Arc<Entry>,
        context: Context,
        incoming: Incoming,
        slot: Slot,
    ) -> Running {
        let future = handler(self.layers.as_ref(), entry, &context, incoming);
        if entry.spec.kind.streams_responses() {
            let future = Box::pin(held(context.clone(), slot, future));
            return Running::new(context, future);
        }
        Running::new(context, future).holding(slot)
    }

    fn queue_end(&self, now: Instant, deadline: Instant) -> Instant {
        let limits = &self.limits.call;
        let share = clock::remaining(now, deadline) / 100 * limits.queue_wait_percent;
        clock::after(now, limits.queue_wait_max.min(share))
    }

    /// Puts a call into the queue: its future waits for a slot, then runs the handler.
    fn queue(
        &self,
        entry: &Arc<Entry>,
        context: Context,
        incoming: Incoming,
        (now, until): (Instant, Instant),
    ) -> Result<Running> {
        let place = self.gate.queue().map_err(|refused| self.refusal(entry, refused))?;
        let (entry, layers, inner) = (Arc::clone(entry), self.layers.clone(), context.clone());
        let (wait_max, in_max) = (self.limits.call.queue_wait_max, self.limits.call.in_flight_max);
        let future = Box::pin(async move {
            let waited = entry.wait(until, (now, inner.parts().trace.as_ref())).await;
            drop(place);
            let slot = waited
                .map_err(|refused| entry.refused(refusal(&entry.id, refused, in_max, wait_max)))?;
            let future = handler(layers.as_ref(), &entry, &inner, incoming);
            held(inner, slot, future).await
        });
        Ok(Running::new(context, future))
    }

    #[cold]
    fn refusal(&self, entry: &Entry, refused: Refused) -> Error {
        let limits = &self.limits.call;
        entry.refused(refusal(&entry.id, refused, limits.in_flight_max, limits.queue_wait_max))
    }
}

/// The endpoint as whose caller a reader of numbers is treated.
const STATS: &str = "micro.Debug.Stats";

/// Keeps the inside of the process from strangers: not even a server that is open to the network
/// shows it to callers from other hosts without an account.
fn inside(id: &str, account: Option<Arc<Account>>, origin: Origin) -> Result<Option<Arc<Account>>> {
    if account.is_none() && origin == Origin::OffHost {
        let detail = "callers from other hosts have to authenticate to see this";
        return Err(Error::unauthorized(id.to_owned(), detail));
    }
    Ok(account)
}

fn handler(
    layers: Option<&Next>,
    entry: &Arc<Entry>,
    context: &Context,
    mut incoming: Incoming,
) -> BoxFuture<'static, Result<Outgoing>> {
    let recheck = incoming.take_recheck();
    let handler = match layers {
        None => entry.call(context.clone(), incoming),
        Some(layers) => layers.handle(Request::new(context.clone(), incoming, Arc::clone(entry))),
    };
    match recheck {
        None => handler,
        Some(recheck) => Box::pin(rechecked(handler, recheck)),
    }
}

/// Makes the error of a call to a process that does not know whether it is still chosen rightly.
#[cold]
fn lapsed(id: &str) -> Error {
    let detail = "the registration of the node has lapsed; it registers again first";
    Error::unavailable(id.to_owned(), detail).with_retry(Retry::Safe)
}

/// Makes the error of a call that no handler saw.
fn refusal(id: &str, refused: Refused, in_max: usize, wait_max: Duration) -> Error {
    let id = id.to_owned();
    let error = match refused {
        Refused::Full => {
            let detail = format!("the limit of {in_max} calls is reached and the queue is full");
            Error::too_many_requests(id, detail).with_retry_after(wait_max)
        }
        Refused::Repeated => {
            let detail =
                format!("the limit of {in_max} calls is reached; repeated ones do not wait");
            Error::too_many_requests(id, detail).with_retry_after(wait_max)
        }
        Refused::Waited => {
            let detail = format!("the limit of {in_max} calls left no room in time");
            Error::unavailable(id, detail).with_retry_after(wait_max)
        }
        Refused::Closed => Error::unavailable(id, "the server is about to stop"),
    };
    error.with_retry(Retry::Safe)
}

impl Dispatch for Router {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        self.find(service, endpoint, Origin::Local)
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let origin = Origin::of(&call.remote);
        self.admit_and_run(call, (origin, &Proven::Nobody), None)
    }
}

/// The router as one connection sees it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) router: Arc<Router>,
    pub(super) origin: Origin,
    pub(super) proven: Proven,
    pub(super) seat: Arc<Seat>,
}

impl Dispatch for Door {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        self.router.find(service, endpoint, self.origin)
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        self.router.admit_and_run(call, (self.origin, &self.proven), Some(&self.seat))
    }
}
