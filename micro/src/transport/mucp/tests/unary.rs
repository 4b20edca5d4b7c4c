//! Calls with one request and one response against the bytes of go-micro's server.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use super::golden::{self, Exchange};
use crate::codec::envelope::Envelope;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Extra, Head, Route};
use crate::core::net::{Pipe, Stream};
use crate::transport::mucp::pool::Lane;
use crate::transport::mucp::request::{Request, form};
use crate::transport::mucp::response::Said;
use crate::transport::mucp::unary::exchange;

/// The metadata that every recorded call had.
pub(super) fn extra() -> Option<Box<Extra>> {
    let mut extra = Extra::default();
    extra.metadata.insert("Foo-Bar", "baz").unwrap();
    extra.metadata.insert("lower-case", "v").unwrap();
    Some(Box::new(extra))
}

/// A recorded call: its name, its number, the endpoint, the time and the message.
type Recorded = (&'static str, u64, &'static str, u64, &'static [u8]);

const JSON: [Recorded; 10] = [
    ("unary json", 0, "Greeter.Hello", 5000, b"{\"name\":\"John\"}"),
    ("unary json 2nd on same conn", 1, "Greeter.Hello", 5000, b"{\"name\":\"Jane\"}"),
    ("unary json md", 2, "Greeter.Hello", 5000, b"{\"name\":\"md\"}"),
    ("error micro", 4, "Greeter.Err", 5000, b"{\"name\":\"x\"}"),
    ("error plain", 5, "Greeter.Plain", 5000, b"{\"name\":\"x\"}"),
    ("after error", 6, "Greeter.Hello", 5000, b"{\"name\":\"again\"}"),
    ("no method", 7, "Greeter.Nope", 5000, b"{\"name\":\"x\"}"),
    ("no service", 8, "Nope.Nope", 5000, b"{\"name\":\"x\"}"),
    ("bad endpoint", 9, "Nope", 5000, b"{\"name\":\"x\"}"),
    ("timeout", 10, "Greeter.Slow", 300, b"{\"name\":\"x\"}"),
];

const OTHERS: [(Recorded, Envelope, ContentType); 4] = [
    (
        ("json-rpc", 3, "Greeter.Hello", 5000, b"{\"name\":\"John\"}"),
        Envelope::JsonRpc,
        ContentType::Json,
    ),
    (("protobuf", 11, "Greeter.PB", 2000, b"\n\x04John"), Envelope::Bare, ContentType::Proto),
    (("proto-rpc", 12, "Greeter.PB", 2000, b"\n\x04John"), Envelope::ProtoRpc, ContentType::Proto),
    (("grpc+proto", 13, "Greeter.PB", 2000, b"\n\x04John"), Envelope::Grpc, ContentType::Proto),
];

fn recorded() -> impl Iterator<Item = (Recorded, Envelope, ContentType)> {
    let json = JSON.into_iter().map(|call| (call, Envelope::Bare, ContentType::Json));
    json.chain(OTHERS)
}

fn find(name: &str) -> Exchange {
    let name = if name == "json-rpc" { "unary json-rpc" } else { name };
    golden::exchange(name)
}

fn request(
    (_, number, endpoint, millis, _): Recorded,
    envelope: Envelope,
    message: &ContentType,
) -> Request {
    let route = Route::new("greeter", endpoint, CallKind::Unary);
    let now = clock::now();
    let mut head = Head::new(&route, now, message.clone());
    head.deadline = Some(clock::after(now, Duration::from_millis(millis)));
    head.extra = extra();
    Request::new(&head, form(envelope, message), number)
}

/// Makes a call whose answer comes in pieces; returns what was sent and what came of it.
async fn call(
    (recorded, envelope, message): (Recorded, Envelope, &ContentType),
    expected: usize,
    pieces: &[&[u8]],
) -> (Vec<u8>, Result<Bytes>) {
    let (here, mut there) = Pipe::pair();
    let request = request(recorded, envelope, message);
    let body = request.seal(recorded.4).unwrap();
    let client = async {
        let mut lane = Lane::new(Stream::Pipe(here)).await?;
        let answer = exchange(&mut lane, "127.0.0.1:1", &request, (body, 10_000)).await?;
        match answer.said {
            Said::Message(message) => Ok(message),
            Said::Failed(error) => Err(error),
            Said::End => Err(Error::internal("", "the end")),
        }
    };
    let server = async {
        let mut sent = BytesMut::new();
        while sent.len() < expected {
            tokio::io::AsyncReadExt::read_buf(&mut there, &mut sent).await.unwrap();
        }
        for piece in pieces {
            // A client that has seen enough reads no more.
            if there.write_all(piece).await.is_err() {
                break;
            }
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        sent.to_vec()
    };
    let (answer, sent) = tokio::join!(client, server);
    (sent, answer)
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_equals_what_go_micro_sends_byte_for_byte() {
    for (recorded, envelope, message) in recorded() {
        let expected = find(recorded.0).request_to("127.0.0.1:1");
        let answer = find("unary json").answer();
        let (sent, _) = call((recorded, envelope, &message), expected.len(), &[&answer]).await;
        assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&expected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_go_micro_answers_is_understood_however_it_is_cut() {
    for (recorded, envelope, message) in recorded().filter(|call| call.0.0 != "timeout") {
        let exchange = find(recorded.0);
        let expected = exchange.request_to("127.0.0.1:1").len();
        let answer = exchange.answer();
        let pieces: Vec<_> = exchange.server.iter().map(Vec::as_slice).collect();
        let said = (recorded, envelope, &message);
        let (_, as_recorded) = call(said, expected, &pieces).await;
        match recorded.0 {
            "error micro" => {
                let error = as_recorded.as_ref().unwrap_err();
                assert_eq!(
                    (error.id(), error.code(), error.detail()),
                    ("greeter.Err", 400, "bad x")
                );
            }
            "error plain" => {
                let error = as_recorded.as_ref().unwrap_err();
                assert_eq!((error.code(), error.detail()), (500, "plain failure"));
            }
            "no method" | "no service" => assert_eq!(as_recorded.as_ref().unwrap_err().code(), 404),
            "bad endpoint" => assert_eq!(as_recorded.as_ref().unwrap_err().code(), 400),
            "protobuf" | "proto-rpc" | "grpc+proto" => {
                assert_eq!(as_recorded.as_ref().unwrap(), "\n\nHello John");
            }
            "unary json md" => assert_eq!(as_recorded.as_ref().unwrap().len(), 306),
            _ => assert!(as_recorded.as_ref().unwrap().starts_with(b"{\"msg\":\"Hello ")),
        }
        for at in 0..answer.len() {
            let (first, second) = answer.split_at(at);
            let (_, cut) = call(said, expected, &[first, second]).await;
            assert_eq!(format!("{cut:?}"), format!("{as_recorded:?}"), "{} {at}", recorded.0);
        }
    }
}

/// Calls with JSON and gets an answer.
async fn answered(text: &str) -> Result<Bytes> {
    let call = call((JSON[0], Envelope::Bare, &ContentType::Json), 1, &[text.as_bytes()]).await;
    call.1
}

#[tokio::test(start_paused = true)]
async fn answers_of_every_make_are_tolerated() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nMicro-Id: 99\r\nMicro-Endpoint: A.B\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json-rpc\r\nContent-Length: 13\r\n\r\n{\"result\":{}}",
        "HTTP/1.1 200 OK\r\nMicro-Error:\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        assert_eq!(answered(text).await.unwrap(), "{}", "{text}");
    }
    for (text, code) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 404),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 500),
        ("HTTP/1.1 200 OK\r\nMicro-Error: EOS\r\nContent-Length: 0\r\n\r\n", 500),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 500),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", 503),
        ("SSH-2.0-x\r\n\r\n", 503),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 503),
    ] {
        let error = clock::timeout(Duration::from_secs(60), answered(text)).await;
        // An answer that does not come on is for the deadline of the call.
        let error = error.unwrap_or_else(|_| Err(Error::unavailable("", "")));
        assert_eq!(error.unwrap_err().code(), code, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_past_the_limit_is_a_413() {
    for (length, passes) in [(10_000, true), (10_001, false), (100_000, false)] {
        let body = "x".repeat(length);
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = answered(&text).await;
        assert_eq!(answer.is_ok(), passes, "{length}");
        assert!(passes || answer.unwrap_err().code() == 413);
    }
}
