//! Two nodes of one service, whose handlers write down each run, and a client of them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use crate::client::tests::cut::Cutting;
use crate::client::{Client, Stub};
use crate::codec::Format;
use crate::core::body::Body;
use crate::core::budget::Budget;
use crate::core::clock;
use crate::core::context::{Context, Parts};
use crate::core::descriptor::{CallKind, EndpointSpec, Schema, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::{Dispatch, Inbound, Outgoing, Running, Target};
use crate::core::shutdown::TaskTracker;
use crate::core::stream::{BoxSource, MessageSource, Streaming};
use crate::registry::{Endpoint, Memory, Node, Record, Registry};
use crate::transport::{Scope, Transport};

/// The kinds of endpoints; each stands twice in the descriptor, the second time as idempotent.
pub(super) const KINDS: [CallKind; 4] =
    [CallKind::Unary, CallKind::ServerStream, CallKind::ClientStream, CallKind::Bidi];

const NAMES: [&str; 8] = ["U", "S", "C", "B", "IU", "IS", "IC", "IB"];

const fn spec(index: usize) -> EndpointSpec {
    EndpointSpec {
        name: NAMES[index],
        kind: KINDS[index % 4],
        request: Schema::default,
        response: Schema::default,
        doc: "",
        description: "",
        example: None,
        scopes: None,
        public: true,
        timeout: None,
        idempotent: index >= 4,
        detached: false,
        deprecated: false,
        metadata: &[],
    }
}

pub(super) static SERVICE: ServiceDescriptor = ServiceDescriptor {
    name: "lab",
    version: "1",
    type_name: "Lab",
    doc: "",
    endpoints: &[spec(0), spec(1), spec(2), spec(3), spec(4), spec(5), spec(6), spec(7)],
    subscriptions: &[],
    metadata: &[],
};

/// How long a call may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Both nodes write down which call they run.
#[derive(Debug, Default)]
struct Ledger {
    runs: Mutex<HashMap<u64, usize>>,
}

#[derive(Debug)]
struct Lab {
    ledger: Arc<Ledger>,
}

impl Dispatch for Lab {
    fn resolve(&self, _: &str, endpoint: &str) -> Result<Target> {
        let index = NAMES.iter().position(|name| *name == endpoint);
        let index = index.ok_or_else(|| Error::not_found("lab", endpoint))?;
        let kind = KINDS[index % 4];
        Ok(Target { index: u32::try_from(index).unwrap(), kind, detached: false })
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let context = Context::from_parts(Parts { deadline: call.deadline, ..Parts::default() });
        let ledger = Arc::clone(&self.ledger);
        Ok(Running::new(context, Box::pin(handle(ledger, call))))
    }
}

fn number(bytes: &[u8]) -> Result<u64> {
    let bytes: [u8; 8] =
        bytes.try_into().map_err(|e| Error::bad_request("lab", "id").with_source(e))?;
    Ok(u64::from_be_bytes(bytes))
}

async fn handle(ledger: Arc<Ledger>, call: Inbound) -> Result<Outgoing> {
    let run = |id: u64| *ledger.runs.lock().unwrap().entry(id).or_default() += 1;
    let kind = call.target.kind;
    let Some(mut requests) = call.messages else {
        let id = number(&call.body)?;
        run(id);
        if id % 2 == 1 {
            clock::sleep(Duration::from_millis(1)).await;
        }
        if kind == CallKind::Unary {
            return Ok(Outgoing::Message(call.body));
        }
        return Ok(Outgoing::Stream(source(Streaming::from_iter([id, id, id]))));
    };
    let first = requests.next().await.ok_or_else(|| Error::bad_request("lab", "no request"))??;
    let id = number(&first)?;
    run(id);
    if kind == CallKind::Bidi {
        return Ok(Outgoing::Stream(source(requests.map(|m| number(&m).unwrap()))));
    }
    while let Some(request) = requests.next().await {
        number(&request?)?;
    }
    Ok(Outgoing::Message(first))
}

struct Source(Streaming<u64>);

fn source(stream: Streaming<u64>) -> BoxSource {
    Box::pin(Source(stream))
}

impl MessageSource for Source {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = std::task::ready!(futures_core::Stream::poll_next(Pin::new(&mut self.0), task));
        Poll::Ready(next.map(|id| {
            out.extend_from_slice(&id?.to_be_bytes());
            Ok(())
        }))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type of an encoder asks for it")]
fn encode(_: &Format, id: &u64, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&id.to_be_bytes());
    Ok(())
}

fn decode(_: &Format, bytes: &Body<'_>) -> Result<u64> {
    number(bytes)
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<()>,
    pub(super) took: Duration,
}

/// Two nodes and their client.
pub(super) struct World {
    pub(super) transport: Cutting,
    pub(super) stub: Stub,
    tasks: TaskTracker,
    ledger: Arc<Ledger>,
}

impl World {
    pub(super) async fn new() -> Self {
        let (transport, registry) = (Cutting::default(), Memory::new());
        let (tasks, ledger) = (TaskTracker::new(), Arc::new(Ledger::default()));
        let scope = Scope { tasks: tasks.clone(), ..Scope::default() };
        for name in ["a", "b"] {
            let address = format!("memory:{name}");
            let lab = Arc::new(Lab { ledger: Arc::clone(&ledger) });
            transport.listen(&address.parse().unwrap(), lab, &scope).await.unwrap();
            let endpoint =
                |name: &&str| Endpoint { name: (*name).to_owned(), ..Endpoint::default() };
            let record = Record {
                name: SERVICE.name.to_owned(),
                version: SERVICE.version.to_owned(),
                endpoints: NAMES.iter().map(endpoint).collect(),
                nodes: vec![Node { id: name.to_owned(), address, ..Node::default() }],
                ..Record::default()
            };
            registry.register(&record, Duration::from_secs(1_000_000)).await.unwrap();
        }
        let client = Client::builder()
            .tasks(tasks.clone())
            .registry(Arc::new(registry))
            .transport(Arc::new(transport.clone()))
            .budget(Budget::unlimited(clock::now()))
            .build();
        let stub = Stub::new(client, &SERVICE);
        Self { transport, stub, tasks, ledger }
    }

    /// Makes the call `id` to an endpoint and waits for its outcome, streams to their end.
    pub(super) async fn call(stub: Stub, index: usize, id: u64) -> Outcome {
        let began = clock::now();
        let requests = || Streaming::from_iter([id, id, id]);
        let result = match index % 4 {
            0 => stub.unary(index, &id, encode, decode).timeout(TIMEOUT).await.map(|_: u64| ()),
            2 => {
                let call = stub.client_stream(index, requests(), encode, decode);
                call.timeout(TIMEOUT).await.map(|_: u64| ())
            }
            kind => {
                let call = if kind == 1 {
                    stub.server_stream(index, &id, encode, decode)
                } else {
                    stub.bidi(index, requests(), encode, decode)
                };
                let opened: Result<Streaming<u64>> = call.timeout(TIMEOUT).await;
                match opened {
                    Ok(responses) => responses.collect(9).await.map(|_| ()),
                    Err(error) => Err(error),
                }
            }
        };
        Outcome { result, took: clock::now() - began }
    }

    /// Returns how often a call ran, on whichever node.
    pub(super) fn runs(&self, id: u64) -> usize {
        self.ledger.runs.lock().unwrap().get(&id).copied().unwrap_or_default()
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Ends everything; nothing may be left of it.
    pub(super) async fn end(self) {
        self.tasks.abort_all();
        let soon = clock::now() + Duration::from_secs(1);
        assert_eq!(self.tasks.wait(soon).await, 0);
    }
}
