//! Streams over HTTP.

use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;

use super::*;

#[tokio::test(start_paused = true)]
async fn responses_stream_as_lines_as_events_or_as_values() {
    let rig = Rig::plain();
    let lines = rig.call("Count", "3").await;
    assert_eq!((lines.status, lines.body.as_str()), (200, "0\n1\n2\n"));
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let events = rig.send(with(post("Count", "2"), "accept", "text/event-stream")).await;
    assert_eq!(events.body, "data: 0\n\ndata: 1\n\nevent: end\ndata: {}\n\n");
    assert_eq!(events.headers["content-type"], "text/event-stream");
    let values = rig.send(with(post("Count", "3"), "accept", "application/msgpack")).await;
    assert_eq!(values.body, "\0\u{1}\u{2}");
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_within_a_stream_is_its_last_line() {
    let rig = Rig::plain();
    let failed = rig.call("Count", "8").await;
    let error =
        "{\"error\":{\"id\":\"\",\"code\":423,\"detail\":\"on purpose\",\"status\":\"Locked\"}}";
    assert_eq!((failed.status, failed.body), (200, format!("0\n{error}\n")));
    let panicked = rig.call("Count", "20").await;
    assert!(panicked.body.starts_with("0\n1\n"), "{panicked:?}");
    assert!(panicked.body.contains("{\"error\":") && panicked.body.contains("500"), "{panicked:?}");
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_stream_as_lines() {
    let rig = Rig::plain();
    assert_eq!(rig.call("Sum", "1\n2\n\n3").await.body, "6");
    assert_eq!(rig.call("Sum", "").await.body, "0");
    assert_eq!(rig.call("Sum", "1\nx\n").await.status, 400);
    let binary = with(post("Sum", "\u{1}"), "content-type", "text/plain");
    assert_eq!(rig.send(binary).await.status, 415);
}

#[tokio::test(start_paused = true)]
async fn streams_both_ways_need_http2() {
    let rig = Rig::plain();
    let got = rig.call("Double", "1\n").await;
    assert_eq!(got.status, 501);
    assert!(got.error().detail().contains("WebSocket"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn over_http2_requests_and_responses_interleave() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let (tx, rx) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let body = StreamBody::new(Receive(rx));
    let request = Request::post("http://localhost/sample/Sample.Double").body(BoxBody::new(body));
    let response = http.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    for (number, expected) in [("1\n", "2\n"), ("21\n", "42\n")] {
        tx.send(Ok(Frame::data(Bytes::from_static(number.as_bytes())))).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), expected);
    }
    assert_eq!(rig.server.in_flight(), 1);
    drop(tx);
    let rest = body.collect().await.unwrap().to_bytes();
    assert_eq!((rest.len(), rig.server.in_flight()), (0, 0));
}

pub(super) struct Receive<T>(pub(super) mpsc::Receiver<T>);

impl<T> futures_core::Stream for Receive<T> {
    type Item = T;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        task: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.poll_recv(task)
    }
}

#[tokio::test(start_paused = true)]
async fn http2_calls_and_errors_are_those_of_http1() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for (endpoint, body, status, expected) in
        [("Echo", "\"x\"", 200, Some("\"x\"")), ("Fail", "", 409, None), ("Panic", "", 500, None)]
    {
        let uri = format!("http://localhost/sample/Sample.{endpoint}");
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let request = Request::post(uri).body(BoxBody::new(body)).unwrap();
        let got = got(http.send_request(request).await.unwrap()).await;
        assert_eq!(got.status, status, "{endpoint}");
        assert!(expected.is_none_or(|expected| expected == got.body));
    }
    assert_eq!((rig.server.in_flight(), rig.server.connections()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_no_form_is_refused_before_its_handler_runs() {
    let rig = Rig::plain();
    let got = rig.send(with(post("Count", "3"), "accept", "text/plain")).await;
    assert_eq!((got.status, rig.started()), (406, 0), "{got:?}");
    assert_eq!((rig.call("Count", "3").await.status, rig.started()), (200, 1));
}
