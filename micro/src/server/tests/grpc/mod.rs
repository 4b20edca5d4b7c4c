//! gRPC by a client of plain HTTP/2, which sees every header and trailer.

mod services;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::SendRequest;

use super::*;
use crate::codec::grpc::{Decoder, Encoding, framed, read_status};
use crate::core::error::Error;

type Http2 = SendRequest<BoxBody<Bytes, io::Error>>;

const JSON: (&str, &str) = ("content-type", "application/grpc+json");

/// What came back for a call.
#[derive(Debug)]
struct Answer {
    head: http::HeaderMap,
    messages: Vec<Bytes>,
    trailers: http::HeaderMap,
}

impl Answer {
    fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|message| std::str::from_utf8(message).unwrap()).collect()
    }

    fn error(&self) -> Error {
        let ended = read_status(&self.trailers).or_else(|| read_status(&self.head));
        ended.expect("a status").expect_err("an error")
    }

    /// The number of the status, wherever it stands.
    fn status(&self) -> &str {
        let status = self.trailers.get("grpc-status").or_else(|| self.head.get("grpc-status"));
        status.expect("a status").to_str().unwrap()
    }
}

fn frames(messages: &[&str]) -> Bytes {
    let framed = |message: &&str| framed(message.as_bytes(), Encoding::Identity).unwrap();
    messages.iter().map(framed).collect::<Vec<_>>().concat().into()
}

fn full(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn asked(path: &str, headers: &[(&str, &str)]) -> http::request::Builder {
    let request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn answered(response: Response<Incoming>) -> Answer {
    assert_eq!(response.status(), 200, "{response:?}");
    let (parts, mut body) = response.into_parts();
    let encoding = parts.headers.get("grpc-encoding").map_or(&b""[..], |value| value.as_bytes());
    let mut decoder = Decoder::new(1 << 20, Encoding::parse(encoding).unwrap());
    let (mut messages, mut trailers) = (Vec::new(), http::HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(data) => {
                decoder.push(data);
                while let Some(message) = decoder.take().unwrap() {
                    messages.push(message);
                }
            }
            Err(frame) => trailers = frame.into_trailers().unwrap(),
        }
    }
    decoder.end().unwrap();
    Answer { head: parts.headers, messages, trailers }
}

async fn send(http: &mut Http2, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let request = asked(path, headers).body(full(body)).unwrap();
    answered(http.send_request(request).await.unwrap()).await
}

async fn call(rig: &Rig, endpoint: &str, messages: &[&str]) -> Answer {
    let mut http = http2(rig.dial()).await;
    send(&mut http, &format!("/sample.Sample/{endpoint}"), &[JSON], frames(messages)).await
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_is_a_message_and_trailers() {
    let rig = Rig::plain();
    let answer = call(&rig, "Echo", &["\"x\""]).await;
    assert_eq!(answer.head["content-type"], "application/grpc+json");
    assert!(!answer.head.contains_key("grpc-status"));
    assert_eq!((answer.texts(), answer.status()), (vec!["\"x\""], "0"));
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_has_its_status_in_its_headers() {
    let rig = Rig::plain();
    for (endpoint, body, status) in
        [("Fail", "\"\"", "6"), ("Echo", "{", "3"), ("Panic", "\"\"", "13"), ("Count", "x", "3")]
    {
        let answer = call(&rig, endpoint, &[body]).await;
        assert_eq!(answer.head["grpc-status"], status, "{endpoint}");
        assert!(answer.trailers.is_empty() && answer.messages.is_empty());
        assert_eq!(answer.head["content-type"], "application/grpc");
    }
    let error = call(&rig, "Fail", &["\"\""]).await.error();
    assert_eq!(
        (error.id(), error.code(), error.detail()),
        ("sample.Sample.Fail", 409, "on purpose")
    );
}

#[tokio::test(start_paused = true)]
async fn streams_go_both_ways_and_fail_in_their_trailers() {
    let rig = Rig::plain();
    let count = call(&rig, "Count", &["3"]).await;
    assert_eq!((count.texts(), count.status()), (vec!["0", "1", "2"], "0"));
    let sum = call(&rig, "Sum", &["1", "2", "3"]).await;
    assert_eq!((sum.texts(), sum.status()), (vec!["6"], "0"));
    assert_eq!(call(&rig, "Sum", &[]).await.texts(), ["0"]);
    let double = call(&rig, "Double", &["1", "2"]).await;
    assert_eq!((double.texts(), double.status()), (vec!["2", "4"], "0"));
    let failed = call(&rig, "Count", &["8"]).await;
    assert_eq!(
        (failed.texts(), failed.trailers["grpc-status"].as_bytes()),
        (vec!["0"], &b"10"[..])
    );
    let panicked = call(&rig, "Count", &["20"]).await;
    assert_eq!((panicked.messages.len(), panicked.status()), (13, "13"));
    assert_eq!(call(&rig, "Double", &["1", "x"]).await.status(), "3");
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn over_one_stream_requests_and_responses_interleave() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let body = StreamBody::new(streams::Receive(rx));
    let request = asked("/sample.Sample/Double", &[JSON]).body(BoxBody::new(body)).unwrap();
    let mut body = http.send_request(request).await.unwrap().into_body();
    for n in 1..4 {
        tx.send(Ok(Frame::data(frames(&[&n.to_string()])))).await.unwrap();
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, frames(&[&(2 * n).to_string()]));
    }
    drop(tx);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(start_paused = true)]
async fn stubs_of_any_package_find_the_endpoint() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for (path, status) in [
        ("/sample.Sample/Echo", "0"),
        ("/com.example.v1.Sample/Echo", "0"),
        ("/Sample/Echo", "0"),
        ("/sample.Sample/Ecko", "12"),
        ("/sample.Other/Echo", "12"),
        ("/sample/Sample.Echo", "12"),
        ("/", "12"),
    ] {
        let answer = send(&mut http, path, &[JSON], frames(&["\"x\""])).await;
        assert_eq!(answer.status(), status, "{path}");
    }
    let answer = send(&mut http, "/sample.Sample/Ecko", &[JSON], frames(&["1"])).await;
    assert!(answer.error().detail().contains("sample/Sample.Echo"), "{:?}", answer.error());
}

#[tokio::test(start_paused = true)]
async fn the_content_type_names_the_codec() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for (name, body, status) in [
        ("application/grpc+json", "\"x\"", "0"),
        ("application/grpc+msgpack", "\u{1}", "3"),
        ("application/grpc+text", "x", "0"),
        // A type without a form in Protocol Buffers.
        ("application/grpc", "", "3"),
        ("application/grpc+xml", "<x/>", "12"),
    ] {
        let headers = [("content-type", name)];
        let answer = send(&mut http, "/sample.Sample/Echo", &headers, frames(&[body])).await;
        assert_eq!(answer.status(), status, "{name}");
        if status == "0" {
            assert_eq!(answer.head["content-type"], name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_context_holds_what_the_headers_say() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let headers = [
        JSON,
        ("grpc-timeout", "3S"),
        ("tenant", "acme"),
        ("key-bin", "AAEC"),
        ("authorization", "Bearer secret"),
        ("x-content-type", "application/grpc+proto"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("baggage", "region=eu"),
    ];
    let answer = send(&mut http, "/sample.Sample/About", &headers, frames(&["null"])).await;
    let expected = "service=sample endpoint=Sample.About left=3000 \
                    metadata=[key-bin=AAEC;tenant=acme] persistent=[region=eu] \
                    trace=4bf92f3577b34da6a3ce929d0e0e4736 current=true";
    assert_eq!(answer.texts(), [format!("\"{expected}\"")]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_calls_and_streams_on_time() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for (header, path, millis) in [
        (("grpc-timeout", "250m"), "/sample.Sample/Hang", 250),
        (("timeout", "250000000"), "/sample.Sample/Hang", 250),
        (("grpc-timeout", "1H"), "/sample.Sample/Brief", 2000),
    ] {
        let start = clock::now();
        let answer = send(&mut http, path, &[JSON, header], frames(&["null"])).await;
        assert_eq!(answer.status(), "4", "{header:?}");
        assert_eq!((clock::now() - start).as_millis(), millis);
    }
    let (_tx, rx) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let body = BoxBody::new(StreamBody::new(streams::Receive(rx)));
    let headers = [JSON, ("grpc-timeout", "2S")];
    let request = asked("/sample.Sample/Double", &headers).body(body).unwrap();
    let start = clock::now();
    let answer = answered(http.send_request(request).await.unwrap()).await;
    assert_eq!((answer.status(), (clock::now() - start).as_secs()), ("4", 2));
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_drops_the_handler_unless_it_is_detached() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for (endpoint, dropped) in [("Hang", 1), ("Detached", 1)] {
        let before = rig.started();
        let request = asked(&format!("/sample.Sample/{endpoint}"), &[JSON]);
        let pending = http.send_request(request.body(full(frames(&["null"]))).unwrap());
        let mut pending = Box::pin(pending);
        tokio::select! {
            _ = &mut pending => panic!("answered"),
            () = rig.until_started(before + 1) => {}
        }
        drop(pending);
        clock::sleep(Duration::from_millis(10)).await;
        assert_eq!(rig.dropped(), dropped, "{endpoint}");
    }
    rig.seen.release.notify_waiters();
    clock::sleep(Duration::from_millis(10)).await;
    assert_eq!((rig.dropped(), rig.seen.finished.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn messages_are_bounded_both_ways_and_the_connection_goes_on() {
    let rig = Rig::limited(|limits| limits.message.bytes_max = 1000);
    let mut http = http2(rig.dial()).await;
    for (length, status) in [(999, "0"), (1000, "0"), (1001, "8"), (10_000, "8")] {
        let body = format!("\"{}\"", "x".repeat(length - 2));
        let answer = send(&mut http, "/sample.Sample/Echo", &[JSON], frames(&[&body])).await;
        assert_eq!(answer.status(), status, "{length}");
        let answer = send(&mut http, "/sample.Sample/Double", &[JSON], frames(&[&body])).await;
        assert_eq!(answer.status(), if status == "0" { "3" } else { "8" }, "{length}");
    }
    // What a prefix claims is refused before it comes.
    let claimed = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    let answer = send(&mut http, "/sample.Sample/Echo", &[JSON], claimed).await;
    assert_eq!(answer.status(), "8");
}

#[tokio::test(start_paused = true)]
async fn gzip_is_read_within_the_limit_and_answered_to_those_who_send_it() {
    let rig = Rig::limited(|limits| limits.message.bytes_max = 100_000);
    let mut http = http2(rig.dial()).await;
    let body = |length: usize| {
        framed(format!("\"{}\"", "x".repeat(length - 2)).as_bytes(), Encoding::Gzip).unwrap()
    };
    let headers = [JSON, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    let answer = send(&mut http, "/sample.Sample/Echo", &headers, body(100_000)).await;
    assert_eq!((answer.status(), answer.messages[0].len()), ("0", 100_000));
    assert_eq!(answer.head["grpc-encoding"], "gzip");
    let answer = send(&mut http, "/sample.Sample/Echo", &headers, body(100_001)).await;
    assert_eq!(answer.status(), "8");
    // Not compressed, although it may be.
    let answer = send(&mut http, "/sample.Sample/Echo", &headers, frames(&["\"x\""])).await;
    assert_eq!(answer.texts(), ["\"x\""]);
    let answer = send(&mut http, "/sample.Sample/Echo", &[JSON], body(5000)).await;
    assert_eq!(answer.status(), "13");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_compression_is_answered_with_those_there_are() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let headers = [JSON, ("grpc-encoding", "zstd")];
    let answer = send(&mut http, "/sample.Sample/Echo", &headers, frames(&["\"x\""])).await;
    assert_eq!(answer.status(), "12");
    assert_eq!(answer.head["grpc-accept-encoding"], "gzip, identity");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_single_message_is_refused() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let cut = frames(&["\"x\""]).slice(..6);
    let flag = Bytes::from_static(&[7, 0, 0, 0, 1, b'1']);
    for (body, status) in
        [(Bytes::new(), "12"), (frames(&["1", "2"]), "12"), (cut, "13"), (flag, "13")]
    {
        let answer = send(&mut http, "/sample.Sample/Echo", &[JSON], body.clone()).await;
        assert_eq!(answer.status(), status, "{body:?}");
    }
    let got = http.send_request(
        Request::get("http://localhost/sample.Sample/Echo")
            .header("content-type", "application/grpc")
            .body(full(Bytes::new()))
            .unwrap(),
    );
    assert_eq!(answered(got.await.unwrap()).await.status(), "12");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let body = BoxBody::new(StreamBody::new(streams::Receive(rx)));
    let headers = [JSON, ("grpc-timeout", "60S")];
    let request = asked("/sample.Sample/Echo", &headers).body(body).unwrap();
    tx.send(Ok(Frame::data(frames(&["\"xyz\""]).slice(..7)))).await.unwrap();
    let start = clock::now();
    let answer = answered(http.send_request(request).await.unwrap()).await;
    assert_eq!((answer.status(), (clock::now() - start).as_secs()), ("4", 10));
    drop(tx);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http1_is_told_what_it_needs() {
    let rig = Rig::plain();
    let request = with(request("POST", "/sample.Sample/Echo", ""), JSON.0, JSON.1);
    let got = rig.send(request).await;
    assert_eq!(got.status, 505);
    assert!(got.error().detail().contains("HTTP/2"), "{got:?}");
}

async fn off_host(rig: &Rig) -> Http2 {
    let (here, there) = Pipe::pair();
    let port = Arc::clone(&rig.server.port);
    let member = port.roster.join(None, &port.scope.limits.connection).unwrap();
    let peer = Peer {
        remote: "10.0.0.9:1".into(),
        socket: None,
        origin: Origin::OffHost,
        proven: Proven::Nobody,
        bound: "test".into(),
        known: std::sync::OnceLock::new(),
        seat: Arc::clone(&member.seat),
    };
    let stream = Prefixed::new(bytes::BytesMut::new(), Stream::Pipe(there));
    port.scope.tasks.spawn("connection", {
        let face = Arc::clone(&port.face);
        async move {
            face.serve_http2(stream, peer).await;
            drop(member);
        }
    });
    http2(here).await
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_before_their_message_is_read() {
    let rig = Rig::plain();
    let mut http = off_host(&rig).await;
    // Were the body waited for, the call would hang.
    let (_tx, rx) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let body = BoxBody::new(StreamBody::new(streams::Receive(rx)));
    let request = asked("/sample.Sample/Echo", &[JSON]).body(body).unwrap();
    let answer = answered(http.send_request(request).await.unwrap()).await;
    assert_eq!(answer.status(), "16");
    let public = send(&mut http, "/sample.Sample/Public", &[JSON], frames(&["\"x\""])).await;
    assert_eq!(public.status(), "0");
    let missing = send(&mut http, "/sample.Sample/Ecko", &[JSON], frames(&["1"])).await.error();
    assert!(!missing.detail().contains("Sample.Echo"), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn foreign_pages_reach_no_endpoint() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let answer =
            send(&mut http, "/sample.Sample/Echo", &[JSON, header], frames(&["\"x\""])).await;
        assert_eq!(answer.status(), "7", "{header:?}");
    }
}
