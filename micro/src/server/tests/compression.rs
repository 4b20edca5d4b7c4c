//! Compressed bodies.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};

use super::*;

fn packed(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

fn unpacked(bytes: &[u8]) -> String {
    let mut decoder = GzDecoder::new(Vec::new());
    decoder.write_all(bytes).unwrap();
    String::from_utf8(decoder.finish().unwrap()).unwrap()
}

fn sent(endpoint: &str, body: Bytes, coding: &'static str) -> Request<Full<Bytes>> {
    with(post(endpoint, ""), "content-encoding", coding).map(|_| Full::new(body))
}

/// Sends a request and keeps the bytes of the response.
async fn bytes(rig: &Rig, request: Request<Full<Bytes>>) -> (http::HeaderMap, Bytes) {
    let mut http = rig.http1().await;
    let (parts, body) = http.send_request(request).await.unwrap().into_parts();
    (parts.headers, body.collect().await.unwrap().to_bytes())
}

#[tokio::test(start_paused = true)]
async fn compressed_requests_are_read() {
    let rig = Rig::plain();
    let text = format!("\"{}\"", "ab".repeat(10_000));
    let got = rig.send(sent("Echo", packed(&text), "gzip")).await;
    assert_eq!((got.status, got.body), (200, text));
    assert_eq!(rig.send(sent("Sum", packed("1\n2\n3\n"), "gzip")).await.body, "6");
    assert_eq!(rig.send(sent("Echo", "\"x\"".into(), "identity")).await.body, "\"x\"");
    let broken = rig.send(sent("Echo", "\"x\"".into(), "gzip")).await;
    assert_eq!((broken.status, broken.error().code()), (400, 400));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_compressed_otherwise_is_told_how_it_may_be() {
    let rig = Rig::plain();
    let got = rig.send(sent("Echo", "\"x\"".into(), "br")).await;
    assert_eq!((got.status, got.error().code()), (415, 415));
    assert_eq!(got.headers["accept-encoding"], "gzip, deflate");
}

#[tokio::test(start_paused = true)]
async fn a_bomb_costs_no_more_than_a_message() {
    let rig = Rig::limited(|limits| limits.message.bytes_max = 100_000);
    let noise: String = (0..40_000).map(|_| fastrand::alphanumeric()).collect();
    for (text, status) in [
        (format!("\"{noise}\""), 200),
        // Past the limit of a message.
        (format!("\"{noise}{noise}{noise}\""), 413),
        // Within neither.
        (" ".repeat(50_000_000), 413),
    ] {
        let got = rig.send(sent("Echo", packed(&text), "gzip")).await;
        assert_eq!(got.status, status, "{}", text.len());
    }
}

#[tokio::test(start_paused = true)]
async fn responses_are_compressed_for_those_who_ask_if_it_is_worth_while() {
    let rig = Rig::plain();
    for length in [1021, 1022, 1023, 60_000, 300_000] {
        let text = format!("\"{}\"", "x".repeat(length));
        let asked = with(post("Echo", &text), "accept-encoding", "br, gzip");
        let (headers, body) = bytes(&rig, asked).await;
        let long = text.len() >= 1024;
        assert_eq!(headers.contains_key("content-encoding"), long, "{length}");
        assert_eq!(headers.contains_key("vary"), long);
        if long {
            assert!(body.len() < text.len() / 10, "{}", body.len());
            assert_eq!(unpacked(&body), text);
        }
        let plain = rig.call("Echo", &text).await;
        assert_eq!((plain.body.as_str(), plain.headers.contains_key("vary")), (&*text, long));
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_compressed_stream_can_be_read_when_it_is_sent() {
    let rig = Rig::plain();
    let count = with(post("Count", "3"), "accept-encoding", "gzip");
    let (headers, body) = bytes(&rig, count).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(unpacked(&body), "0\n1\n2\n");
    let mut http = http2(rig.dial()).await;
    let (mut sender, body) = futures_body();
    let request = Request::post("http://localhost/sample/Sample.Double")
        .header("accept-encoding", "gzip")
        .body(body)
        .unwrap();
    let mut response = http.send_request(request).await.unwrap().into_body();
    let mut decoder = GzDecoder::new(Vec::new());
    for n in 1..4 {
        sender.send(format!("{n}\n")).await;
        let want = format!("{}\n", n * 2);
        // Progress: each turn reads a frame.
        while !String::from_utf8_lossy(decoder.get_ref()).ends_with(&want) {
            let frame = response.frame().await.unwrap().unwrap();
            decoder.write_all(&frame.into_data().unwrap()).unwrap();
            decoder.flush().unwrap();
        }
    }
}

struct Feed(mpsc::Sender<String>);

impl Feed {
    async fn send(&mut self, text: String) {
        self.0.send(text).await.unwrap();
    }
}

/// A body that is fed while it is sent.
fn futures_body() -> (Feed, http_body_util::combinators::BoxBody<Bytes, io::Error>) {
    struct Fed(mpsc::Receiver<String>);
    impl hyper::body::Body for Fed {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            task: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<io::Result<hyper::body::Frame<Bytes>>>> {
            let text = std::task::ready!(self.0.poll_recv(task));
            std::task::Poll::Ready(text.map(|text| Ok(hyper::body::Frame::data(text.into()))))
        }
    }
    let (sender, receiver) = mpsc::channel(1);
    (Feed(sender), Fed(receiver).boxed())
}
