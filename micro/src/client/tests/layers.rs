//! Layers around the calls of a client.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::Bytes;
use tower_layer::layer_fn;
use tower_service::Service;

use crate::client::tests::world::SERVICE;
use crate::client::{Builder, Call, Client, Next, Reply, Request, Stub};
use crate::codec::Format;
use crate::core::body::Body;
use crate::core::clock;
use crate::core::context::Context;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Dispatch, Extra, Inbound, Outgoing, Running, Target};
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;
use crate::transport::{Memory, Scope, Transport};

/// A node that fails some calls, then answers; it keeps what came with each.
#[derive(Debug, Default)]
struct Node {
    failures: usize,
    seen: Mutex<Vec<Extra>>,
}

impl Dispatch for Node {
    fn resolve(&self, _: &str, endpoint: &str) -> Result<Target> {
        let specs = SERVICE.endpoints;
        let index = specs.iter().position(|spec| spec.name == endpoint).unwrap();
        let kind = specs[index].kind;
        Ok(Target { index: u32::try_from(index).unwrap(), kind, detached: false })
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(call.extra.map(|extra| *extra).unwrap_or_default());
        let failed = seen.len() <= self.failures;
        let reply = match failed {
            true => Err(Error::internal("lab", "not yet")),
            false => Ok(Outgoing::Message(call.body)),
        };
        Ok(Running::new(Context::new(), Box::pin(std::future::ready(reply))))
    }
}

fn encode(_: &Format, text: &String, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn decode(_: &Format, bytes: &Body<'_>) -> Result<String> {
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Starts a node and a client whose calls pass through layers.
async fn rig(failures: usize, layers: impl FnOnce(Builder) -> Builder) -> (Arc<Node>, Stub) {
    let (memory, scope) = (Memory::new(), Scope::default());
    let node = Arc::new(Node { failures, ..Node::default() });
    let dispatch: Arc<dyn Dispatch> = Arc::<Node>::clone(&node);
    let address = memory.listen(&"memory:a".parse().unwrap(), dispatch, &scope).await.unwrap();
    let builder = Client::builder().transport(Arc::new(memory)).address(address);
    (node, Stub::new(layers(builder).build(), &SERVICE))
}

fn call(stub: &Stub) -> Call<String> {
    stub.unary(0, &"hello".to_owned(), encode, decode)
}

/// A layer that is one function.
#[derive(Clone)]
struct Around<F>(Next, F);

impl<F> Service<Request> for Around<F>
where
    F: Fn(Next, Request) -> BoxFuture<'static, Result<Reply>>,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(task)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.1(self.0.clone(), request)
    }
}

fn around<F>(builder: Builder, layer: F) -> Builder
where
    F: Fn(Next, Request) -> BoxFuture<'static, Result<Reply>> + Clone + Send + Sync + 'static,
{
    builder.layer(&layer_fn(move |next| Around(next, layer.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_layer_sees_the_call_and_adds_to_it() {
    let began = clock::now();
    let (node, stub) = rig(0, |builder| {
        around(builder, move |mut next, mut request| {
            assert_eq!((request.service(), request.endpoint()), ("lab", "U"));
            assert_eq!(
                (request.kind(), request.body()),
                (SERVICE.endpoints[0].kind, &b"hello"[..])
            );
            assert_eq!(request.deadline(), began + Duration::from_secs(3));
            assert_eq!(request.metadata().get("tenant"), Some("acme"));
            assert!(!request.is_idempotent() && request.context().is_none());
            request.insert_metadata("stamp", "one").unwrap();
            request.insert_header("authorization", "Bearer x").unwrap();
            assert_eq!(request.insert_metadata("no good", "").unwrap_err().code(), 400);
            next.call(request)
        })
    })
    .await;
    let call = call(&stub).timeout(Duration::from_secs(3)).metadata("tenant", "acme");
    assert_eq!(call.await.unwrap(), "hello");
    let seen = node.seen.lock().unwrap();
    assert_eq!(seen[0].metadata.get("tenant"), Some("acme"));
    assert_eq!(seen[0].metadata.get("stamp"), Some("one"));
    assert_eq!(seen[0].headers.get("authorization"), Some("Bearer x"));
}

#[tokio::test(start_paused = true)]
async fn a_layer_answers_in_the_place_of_the_node() {
    let (node, stub) = rig(0, |builder| {
        around(builder, |_, request| {
            Box::pin(std::future::ready(match request.metadata().get("known") {
                Some(known) => Ok(Reply::Message(Bytes::copy_from_slice(known.as_bytes()))),
                None => Err(Error::forbidden("layer", "not today")),
            }))
        })
    })
    .await;
    let error = call(&stub).await.unwrap_err();
    assert_eq!((error.code(), error.id()), (403, "layer"));
    assert_eq!(call(&stub).metadata("known", "cached").await.unwrap(), "cached");
    assert!(node.seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_layer_repeats_a_call() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let (node, stub) = rig(2, |builder| {
        around(builder, move |mut next, request| {
            let counter = Arc::clone(&counter);
            Box::pin(async move {
                loop {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let again = request.try_clone().unwrap();
                    match next.call(again).await {
                        Err(error) if error.code() == 500 => {}
                        done => return done,
                    }
                }
            })
        })
    })
    .await;
    assert_eq!(call(&stub).await.unwrap(), "hello");
    assert_eq!((tries.load(Ordering::Relaxed), node.seen.lock().unwrap().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn the_layer_added_last_is_outermost() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        move |mut next: Next, request: Request| {
            order.lock().unwrap().push(name);
            next.call(request)
        }
    };
    let (_node, stub) = rig(0, |builder| {
        let builder = around(builder, note("first"));
        around(builder, note("last"))
    })
    .await;
    call(&stub).await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["last", "first"]);
}

#[tokio::test(start_paused = true)]
async fn streams_begin_through_the_layers() {
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let (_node, stub) = rig(0, |builder| {
        around(builder, move |mut next, request| {
            let copied = request.try_clone().is_some();
            assert_eq!(copied, !request.kind().streams_requests());
            seen.lock().unwrap().push(request.kind());
            next.call(request)
        })
    })
    .await;
    // The node answers all of them at once; that they get there is what counts.
    let text = || "hello".to_owned();
    let down: Call<Streaming<String>> = stub.server_stream(1, &text(), encode, decode);
    let up: Call<String> = stub.client_stream(2, Streaming::from_iter([text()]), encode, decode);
    let _ended = (down.await, up.await);
    let expected = [SERVICE.endpoints[1].kind, SERVICE.endpoints[2].kind];
    assert_eq!(*kinds.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_hangs_ends_with_the_deadline_of_the_call() {
    let (_node, stub) =
        rig(0, |builder| around(builder, |_, _| Box::pin(std::future::pending()))).await;
    let began = clock::now();
    let error = call(&stub).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.code(), 408);
    assert!(error.detail().contains("layer"), "{error}");
    let late = clock::now() - began - Duration::from_secs(1);
    assert!(late <= Duration::from_millis(50), "{late:?}");
}
