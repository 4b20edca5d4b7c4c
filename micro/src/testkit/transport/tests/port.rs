//! The suite against the transports that only dial: the lab is mounted on the one port of a
//! server, which tells their protocols apart.
//!
//! What a protocol of others has no words for is exempted by name and with its reason; a claim that
//! is exempted and holds fails the test as one does that fails.

use bytes::Bytes;

use super::*;
use crate::codec::Format;
use crate::core::account::Account;
use crate::core::body::Body;
use crate::core::context::Context;
use crate::core::descriptor::{EndpointSpec, Schema, ServiceDescriptor};
use crate::core::error::{Error, Retry};
use crate::core::exchange::{Connection, Dispatch, Extra, Inbound, Outgoing};
use crate::core::metadata::Metadata;
use crate::core::trace::Trace;
use crate::server::glue::inbound;
use crate::server::{Access, Endpoint, Incoming, Policy, Serve, Server, Subscription};
use crate::testkit::transport::lab::{ENDPOINTS, PAUSE, SERVICE};
use crate::transport::Scope;

/// Claims that a protocol cannot keep, each with what it has no words for.
type Exempt = &'static [(&'static str, &'static str)];

/// What HTTP/1.1 has no words for.
#[cfg(any(feature = "http", feature = "mucp"))]
const BLANKS: (&str, &str) = (
    "metadata_in_any_script_arrives_unchanged",
    "HTTP drops the blanks around the value of a header",
);

async fn passes_but_for(exempt: Exempt, make: impl AsyncFn() -> Result<Subject>) {
    let failures = match conformance(make).await {
        Ok(()) => Failures(Vec::new()),
        Err(failures) => failures,
    };
    let is_exempt = |name: &str| exempt.iter().any(|(claim, _)| *claim == name);
    let unexpected: Vec<_> = failures.0.iter().filter(|(name, _)| !is_exempt(name)).collect();
    let held = |name: &str| failures.names().all(|failed| failed != name);
    let held: Vec<_> = exempt.iter().filter(|(name, _)| held(name)).collect();
    assert!(
        unexpected.is_empty() && held.is_empty(),
        "fails: {unexpected:#?}\nis exempted and holds: {held:#?}"
    );
}

/// Serves on the one port of a server.
#[derive(Debug)]
struct OnePort;

impl Transport for OnePort {
    fn name(&self) -> &'static str {
        "port"
    }

    fn dial<'a>(
        &'a self,
        _: &'a Address,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        let refused = Error::unimplemented("micro.testkit", "a port is dialed by a protocol");
        Box::pin(std::future::ready(Err(refused)))
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let server = Server::builder()
                .mount(Mounted(dispatch))
                .policy(Arc::new(Door))
                .limits(Arc::clone(&scope.limits))
                .tasks(scope.tasks.clone())
                .shutdown(scope.shutdown.clone())
                .build()?;
            server.listen(address).await
        })
    }
}

/// Refuses what the lab refuses, before a handler runs, and makes of credentials an account, since
/// handlers see nothing else of them.
#[derive(Debug)]
struct Door;

impl Policy for Door {
    fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
        if access.spec.is_some_and(|spec| spec.name == "Lab.Refuse") {
            let busy = Error::too_many_requests(SERVICE, "busy").with_retry_after(PAUSE);
            return Err(busy.with_retry(Retry::Safe));
        }
        let account = |credential: &str| Arc::new(Account::service(credential, []));
        Ok(access.headers.get("authorization").map(account))
    }
}

/// The lab as a service, which decodes nothing.
#[derive(Debug)]
struct Mounted(Arc<dyn Dispatch>);

const COUNT: usize = ENDPOINTS.len();

const SPECS: [EndpointSpec; COUNT] = {
    let plain = EndpointSpec {
        name: "",
        kind: CallKind::Unary,
        request: Schema::default,
        response: Schema::default,
        doc: "",
        description: "",
        example: None,
        scopes: None,
        public: false,
        timeout: None,
        idempotent: false,
        detached: false,
        deprecated: false,
        metadata: &[],
    };
    let mut specs = [plain; COUNT];
    let mut at = 0;
    while at < COUNT {
        let (name, kind) = ENDPOINTS[at];
        specs[at] = EndpointSpec { name, kind, ..plain };
        at += 1;
    }
    specs
};

const PASS: Endpoint<Mounted> = Endpoint { call: pass };

impl Serve for Mounted {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: SERVICE,
        version: "1.0.0",
        type_name: "Lab",
        doc: "",
        endpoints: &SPECS,
        subscriptions: &[],
        metadata: &[],
    };
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
    const ENDPOINTS: &'static [Endpoint<Self>] = &[PASS; COUNT];
}

/// Hands a call that the port brought on to the lab.
fn pass(
    mounted: Arc<Mounted>,
    context: Context,
    incoming: Incoming,
) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let spec = context.spec().ok_or_else(|| Error::internal(SERVICE, "a call of nothing"))?;
        let target = mounted.0.resolve(SERVICE, spec.name)?;
        let (content_type, body) = (incoming.format().content_type(), incoming.body().clone());
        let remote = context.remote().unwrap_or_default().into();
        let mut call = Inbound::new(target, clock::now(), content_type, body, remote);
        call.deadline = context.deadline();
        call.extra = Some(Box::new(extra(&context)?));
        if spec.kind.streams_requests() {
            call.messages = Some(inbound::<Bytes>(incoming, whole));
        }
        // A handler ran, whatever the lab says of it.
        mounted.0.dispatch(call)?.await.map_err(Error::after_running)
    })
}

/// Takes a message as it is.
fn whole(_: &Format, body: &Body<'_>) -> Result<Bytes> {
    Ok(body.share())
}

/// What the lab is to see of a call: the trace as it came, of which the context has a child.
fn extra(context: &Context) -> Result<Extra> {
    let mut headers = Metadata::new();
    if let Ok(account) = context.account() {
        headers.insert("authorization", account.id())?;
    }
    let came =
        |trace: Trace| Trace::from_parts(trace.trace_id(), trace.parent_id()?, trace.flags());
    Ok(Extra {
        metadata: context.metadata().clone(),
        persistent: context.persistent().clone(),
        headers,
        trace: context.trace().and_then(came),
    })
}

/// A subject that dials the one port by a transport. Messages are JSON, which each of them knows.
fn at_the_port(transport: Arc<dyn Transport>) -> Result<Subject> {
    let subject = over_tcp(transport)?.served_by(Arc::new(OnePort));
    Ok(subject.with_content_type(ContentType::Json))
}

/// The port itself changes nothing of what the native protocol keeps.
#[tokio::test]
async fn native_at_the_port_conforms() {
    passes_but_for(&[], async || at_the_port(Arc::new(Native))).await;
}

#[cfg(feature = "ws")]
#[tokio::test]
async fn websocket_conforms() {
    use crate::transport::WebSocket;
    passes_but_for(&[], async || at_the_port(Arc::new(WebSocket::new()))).await;
}

#[cfg(feature = "http")]
#[tokio::test]
async fn http_1_conforms() {
    use crate::transport::Http;
    let kinds = [CallKind::Unary, CallKind::ServerStream, CallKind::ClientStream];
    let make = async || Ok(at_the_port(Arc::new(Http::new()))?.with_kinds(kinds));
    passes_but_for(&[BLANKS], make).await;
}

#[cfg(feature = "http")]
#[tokio::test]
async fn http_2_conforms() {
    use crate::transport::Http;
    passes_but_for(&[], async || at_the_port(Arc::new(Http::h2c()))).await;
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn grpc_conforms() {
    use crate::transport::Grpc;

    const NAMES: (&str, &str) =
        ("an_unknown_endpoint_is_not_found", "gRPC calls a method that nobody has unimplemented");
    passes_but_for(&[NAMES], async || at_the_port(Arc::new(Grpc::default()))).await;
}

#[cfg(feature = "mucp")]
#[tokio::test]
async fn mucp_conforms() {
    use crate::transport::Mucp;

    const PAUSES: (&str, &str) =
        ("a_refusal_is_safe_to_repeat", "an error of go-micro names no pause before a repetition");
    const NAMES: (&str, &str) = (
        "an_unknown_endpoint_is_not_found",
        "an endpoint that only one service has is found under the name of any, as in go-micro",
    );
    // After JSON comes a line break, as go-micro writes one.
    let make = async || {
        let subject = at_the_port(Arc::new(Mucp::new()))?;
        Ok(subject.with_content_type(ContentType::MsgPack))
    };
    passes_but_for(&[BLANKS, PAUSES, NAMES], make).await;
}
