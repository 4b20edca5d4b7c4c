//! `grpc.health.v1.Health`: whether the process takes work, for balancers and orchestrators.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::glue::{DecodeProst, EncodeProst, Wire};
use crate::codec::{DecFn, EncFn};
use crate::core::clock;
use crate::core::context::Context;
use crate::core::descriptor::{CallKind, EndpointSpec, Schema, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::shutdown::Shutdown;
use crate::core::stream::Streaming;
use crate::debug::Monitor;
use crate::server::http::Ready;
use crate::server::policy::Origin;
use crate::server::serve::{Endpoint, Incoming, Serve, decode, respond, respond_stream};
use crate::server::subscription::Subscription;

/// The package of the service, under which it is mounted.
pub(in crate::server) const HEALTH: &str = "grpc.health.v1";

/// How often a watched process is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Answers how the process is, as `/readyz` does, and which of its services there are.
///
/// Callers on other hosts who have no account learn of the process as a whole and of services that
/// have a public endpoint; the others are unknown to them.
#[derive(Clone)]
pub(in crate::server) struct Health {
    pub(in crate::server) monitor: Monitor,
    pub(in crate::server) ready: Ready,
    pub(in crate::server) shutdown: Shutdown,
    pub(in crate::server) known: Arc<Known>,
}

/// The services that somebody may ask about, by the names that clients have for them.
#[derive(Debug, Default)]
pub(in crate::server) struct Known {
    all: HashSet<String>,
    public: HashSet<String>,
    /// Whether strangers learn of all.
    is_open: bool,
}

impl Known {
    /// Makes the names of mounted services: `service`, `service.Type` and `Type`.
    pub(in crate::server) fn of(services: &[&ServiceDescriptor], is_open: bool) -> Self {
        let mut known = Self { is_open, ..Self::default() };
        for service in services {
            for endpoint in service.endpoints {
                let name = endpoint.name.rsplit_once('.').map_or(endpoint.name, |(name, _)| name);
                let full = format!("{}.{name}", service.name);
                for name in [service.name.to_owned(), full, name.to_owned()] {
                    if endpoint.public {
                        known.public.insert(name.clone());
                    }
                    known.all.insert(name);
                }
            }
        }
        known
    }

    fn has(&self, service: &str, context: &Context) -> bool {
        let is_local = context.remote().is_some_and(|remote| Origin::of(remote) == Origin::Local);
        let all = is_local || self.is_open || context.parts().account.is_some();
        let names = if all { &self.all } else { &self.public };
        // What stands before the last dot may be the package of the caller's stub.
        let name = service.rsplit_once('.').map_or(service, |(_, name)| name);
        service.is_empty() || names.contains(service) || names.contains(name)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(enumeration = "Serving", tag = "1")]
    status: i32,
}

/// `SERVING`, `NOT_SERVING`, `SERVICE_UNKNOWN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Serving {
    Unknown = 0,
    Yes = 1,
    No = 2,
    Missing = 3,
}

impl Answer {
    fn new(status: Serving) -> Self {
        Self { status: status.into() }
    }
}

impl Health {
    async fn process(&self) -> Serving {
        let takes = (self.ready)() && !self.shutdown.is_draining();
        if takes && self.monitor.health().report().await.ready { Serving::Yes } else { Serving::No }
    }

    async fn check(&self, asked: &Asked, context: &Context) -> Result<Answer> {
        if !self.known.has(&asked.service, context) {
            let detail = format!("there is no service {}", asked.service.escape_debug());
            return Err(Error::not_found(HEALTH, detail));
        }
        Ok(Answer::new(self.process().await))
    }

    /// Streams how the process is whenever that changes; ends when the process stops.
    fn watch(&self, asked: &Asked, context: &Context) -> Streaming<Answer> {
        let known = self.known.has(&asked.service, context);
        Streaming::unfold(Watch { health: self.clone(), known, last: None }, Watch::next)
    }
}

struct Watch {
    health: Health,
    known: bool,
    last: Option<Serving>,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<Answer>, Self)> {
        // Progress: each turn takes its time, and the last one ends the stream.
        loop {
            let drains = self.health.shutdown.is_draining();
            let status = match self.known {
                true => self.health.process().await,
                false => Serving::Missing,
            };
            if self.last != Some(status) {
                self.last = Some(status);
                return Some((Ok(Answer::new(status)), self));
            }
            if drains {
                let detail = "the server is about to stop";
                return Some((Err(Error::unavailable(HEALTH, detail)), self));
            }
            tokio::select! {
                () = clock::sleep(WATCH_INTERVAL) => {}
                () = self.health.shutdown.draining() => {}
            }
        }
    }
}

/// Describes an endpoint that serves the protocol itself.
pub(super) const fn endpoint(name: &'static str, kind: CallKind) -> EndpointSpec {
    EndpointSpec {
        name,
        kind,
        request: Schema::default,
        response: Schema::default,
        doc: "",
        description: "",
        example: None,
        scopes: None,
        public: false,
        timeout: None,
        idempotent: true,
        detached: false,
        deprecated: false,
        metadata: &[],
    }
}

const ENDPOINTS: [EndpointSpec; 2] = [
    EndpointSpec { public: true, ..endpoint("Health.Check", CallKind::Unary) },
    EndpointSpec { public: true, ..endpoint("Health.Watch", CallKind::ServerStream) },
];

impl Serve for Health {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: HEALTH,
        version: "",
        type_name: "Health",
        doc: "",
        endpoints: &ENDPOINTS,
        subscriptions: &[],
        metadata: &[],
    };
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        Endpoint {
            call: |health, context, incoming| {
                Box::pin(async move {
                    let asked = asked(&incoming)?;
                    let answer = health.check(&asked, &context).await;
                    respond(incoming.format(), answer, answers())
                })
            },
        },
        Endpoint {
            call: |health, context, incoming| {
                Box::pin(async move {
                    let asked = asked(&incoming)?;
                    let answers_to = Ok::<_, Error>(health.watch(&asked, &context));
                    respond_stream(incoming.format(), answers_to, answers())
                })
            },
        },
    ];
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
}

fn asked(incoming: &Incoming) -> Result<Asked> {
    let from: DecFn<Asked> = (&&&Wire::<Asked>::new()).dec();
    decode(incoming, from)
}

fn answers() -> EncFn<Answer> {
    (&&&Wire::<Answer>::new()).enc()
}
