//! A call that has not started: everything that a try needs to know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::client::Inner;
use crate::client::attempt::Chosen;
use crate::client::endpoint::Endpoint;
use crate::client::options::Options;
use crate::codec::Format;
use crate::core::budget::Budget;
use crate::core::context::Context;
use crate::core::error::Result;
use crate::core::exchange::{Extra, Head};
use crate::core::stream::BoxSource;
use crate::registry::Instance;
use crate::selector::Pick;

/// A call before its first try.
pub(super) struct Plan {
    pub(super) endpoint: Arc<Endpoint>,
    /// The encoded request, or why there is none.
    pub(super) body: Result<Bytes>,
    /// The stream of requests; taken by the only try of such a call.
    ///
    /// The lock is never held: it lets tries share a plan between threads.
    pub(super) source: Option<Mutex<BoxSource>>,
    pub(super) options: Option<Box<Options>>,
    /// What the call inherits.
    pub(super) context: Option<Context>,
}

impl Plan {
    pub(super) fn client(&self) -> &Inner {
        &self.endpoint.client.inner
    }

    /// Returns the format of the request and the response.
    pub(super) fn format(&self) -> &Format {
        &self.endpoint.client.format
    }

    /// Returns what retries of calls to the service come out of.
    pub(super) fn budget(&self) -> &Budget {
        &self.endpoint.target.budget
    }

    pub(super) fn streams_requests(&self) -> bool {
        self.endpoint.route.kind().streams_requests()
    }

    /// Copies the call, unless it streams requests: those can be read only once.
    pub(super) fn try_clone(&self) -> Option<Self> {
        if self.streams_requests() {
            return None;
        }
        Some(Self {
            endpoint: Arc::clone(&self.endpoint),
            body: self.body.clone(),
            source: None,
            options: self.options.clone(),
            context: self.context.clone(),
        })
    }

    pub(super) fn options(&mut self) -> &mut Options {
        self.options.get_or_insert_default()
    }

    /// Returns when the caller stops waiting: at the inherited deadline, or sooner where the call
    /// or its endpoint asks for it; the default is for calls that have neither.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let asked = self.options.as_ref().and_then(|options| options.timeout);
        let asked = asked.or(self.endpoint.timeout);
        match (self.context.as_ref().and_then(Context::deadline), asked) {
            (Some(inherited), None) => inherited,
            (Some(inherited), asked) => self.client().deadline(now, asked).min(inherited),
            (None, asked) => self.client().deadline(now, asked),
        }
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.endpoint.idempotent || self.options.as_ref().is_some_and(|o| o.idempotent)
    }

    pub(super) fn retries_max(&self) -> u32 {
        let asked = self.options.as_ref().and_then(|options| options.retries);
        asked.unwrap_or(self.client().scope.limits.retry.retries_max)
    }

    pub(super) fn hedge(&self) -> Option<Duration> {
        self.options.as_ref()?.hedge.filter(|_| self.is_idempotent() && !self.streams_requests())
    }

    /// Returns whether the first try may run without a task, a box or a wait.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |o: &Options| {
            o.hedge.is_none() && o.to.is_none() && o.try_timeout.is_none() && !o.bounded
        };
        self.source.is_none()
            && self.client().layers.is_none()
            && self.body.is_ok()
            && self.options.as_deref().is_none_or(|o| plain(o) && o.error.is_none())
    }

    /// Chooses a node without waiting.
    pub(super) fn choose(&self, now: Instant, excluded: &[Arc<Instance>]) -> Option<Chosen> {
        let client = self.client();
        let options = self.options.as_deref();
        if let Some(address) = options.and_then(|o| o.to.as_ref()) {
            return Some(Chosen::Address(client.pool.named(address)));
        }
        if let Some(peer) = &client.fixed {
            return Some(Chosen::Address(Arc::clone(peer)));
        }
        let nodes = self.endpoint.target.nodes(client, now);
        let mut pick = Pick::new(now, self.endpoint.route.endpoint());
        pick.excluded = excluded;
        if let Some(options) = options {
            pick.key = options.key;
            pick.filter = options.filter.as_deref();
        }
        let index = client.selector.pick(&nodes.candidates, &pick)?;
        Some(Chosen::Node(nodes, index))
    }

    /// Makes what goes ahead of the request.
    pub(super) fn head(&self, now: Instant, deadline: Instant) -> Head<'_> {
        Head {
            route: &self.endpoint.route,
            now,
            deadline: Some(deadline),
            content_type: self.format().content_type(),
            extra: self.extra(),
            waker: None,
        }
    }

    fn extra(&self) -> Option<Box<Extra>> {
        let headers = &self.client().headers;
        if self.context.is_none() && self.options.is_none() && headers.is_empty() {
            return None;
        }
        let mut extra = Extra { headers: headers.clone(), ..Extra::default() };
        if let Some(context) = &self.context {
            extra.trace = context.trace().map(|trace| trace.child());
            extra.persistent = context.persistent().clone();
        }
        if let Some(options) = &self.options {
            extra.metadata = options.metadata.clone();
            for (name, value) in &options.headers {
                // The few headers of a client leave room for the checked ones of a call.
                let _fits = extra.headers.insert(name, value).is_ok();
            }
        }
        (extra != Extra::default()).then(|| Box::new(extra))
    }
}
