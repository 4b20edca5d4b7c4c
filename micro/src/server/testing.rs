//! A service to test with, written as the macros would write it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::auth::{
    Auth, Capabilities, Credentials, Grant, Identity, NewAccount, Proof, refused, unsupported,
};
use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use crate::core::account::Account;
use crate::core::clock;
use crate::core::context::Context;
use crate::core::descriptor::{CallKind, EndpointSpec, Schema, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;
use crate::server::Subscription;
use crate::server::serve::{Endpoint, Incoming, Serve, decode, inbound, respond, respond_stream};

/// What the handlers of a [`Sample`] did.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) started: AtomicUsize,
    pub(super) finished: AtomicUsize,
    pub(super) dropped: AtomicUsize,
    pub(super) release: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) seen: Arc<Seen>,
}

/// Counts the end of a handler, however it comes.
struct Running(Arc<Seen>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) const fn spec(name: &'static str) -> EndpointSpec {
    EndpointSpec {
        name,
        kind: CallKind::Unary,
        request: schema,
        response: schema,
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
    }
}

fn schema() -> Schema {
    Schema::default()
}

const fn kind(name: &'static str, kind: CallKind) -> EndpointSpec {
    EndpointSpec { kind, ..spec(name) }
}

pub(super) const ENDPOINTS: [EndpointSpec; 14] = [
    spec("Sample.Echo"),
    spec("Sample.Fail"),
    spec("Sample.Panic"),
    spec("Sample.Hang"),
    EndpointSpec { detached: true, ..spec("Sample.Detached") },
    EndpointSpec { public: true, ..spec("Sample.Public") },
    EndpointSpec { scopes: Some(&["admin"]), ..spec("Sample.Scoped") },
    kind("Sample.Count", CallKind::ServerStream),
    kind("Sample.Sum", CallKind::ClientStream),
    kind("Sample.Double", CallKind::Bidi),
    spec("Sample.About"),
    EndpointSpec { timeout: Some(Duration::from_secs(2)), ..spec("Sample.Brief") },
    EndpointSpec { idempotent: true, ..spec("Sample.Find") },
    EndpointSpec { idempotent: true, ..kind("Sample.List", CallKind::ServerStream) },
];

/// What is looked for.
#[derive(Debug, serde::Deserialize)]
struct Find {
    text: String,
    #[serde(default)]
    times: Option<u32>,
}

impl Serve for Sample {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: "sample",
        version: "1.0.0",
        type_name: "Sample",
        doc: "",
        endpoints: &ENDPOINTS,
        subscriptions: &[],
        metadata: &[],
    };
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        Endpoint { call: echo },
        Endpoint { call: |_, _, incoming| Box::pin(async move { fail(&incoming) }) },
        Endpoint { call: |_, _, _| Box::pin(async { panic!("on purpose") }) },
        Endpoint { call: hang },
        Endpoint { call: hang },
        Endpoint { call: echo },
        Endpoint { call: echo },
        Endpoint { call: |sample, _, incoming| Box::pin(async move { count(&sample, &incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(sum(incoming)) },
        Endpoint { call: |_, _, incoming| Box::pin(async move { double(incoming) }) },
        Endpoint { call: |_, ctx, incoming| Box::pin(async move { about(&ctx, &incoming) }) },
        Endpoint { call: hang },
        Endpoint { call: |_, _, incoming| Box::pin(async move { find(&incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(async move { list(&incoming) }) },
    ];
}

/// Answers the text, as often as was asked.
fn find(incoming: &Incoming) -> Result<Outgoing> {
    let find: Find = decode(incoming, (&&Wire::<Find>::new()).dec())?;
    let times = usize::try_from(find.times.unwrap_or(1)).unwrap_or_default();
    let text = find.text.repeat(times);
    respond::<_, Error>(incoming.format(), Ok(text), (&&Wire::<String>::new()).enc())
}

/// Streams the text, as often as was asked.
fn list(incoming: &Incoming) -> Result<Outgoing> {
    let find: Find = decode(incoming, (&&Wire::<Find>::new()).dec())?;
    let texts = (0..find.times.unwrap_or(1)).map(move |_| find.text.clone());
    let texts = Streaming::from_iter(texts);
    respond_stream::<_, Error>(incoming.format(), Ok(texts), (&&Wire::<String>::new()).enc())
}

fn echo(_: Arc<Sample>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let format = incoming.format().clone();
        let text: String = decode(&incoming, (&&Wire::<String>::new()).dec())?;
        respond::<_, Error>(&format, Ok(text), (&&Wire::<String>::new()).enc())
    })
}

fn fail(incoming: &Incoming) -> Result<Outgoing> {
    let result: Result<String> = Err(Error::conflict("", "on purpose"));
    respond(incoming.format(), result, (&&Wire::<String>::new()).enc())
}

/// Waits until the test lets it finish.
fn hang(
    sample: Arc<Sample>,
    _: Context,
    incoming: Incoming,
) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        let seen = Arc::clone(&sample.seen);
        let _running = Running(Arc::clone(&seen));
        seen.started.fetch_add(1, Ordering::SeqCst);
        seen.release.notified().await;
        seen.finished.fetch_add(1, Ordering::SeqCst);
        respond::<_, Error>(
            incoming.format(),
            Ok("done".to_owned()),
            (&&Wire::<String>::new()).enc(),
        )
    })
}

/// Streams the numbers below the request; 8 fails after the first, 20 panics on the way.
fn count(sample: &Sample, incoming: &Incoming) -> Result<Outgoing> {
    sample.seen.started.fetch_add(1, Ordering::SeqCst);
    let below: u32 = decode(incoming, (&&Wire::<u32>::new()).dec())?;
    let numbers = Streaming::from_iter(0..below).map(move |n| {
        assert!(below != 20 || n < 13, "on purpose");
        n
    });
    let (tx, rx) = Streaming::channel(1);
    let stream = if below == 8 {
        Context::current().spawn(async move {
            let _sent = tx.send(0_u32).await;
            let _sent = tx.fail(Error::aborted("", "on purpose")).await;
        });
        rx
    } else {
        numbers
    };
    respond_stream::<_, Error>(incoming.format(), Ok(stream), (&&Wire::<u32>::new()).enc())
}

async fn sum(incoming: Incoming) -> Result<Outgoing> {
    let format = incoming.format().clone();
    let mut numbers = inbound::<u32>(incoming, (&&Wire::<u32>::new()).dec());
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    respond::<_, Error>(&format, Ok(sum), (&&Wire::<u32>::new()).enc())
}

fn double(incoming: Incoming) -> Result<Outgoing> {
    let format = incoming.format().clone();
    let numbers = inbound::<u32>(incoming, (&&Wire::<u32>::new()).dec()).map(|n| n * 2);
    respond_stream::<_, Error>(&format, Ok(numbers), (&&Wire::<u32>::new()).enc())
}

/// Answers what the context says.
fn about(context: &Context, incoming: &Incoming) -> Result<Outgoing> {
    let metadata = |map: &crate::core::metadata::Metadata| {
        map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(";")
    };
    let left = context.deadline().map(|d| clock::remaining(clock::now(), d).as_millis());
    let text = format!(
        "service={} endpoint={} left={} metadata=[{}] persistent=[{}] trace={} current={}",
        context.service().unwrap_or_default(),
        context.spec().map_or("", |spec| spec.name),
        left.unwrap_or_default(),
        metadata(context.metadata()),
        metadata(context.persistent()),
        context.trace().map_or_else(String::new, |t| format!("{:032x}", t.trace_id())),
        Context::try_current().is_some(),
    );
    respond::<_, Error>(incoming.format(), Ok(text), (&&Wire::<String>::new()).enc())
}

/// Knows the tokens `staff` and `plain`, until it is told that they are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Two {
    pub(super) over: Arc<AtomicBool>,
}

impl Auth for Two {
    fn name(&self) -> &'static str {
        "two"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn inspect(&self, token: &str) -> Result<Identity> {
        let scopes = match token {
            "staff" => vec!["staff".to_owned()],
            "plain" => Vec::new(),
            _ => return Err(refused()),
        };
        if self.over.load(Ordering::SeqCst) {
            return Err(refused());
        }
        let account = Arc::new(Account::service(token, scopes));
        Ok(Identity::new(account, Duration::MAX))
    }

    fn generate<'a>(&'a self, _: &'a NewAccount) -> BoxFuture<'a, Result<Credentials>> {
        Box::pin(std::future::ready(Err(unsupported("two", "make accounts"))))
    }

    fn token<'a>(&'a self, _: &'a Proof) -> BoxFuture<'a, Result<Grant>> {
        Box::pin(std::future::ready(Err(unsupported("two", "hand out tokens"))))
    }

    fn revoke<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn revoke_token<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
