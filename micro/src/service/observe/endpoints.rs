//! The endpoints by which the answers are asked for, as the macros would write them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use crate::core::context::Context;
use crate::core::descriptor::{CallKind, EndpointSpec, Schema, ServiceDescriptor};
use crate::core::error::Result;
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;
use crate::debug::{Dump, HealthReport, Profile, ProfileRequest, Record, SpanQuery, Stats};
use crate::server::glue::{decode, respond, respond_stream};
use crate::server::{Endpoint, Incoming, Serve, Subscription};
use crate::service::observe::answers::Observe;
use crate::service::observe::messages::{LogRequest, Spans};
use crate::service::schema::schema;

const fn spec(
    name: &'static str,
    request: fn() -> Schema,
    response: fn() -> Schema,
    doc: &'static str,
) -> EndpointSpec {
    EndpointSpec {
        name,
        kind: CallKind::Unary,
        request,
        response,
        doc,
        description: doc,
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

const HEALTH: EndpointSpec =
    spec("Debug.Health", schema::<()>, schema::<HealthReport>, "Tells how the process is.");
const STATS: EndpointSpec =
    spec("Debug.Stats", schema::<()>, schema::<Stats>, "Tells the numbers of the process.");
const LOG: EndpointSpec = EndpointSpec {
    kind: CallKind::ServerStream,
    ..spec("Debug.Log", schema::<LogRequest>, schema::<Record>, "Streams the log.")
};
const TRACE: EndpointSpec =
    spec("Debug.Trace", schema::<SpanQuery>, schema::<Spans>, "Tells the parts of traces.");
const DUMP: EndpointSpec =
    spec("Debug.Dump", schema::<()>, schema::<Dump>, "Tells what the process is doing.");
const PROFILE: EndpointSpec = EndpointSpec {
    timeout: Some(PROFILE_TIMEOUT),
    ..spec(
        "Debug.Profile",
        schema::<ProfileRequest>,
        schema::<Profile>,
        "Tells what the process spends time on.",
    )
};

/// The longest profile there is, and the time to look up its symbols.
const PROFILE_TIMEOUT: Duration = Duration::from_secs(60);

impl Serve for Observe {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: "debug",
        version: env!("CARGO_PKG_VERSION"),
        type_name: "Debug",
        doc: "Answers questions about the process.",
        endpoints: &[HEALTH, STATS, LOG, TRACE, DUMP, PROFILE],
        subscriptions: &[],
        metadata: &[],
    };
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        Endpoint { call: health },
        Endpoint { call: |s, _, i| Box::pin(async move { one(&i, s.stats()) }) },
        Endpoint { call: log },
        Endpoint { call: trace },
        Endpoint { call: dump },
        Endpoint { call: profile },
    ];
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
}

fn log(s: Arc<Observe>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let query = request(&incoming)?;
        let records: Result<Streaming<Record>> = s.log(query).await;
        respond_stream(incoming.format(), records, (&&Wire::<Record>::new()).enc())
    })
}

fn trace(s: Arc<Observe>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let query = request(&incoming)?;
        let spans = s.trace(query).await;
        one(&incoming, spans)
    })
}

fn health(s: Arc<Observe>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let report = s.health().await;
        one(&incoming, Ok(report))
    })
}

fn dump(s: Arc<Observe>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let dump = s.dump().await;
        one(&incoming, dump)
    })
}

fn profile(
    s: Arc<Observe>,
    _: Context,
    incoming: Incoming,
) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let asked = request(&incoming)?;
        let profile = s.profile(asked).await;
        one(&incoming, profile)
    })
}

/// Decodes a request; none at all asks for everything.
fn request<T: DeserializeOwned + Default + 'static>(incoming: &Incoming) -> Result<T> {
    if incoming.body().is_empty() {
        return Ok(T::default());
    }
    decode(incoming, (&&Wire::<T>::new()).dec())
}

fn one<T: Serialize + 'static>(incoming: &Incoming, answer: Result<T>) -> Result<Outgoing> {
    respond(incoming.format(), answer, (&&Wire::<T>::new()).enc())
}
