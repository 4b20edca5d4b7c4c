//! The service that was recorded, in this framework.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::glue::{DecodeBoth, DecodeSerde, EncodeBoth, EncodeSerde, Wire};
use crate::core::clock;
use crate::core::context::Context;
use crate::core::descriptor::{CallKind, EndpointSpec, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;
use crate::server::Subscription;
use crate::server::serve::{Endpoint, Incoming, Serve, decode, inbound, respond, respond_stream};
use crate::server::testing::{Seen, spec};

#[derive(Debug, Default)]
pub(super) struct Greeter {
    pub(super) seen: Arc<Seen>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Req {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rsp {
    msg: String,
}

const fn kind(name: &'static str, kind: CallKind) -> EndpointSpec {
    EndpointSpec { kind, ..spec(name) }
}

const ENDPOINTS: [EndpointSpec; 9] = [
    spec("Greeter.Hello"),
    spec("Greeter.Err"),
    spec("Greeter.Plain"),
    spec("Greeter.Slow"),
    spec("Greeter.PB"),
    kind("Greeter.Count", CallKind::ServerStream),
    kind("Greeter.Echo", CallKind::Bidi),
    kind("Greeter.Sum", CallKind::ClientStream),
    kind("Greeter.Watch", CallKind::ServerStream),
];

impl Serve for Greeter {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: "greeter",
        version: "1.0.0",
        type_name: "Greeter",
        doc: "",
        endpoints: &ENDPOINTS,
        subscriptions: &[],
        metadata: &[],
    };
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        Endpoint { call: |_, _, incoming| Box::pin(async move { hello(&incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(async move { err(&incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(async move { plain(&incoming) }) },
        Endpoint { call: slow },
        Endpoint { call: |_, _, incoming| Box::pin(async move { pb(&incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(async move { count(&incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(async move { echo(incoming) }) },
        Endpoint { call: |_, _, incoming| Box::pin(sum(incoming)) },
        Endpoint {
            call: |greeter, _, incoming| Box::pin(async move { watch(&greeter, &incoming) }),
        },
    ];
}

fn answer(incoming: &Incoming, result: Result<Rsp>) -> Result<Outgoing> {
    respond(incoming.format(), result, (&&Wire::<Rsp>::new()).enc())
}

fn hello(incoming: &Incoming) -> Result<Outgoing> {
    let req: Req = decode(incoming, (&&Wire::<Req>::new()).dec())?;
    answer(incoming, Ok(Rsp { msg: format!("Hello {}", req.name) }))
}

fn err(incoming: &Incoming) -> Result<Outgoing> {
    answer(incoming, Err(Error::bad_request("greeter.Err", "bad x")))
}

fn plain(incoming: &Incoming) -> Result<Outgoing> {
    answer(incoming, Err(Error::internal("", "plain failure")))
}

fn slow(_: Arc<Greeter>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(async move {
        clock::sleep(Duration::from_secs(2)).await;
        answer(&incoming, Ok(Rsp { msg: "late".to_owned() }))
    })
}

fn pb(incoming: &Incoming) -> Result<Outgoing> {
    let name: String = decode(incoming, (&&&&Wire::<String>::new()).dec())?;
    let enc = (&&&&Wire::<String>::new()).enc();
    respond::<_, Error>(incoming.format(), Ok(format!("Hello {name}")), enc)
}

/// Says the same twice, as the recorded handler did; fails for the name `fail`.
fn count(incoming: &Incoming) -> Result<Outgoing> {
    let req: Req = decode(incoming, (&&Wire::<Req>::new()).dec())?;
    let (sender, stream) = Streaming::channel(4);
    Context::current().spawn(async move {
        for _ in 0..2 {
            let _sent = sender.send(Rsp { msg: format!("{} 1", req.name) }).await;
        }
        if req.name == "fail" {
            let _sent = sender.fail(Error::conflict("greeter.Count", "on\npurpose")).await;
        }
    });
    respond_stream::<_, Error>(incoming.format(), Ok(stream), (&&Wire::<Rsp>::new()).enc())
}

fn echo(incoming: Incoming) -> Result<Outgoing> {
    let format = incoming.format().clone();
    let names = inbound::<Req>(incoming, (&&Wire::<Req>::new()).dec());
    let answers = names.map(|req| Rsp { msg: req.name });
    respond_stream::<_, Error>(&format, Ok(answers), (&&Wire::<Rsp>::new()).enc())
}

async fn sum(incoming: Incoming) -> Result<Outgoing> {
    let format = incoming.format().clone();
    let mut numbers = inbound::<u32>(incoming, (&&&&Wire::<u32>::new()).dec());
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    respond::<_, Error>(&format, Ok(sum), (&&&&Wire::<u32>::new()).enc())
}

/// Counts the streams that are dropped.
struct Watching(Arc<Seen>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Streams nothing, for as long as somebody waits.
fn watch(greeter: &Greeter, incoming: &Incoming) -> Result<Outgoing> {
    let watching = Watching(Arc::clone(&greeter.seen));
    greeter.seen.started.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let stream = Streaming::<Rsp>::unfold(watching, |watching| async move {
        std::future::pending::<()>().await;
        Some((Ok(Rsp { msg: String::new() }), watching))
    });
    respond_stream::<_, Error>(incoming.format(), Ok(stream), (&&Wire::<Rsp>::new()).enc())
}
