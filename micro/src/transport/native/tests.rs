//! Claims about whole exchanges over an in-memory byte stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::context::{Context, Parts};
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{
    Connection, Dispatch, Exchange, Head, Inbound, Outgoing, Route, Running, Target,
};
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::stream::{BoxSource, MessageSource, RawStream, Streaming};
use crate::transport::{Memory, Scope, Transport};

/// Endpoints that show one behaviour each.
#[derive(Debug)]
struct Lab;

const NAMES: [(&str, CallKind); 8] = [
    ("Echo", CallKind::Unary),
    ("Later", CallKind::Unary),
    ("Never", CallKind::Unary),
    ("Panic", CallKind::Unary),
    ("Count", CallKind::ServerStream),
    ("Flood", CallKind::ServerStream),
    ("Sum", CallKind::ClientStream),
    ("Mirror", CallKind::Bidi),
];

impl Dispatch for Lab {
    fn resolve(&self, _: &str, endpoint: &str) -> Result<Target> {
        let index = NAMES.iter().position(|name| name.0 == endpoint);
        let index = index.ok_or_else(|| Error::not_found("lab", format!("no {endpoint}")))?;
        let index = u32::try_from(index).unwrap();
        Ok(Target { index, kind: NAMES[index as usize].1, detached: false })
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let context = Context::from_parts(Parts { deadline: call.deadline, ..Parts::default() });
        let name = NAMES[call.target.index as usize].0;
        Ok(Running::new(context, Box::pin(handle(name, call))))
    }
}

async fn handle(name: &str, call: Inbound) -> Result<Outgoing> {
    Ok(match name {
        "Echo" => Outgoing::Message(call.body),
        "Later" => {
            clock::sleep(Duration::from_millis(10)).await;
            Outgoing::Message(call.body)
        }
        "Never" => std::future::pending().await,
        "Panic" => panic!("as asked"),
        "Count" => {
            let count = u32::from(call.body[0]);
            Outgoing::Stream(source(Streaming::from_iter((0..count).map(|n| vec![n as u8]))))
        }
        "Flood" => Outgoing::Stream(source(Streaming::from_iter((0..).map(|_: u32| vec![7; 1000])))),
        "Sum" => {
            let mut messages = call.messages.unwrap();
            let mut sum = 0_u8;
            while let Some(message) = messages.next().await {
                sum = sum.wrapping_add(message?.iter().sum());
            }
            Outgoing::Message(vec![sum].into())
        }
        _ => Outgoing::Stream(source(call.messages.unwrap().map(|m| m.to_vec()))),
    })
}

struct Source(Streaming<Vec<u8>>);

fn source(stream: Streaming<Vec<u8>>) -> BoxSource {
    Box::pin(Source(stream))
}

impl MessageSource for Source {
    fn poll_encode(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        out: &mut Vec<u8>,
    ) -> std::task::Poll<Option<Result<()>>> {
        use futures_core::Stream;
        std::pin::Pin::new(&mut self.0).poll_next(cx).map(|next| {
            next.map(|message| {
                out.extend_from_slice(&message?);
                Ok(())
            })
        })
    }
}

struct Fixture {
    connection: Arc<dyn Connection>,
    server: Scope,
    client: Scope,
}

async fn fixture() -> Fixture {
    fixture_with(Limits::default()).await
}

async fn fixture_with(limits: Limits) -> Fixture {
    let (server, client) = (
        Scope { limits: Arc::new(limits.clone()), ..Scope::default() },
        Scope { limits: Arc::new(limits), ..Scope::default() },
    );
    let memory = Memory::new();
    let address: Address = "memory:lab".parse().unwrap();
    memory.listen(&address, Arc::new(Lab), &server).await.unwrap();
    let connection = memory.dial(&address, &client).await.unwrap();
    Fixture { connection, server, client }
}

impl Fixture {
    fn start(&self, name: &str, body: impl Into<Bytes>, source: Option<BoxSource>) -> Exchange {
        self.try_start(name, body, source).unwrap()
    }

    fn try_start(
        &self,
        name: &str,
        body: impl Into<Bytes>,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        let kind = NAMES.iter().find(|n| n.0 == name).unwrap().1;
        let now = clock::now();
        let head = Head {
            route: &Route::new("lab", name, kind),
            now,
            deadline: Some(now + Duration::from_secs(10)),
            content_type: ContentType::MsgPack,
            extra: None,
            waker: None,
        };
        Arc::clone(&self.connection).start(&head, &body.into(), source)
    }

    async fn unary(&self, name: &str, body: impl Into<Bytes>) -> Result<Bytes> {
        reply(self.start(name, body, None)).await
    }

    async fn stream(&self, name: &str, body: &'static [u8], source: Option<BoxSource>) -> RawStream {
        opened(self.start(name, body, source)).await
    }
}

async fn reply(mut exchange: Exchange) -> Result<Bytes> {
    std::future::poll_fn(|task| exchange.poll_reply(task)).await.result
}

async fn opened(mut exchange: Exchange) -> RawStream {
    std::future::poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    exchange.into_stream()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_in_place_or_later() {
    let lab = fixture().await;
    assert_eq!(lab.unary("Echo", "a").await.unwrap(), "a");
    assert_eq!(lab.unary("Later", "b").await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn messages_of_every_length_arrive_whole() {
    let lab = fixture().await;
    let frame = Limits::DEFAULT.message.frame_bytes_max;
    for length in [0, 1, frame - 100, frame - 1, frame, frame + 1, 3 * frame, 4 << 20] {
        let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
        for name in ["Echo", "Later"] {
            assert_eq!(lab.unary(name, body.clone()).await.unwrap(), body, "{name} {length}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limit_is_refused_and_the_connection_stays() {
    let mut limits = Limits::default();
    limits.message.bytes_max = 1000;
    let lab = fixture_with(limits).await;
    for length in [1001, 10_000] {
        let error = lab.try_start("Echo", vec![0; length], None).unwrap_err();
        assert_eq!(error.code(), 413);
        assert!(error.detail().contains("1000"), "{error}");
    }
    assert_eq!(lab.unary("Echo", vec![0; 1000]).await.unwrap().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn streams_run_each_way() {
    let lab = fixture().await;
    let counted = lab.stream("Count", &[5], None).await.collect(10).await.unwrap();
    assert_eq!(counted.concat(), [0, 1, 2, 3, 4]);
    let numbers = || Some(source(Streaming::from_iter((1..=10_u8).map(|n| vec![n]))));
    assert_eq!(reply(lab.start("Sum", "", numbers())).await.unwrap(), &[55][..]);
    let mirrored = lab.stream("Mirror", b"", numbers()).await.collect(20).await.unwrap();
    assert_eq!(mirrored.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_messages_passes_through_its_window() {
    let lab = fixture().await;
    let many = source(Streaming::from_iter((0..5000_u32).map(|n| vec![n as u8; 500])));
    let mirrored = lab.stream("Mirror", b"", Some(many)).await.collect(5000).await.unwrap();
    assert_eq!(mirrored.len(), 5000);
    assert!(mirrored.iter().enumerate().all(|(n, m)| m.len() == 500 && m[0] == n as u8));
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_call_only() {
    let lab = fixture().await;
    let other = lab.start("Later", "b", None);
    assert_eq!(lab.unary("Panic", "a").await.unwrap_err().code(), 500);
    assert_eq!(reply(other).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_on_time() {
    let lab = fixture().await;
    let began = clock::now();
    let error = lab.unary("Never", "a").await.unwrap_err();
    assert_eq!(error.code(), 408);
    let took = clock::now() - began;
    assert!(took >= Duration::from_secs(10) && took <= Duration::from_millis(10_050), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_and_streams_leave_no_task() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let (server, client) = (lab.server.tasks.len(), lab.client.tasks.len());
    for n in 0..300 {
        let exchange = lab.start("Never", "a", None);
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        drop(exchange);
        let mut flood = lab.stream("Flood", b"", None).await;
        flood.next().await.unwrap().unwrap();
    }
    lab.unary("Later", "a").await.unwrap();
    assert_eq!((lab.server.tasks.len(), lab.client.tasks.len()), (server, client));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_reader_holds_its_producer_and_nobody_else() {
    let lab = fixture().await;
    let flood = lab.stream("Flood", b"", None).await;
    for _ in 0..1000 {
        lab.unary("Echo", "a").await.unwrap();
    }
    drop(flood);
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_new_calls_safely_and_finishes_old_ones() {
    let lab = fixture().await;
    let running = lab.start("Later", "a", None);
    lab.server.shutdown.drain();
    assert_eq!(reply(running).await.unwrap(), "a");
    clock::sleep(Duration::from_millis(1)).await;
    let error = lab.try_start("Echo", "a", None).unwrap_err();
    assert_eq!(error.retry(), Retry::Safe);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_stream_limit_are_refused_safely() {
    let mut limits = Limits::default();
    limits.stream.native_max = 2;
    let lab = fixture_with(limits).await;
    lab.unary("Echo", "a").await.unwrap();
    let _running = (lab.start("Never", "a", None), lab.start("Never", "a", None));
    let error = lab.try_start("Echo", "a", None).unwrap_err();
    assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
}
