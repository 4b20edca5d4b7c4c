//! Endpoints that show one behaviour each, and a connection to call them on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::context::{Context, Parts};
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
#[derive(Default)]
pub(in crate::transport) struct Lab {
    /// Handlers that were called.
    pub(in crate::transport) called: AtomicUsize,
    /// Handlers that have not been dropped, and the most there were at a time.
    pub(in crate::transport) alive: Arc<AtomicUsize>,
    pub(in crate::transport) alive_most: AtomicUsize,
    /// Requests that share their memory with nothing else.
    pub(in crate::transport) copied: AtomicUsize,
    /// Names that were looked for.
    pub(in crate::transport) resolved: AtomicUsize,
    /// Messages that floods have made.
    pub(in crate::transport) made: Arc<AtomicUsize>,
    /// Happens once, while the next handler is polled.
    pub(in crate::transport) during: Mutex<Option<During>>,
}

pub(in crate::transport) type During = Box<dyn FnOnce() + Send>;

pub(in crate::transport) const NAMES: [(&str, CallKind); 18] = [
    ("Echo", CallKind::Unary),
    ("Later", CallKind::Unary),
    ("Never", CallKind::Unary),
    ("Panic", CallKind::Unary),
    ("Count", CallKind::ServerStream),
    ("Flood", CallKind::ServerStream),
    ("Sum", CallKind::ClientStream),
    ("Mirror", CallKind::Bidi),
    ("Detached", CallKind::Unary),
    ("Describe", CallKind::Unary),
    ("Hold", CallKind::Bidi),
    ("Conflict", CallKind::Unary),
    ("Refuse", CallKind::Unary),
    ("Ignore", CallKind::Bidi),
    ("Passing", CallKind::ServerStream),
    ("Final", CallKind::Unary),
    ("DetachedFlood", CallKind::ServerStream),
    ("DetachedSum", CallKind::ClientStream),
];

/// A byte of a number, for messages that differ.
pub(in crate::transport) fn byte(n: usize) -> u8 {
    n.to_le_bytes()[0]
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lab")
    }
}

impl Dispatch for Lab {
    fn resolve(&self, _: &str, endpoint: &str) -> Result<Target> {
        self.resolved.fetch_add(1, Ordering::Relaxed);
        let index = NAMES.iter().position(|name| name.0 == endpoint);
        let index = index.ok_or_else(|| Error::not_found("lab", format!("no {endpoint}")))?;
        let (name, kind) = NAMES[index];
        Ok(Target {
            index: u32::try_from(index).unwrap(),
            kind,
            detached: name.starts_with("Detached"),
        })
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let context = Context::from_parts(Parts { deadline: call.deadline, ..Parts::default() });
        if NAMES[usize::try_from(call.target.index).unwrap()].0 == "Refuse" {
            let after = Duration::from_millis(1500);
            let busy = Error::too_many_requests("lab", "busy").with_retry_after(after);
            return Err(busy.with_retry(Retry::Safe));
        }
        let name = NAMES[usize::try_from(call.target.index).unwrap()].0;
        self.called.fetch_add(1, Ordering::Relaxed);
        self.copied.fetch_add(usize::from(call.body.is_unique()), Ordering::Relaxed);
        let alive = self.alive.fetch_add(1, Ordering::Relaxed) + 1;
        self.alive_most.fetch_max(alive, Ordering::Relaxed);
        let guard = Alive(Arc::clone(&self.alive));
        let made = Arc::clone(&self.made);
        let during = self.during.lock().unwrap().take();
        Ok(Running::new(
            context,
            Box::pin(async move {
                let _guard = guard;
                if let Some(during) = during {
                    during();
                }
                if name.ends_with("Flood") {
                    return Ok(Outgoing::Stream(flood(made)));
                }
                handle(name, call).await
            }),
        ))
    }
}

/// The length of the messages of a flood.
pub(in crate::transport) const FLOOD_BYTES: usize = 1000;

/// Endless messages, counted as they are made.
pub(in crate::transport) fn flood(made: Arc<AtomicUsize>) -> BoxSource {
    source(Streaming::from_iter((0..).map(move |n| {
        made.fetch_add(1, Ordering::Relaxed);
        vec![byte(n); FLOOD_BYTES]
    })))
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn handle(name: &str, call: Inbound) -> Result<Outgoing> {
    Ok(match name {
        "Echo" => Outgoing::Message(call.body),
        "Later" => {
            clock::sleep(Duration::from_millis(10)).await;
            Outgoing::Message(call.body)
        }
        "Passing" => {
            let (sender, stream) = Streaming::channel(2);
            sender.send(b"1".to_vec()).await?;
            let refusal = Error::unavailable("other", "refused").with_retry(Retry::Safe);
            sender.fail(refusal).await?;
            Outgoing::Stream(source(stream))
        }
        "Final" => return Err(Error::unavailable("lab", "gone").with_retry(Retry::Never)),
        "Conflict" => return Err(Error::conflict("lab", "conflict")),
        "Ignore" => {
            drop(call.messages);
            std::future::pending().await
        }
        "Never" | "Detached" => std::future::pending().await,
        "Describe" => {
            let left = call.deadline.map(|deadline| deadline - call.now);
            let text = format!("{left:?} {} {:?}", call.content_type, call.extra);
            Outgoing::Message(text.into())
        }
        "Hold" => {
            // Reads nothing and sends nothing until it is dropped.
            let _messages = call.messages;
            std::future::pending().await
        }
        "Panic" => panic!("as asked"),
        "Count" => {
            let count = usize::from(call.body[0]);
            Outgoing::Stream(source(Streaming::from_iter((0..count).map(|n| vec![byte(n)]))))
        }
        "Sum" | "DetachedSum" => {
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

pub(in crate::transport) fn source(stream: Streaming<Vec<u8>>) -> BoxSource {
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

pub(in crate::transport) struct Fixture {
    pub(in crate::transport) connection: Arc<dyn Connection>,
    pub(in crate::transport) server: Scope,
    pub(in crate::transport) client: Scope,
    pub(in crate::transport) lab: Arc<Lab>,
}

pub(in crate::transport) async fn fixture() -> Fixture {
    fixture_with(Limits::default()).await
}

pub(in crate::transport) async fn fixture_with(limits: Limits) -> Fixture {
    let (server, client) = (
        Scope { limits: Arc::new(limits.clone()), ..Scope::default() },
        Scope { limits: Arc::new(limits), ..Scope::default() },
    );
    let memory = Memory::new();
    let address: Address = "memory:lab".parse().unwrap();
    let lab = Arc::new(Lab::default());
    memory.listen(&address, lab.clone(), &server).await.unwrap();
    let connection = memory.dial(&address, &client).await.unwrap();
    Fixture { connection, server, client, lab }
}

impl Fixture {
    pub(in crate::transport) fn start(
        &self,
        name: &str,
        body: impl Into<Bytes>,
        source: Option<BoxSource>,
    ) -> Exchange {
        self.try_start(name, body, source).unwrap()
    }

    pub(in crate::transport) fn try_start(
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

    pub(in crate::transport) async fn unary(
        &self,
        name: &str,
        body: impl Into<Bytes>,
    ) -> Result<Bytes> {
        reply(self.start(name, body, None)).await
    }

    pub(in crate::transport) async fn stream(
        &self,
        name: &str,
        body: &'static [u8],
        source: Option<BoxSource>,
    ) -> RawStream {
        opened(self.start(name, body, source)).await
    }
}

pub(in crate::transport) async fn reply(mut exchange: Exchange) -> Result<Bytes> {
    std::future::poll_fn(|task| exchange.poll_reply(task)).await.result
}

pub(in crate::transport) async fn opened(mut exchange: Exchange) -> RawStream {
    std::future::poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    exchange.into_stream()
}
