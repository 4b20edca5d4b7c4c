//! This framework's client of go-micro's transport against its own server.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll};

use super::*;
use crate::codec::envelope::Envelope;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::Result;
use crate::core::exchange::{Connection, Exchange, Head, Route};
use crate::core::stream::{BoxSource, MessageSource, RawStream, Streaming};
use crate::server::handle::Server;
use crate::transport::mucp::Mucp;
use crate::transport::{Scope, Transport};

struct Source(RawStream);

impl MessageSource for Source {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = pin!(self.0.next()).poll(task);
        next.map(|next| next.map(|message| message.map(|message| out.extend_from_slice(&message))))
    }
}

async fn serve() -> (Server, Address) {
    let builder = Server::builder().mount(Greeter::default()).mount(Sample::default());
    let server = builder.build().unwrap();
    let address = server.listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    (server, address)
}

async fn dial(address: &Address, envelope: Envelope) -> Arc<dyn Connection> {
    Mucp::new().in_envelope(envelope).dial(address, &Scope::default()).await.unwrap()
}

fn start(
    node: &Arc<dyn Connection>,
    (endpoint, kind): (&str, CallKind),
    content_type: &ContentType,
    (body, source): (&str, Option<RawStream>),
) -> Exchange {
    let route = Route::new("greeter", endpoint, kind);
    let mut head = Head::new(&route, clock::now(), content_type.clone());
    head.deadline = Some(after(5));
    let source = source.map(|stream| -> BoxSource { Box::pin(Source(stream)) });
    Arc::clone(node).start(&head, &Bytes::copy_from_slice(body.as_bytes()), source).unwrap()
}

async fn reply(mut exchange: Exchange) -> Result<Bytes> {
    poll_fn(|task| exchange.poll_reply(task)).await.result
}

async fn stream(mut exchange: Exchange) -> RawStream {
    poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    exchange.into_stream()
}

const ENVELOPES: [(Envelope, ContentType); 5] = [
    (Envelope::Bare, ContentType::Json),
    (Envelope::JsonRpc, ContentType::Json),
    (Envelope::Grpc, ContentType::Json),
    (Envelope::Bare, ContentType::MsgPack),
    (Envelope::MsgPackRpc, ContentType::MsgPack),
];

/// A small whole number in an encoding.
fn number(content_type: &ContentType, number: u8) -> Bytes {
    match content_type {
        ContentType::Json => number.to_string().into(),
        _ => vec![number].into(),
    }
}

fn trimmed(bytes: &Bytes) -> Bytes {
    bytes.slice_ref(bytes.strip_suffix(b"\n").unwrap_or(bytes))
}

#[tokio::test]
async fn calls_of_every_kind_work_in_every_envelope() {
    let (server, address) = serve().await;
    for (envelope, encoding) in ENVELOPES {
        let node = dial(&address, envelope).await;
        let body = number(&encoding, 3);
        let numbers = || Streaming::from_iter([1, 2, 3].map(|n| number(&encoding, n)));
        let text = std::str::from_utf8(&body).unwrap();
        let unary = start(&node, ("Sample.Public", CallKind::Unary), &encoding, ("", None));
        assert_eq!(reply(unary).await.unwrap_err().code(), 400, "a number is no text");
        let count = start(&node, ("Sample.Count", CallKind::ServerStream), &encoding, (text, None));
        let items = stream(count).await.collect(10).await.unwrap();
        let expected: Vec<_> = (0..3).map(|n| number(&encoding, n)).collect();
        assert_eq!(items.iter().map(trimmed).collect::<Vec<_>>(), expected, "{envelope:?}");
        let sum = ("Sample.Sum", CallKind::ClientStream);
        let sum = start(&node, sum, &encoding, ("", Some(numbers())));
        assert_eq!(trimmed(&reply(sum).await.unwrap()), number(&encoding, 6));
        let double = ("Sample.Double", CallKind::Bidi);
        let double = start(&node, double, &encoding, ("", Some(numbers())));
        let items = stream(double).await.collect(10).await.unwrap();
        let expected: Vec<_> = [2, 4, 6].map(|n| number(&encoding, n)).to_vec();
        assert_eq!(items.iter().map(trimmed).collect::<Vec<_>>(), expected, "{envelope:?}");
        let failed = start(&node, ("Sample.Fail", CallKind::Unary), &encoding, ("", None));
        let error = reply(failed).await.unwrap_err();
        assert_eq!((error.id(), error.code()), ("sample.Sample.Fail", 409));
    }
    server.drain(after(5)).await;
}

#[tokio::test]
async fn protocol_buffers_and_many_calls_at_a_time_work() {
    let (server, address) = serve().await;
    for envelope in [Envelope::Bare, Envelope::ProtoRpc, Envelope::Grpc] {
        let node = dial(&address, envelope).await;
        let calls = (0..90).map(|_| {
            start(
                &node,
                ("Greeter.PB", CallKind::Unary),
                &ContentType::Proto,
                ("\n\u{4}John", None),
            )
        });
        let calls: Vec<_> = calls.map(reply).collect();
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.unwrap(), "\n\nHello John");
        }
    }
    server.drain(after(5)).await;
}

#[tokio::test]
async fn a_stream_in_lock_step_and_errors_in_streams_pass() {
    let (server, address) = serve().await;
    let node = dial(&address, Envelope::Bare).await;
    let (sender, names) = Streaming::channel(1);
    let echo = ("Greeter.Echo", CallKind::Bidi);
    let echo = start(&node, echo, &ContentType::Json, ("", Some(names)));
    let mut answers = stream(echo).await;
    for number in 0..20 {
        sender.send(format!("{{\"name\":\"{number}\"}}").into()).await.unwrap();
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer, format!("{{\"msg\":\"{number}\"}}\n"));
    }
    drop(sender);
    assert!(answers.next().await.is_none());
    let fail = ("{\"name\":\"fail\"}", None);
    let count = start(&node, ("Greeter.Count", CallKind::ServerStream), &ContentType::Json, fail);
    let mut items = stream(count).await;
    assert!(items.next().await.unwrap().is_ok() && items.next().await.unwrap().is_ok());
    let error = items.next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.detail()), (409, "on\npurpose"));
    let nope = start(&node, ("Greeter.Nope", CallKind::Unary), &ContentType::Json, ("{}", None));
    assert_eq!(reply(nope).await.unwrap_err().code(), 404);
    let late = start(&node, ("Greeter.Slow", CallKind::Unary), &ContentType::Json, ("{}", None));
    assert_eq!(reply(late).await.unwrap(), "{\"msg\":\"late\"}\n");
    server.drain(after(5)).await;
}
