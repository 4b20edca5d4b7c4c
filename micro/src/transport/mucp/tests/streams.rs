//! Streams against the bytes of go-micro's server.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::golden;
use super::unary::extra;
use crate::codec::envelope::Envelope;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Exchange, Head, Route};
use crate::core::limits::Limits;
use crate::core::net::{Pipe, Stream};
use crate::core::shutdown::TaskTracker;
use crate::core::stream::{BoxSource, MessageSource, RawStream, Sender, Streaming};
use crate::transport::mucp::request::{Request, form};
use crate::transport::mucp::stream::{Call, conclude, talk};

/// A stream of messages as a source.
struct Source(RawStream);

impl MessageSource for Source {
    fn poll_encode(
        mut self: std::pin::Pin<&mut Self>,
        task: &mut std::task::Context<'_>,
        out: &mut Vec<u8>,
    ) -> std::task::Poll<Option<Result<()>>> {
        let next = std::pin::pin!(self.0.next()).poll(task);
        next.map(|next| next.map(|message| message.map(|message| out.extend_from_slice(&message))))
    }
}

fn source() -> (Sender<Bytes>, Option<BoxSource>) {
    let (sender, stream) = Streaming::channel(16);
    (sender, Some(Box::pin(Source(stream))))
}

/// A stream to a peer that the test plays.
struct Talk {
    exchange: Exchange,
    peer: Pipe,
    sent: BytesMut,
    tasks: TaskTracker,
}

fn begin(
    kind: CallKind,
    (endpoint, number): (&str, u64),
    (body, source): (&'static str, Option<BoxSource>),
) -> Talk {
    let route = Route::new("greeter", endpoint, kind);
    let mut head = Head::new(&route, clock::now(), ContentType::Json);
    head.extra = extra();
    let request = Request::new(&head, form(Envelope::Bare, &ContentType::Json), number);
    let body = request.seal(body.as_bytes()).unwrap();
    let (here, peer) = Pipe::pair();
    let tasks = TaskTracker::new();
    let exchange = Exchange::relayed(&tasks, "test", 1000, None, |mut line| async move {
        let (limits, mut opened) = (Limits::default(), false);
        let call = Call { request, body, source, kind };
        let host = ("127.0.0.1:38707", &limits);
        let outcome = talk(Stream::Pipe(here), host, call, (&mut line, &mut opened)).await;
        conclude(line, opened, outcome);
    });
    Talk { exchange, peer, sent: BytesMut::new(), tasks }
}

impl Talk {
    /// Reads until as many bytes were sent.
    async fn read(&mut self, bytes: usize) -> String {
        while self.sent.len() < bytes {
            assert!(self.peer.read_buf(&mut self.sent).await.unwrap() > 0, "{:?}", self.sent);
        }
        String::from_utf8(self.sent.split_to(bytes).to_vec()).unwrap()
    }

    /// Reads until the client has ended.
    async fn rest(&mut self) -> String {
        while self.peer.read_buf(&mut self.sent).await.unwrap() > 0 {}
        String::from_utf8(self.sent.split().to_vec()).unwrap()
    }

    async fn opened(mut self) -> (RawStream, Pipe, TaskTracker) {
        std::future::poll_fn(|task| self.exchange.poll_opened(task)).await.unwrap();
        (self.exchange.into_stream(), self.peer, self.tasks)
    }

    async fn reply(&mut self) -> Result<Bytes> {
        std::future::poll_fn(|task| self.exchange.poll_reply(task)).await.result
    }
}

fn message(extra: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// What go-micro's client sends, with the request in the message that opens the stream, too.
fn server_stream() -> String {
    let text = String::from_utf8(golden::exchange("server stream json").client).unwrap();
    text.replacen("{\"name\":\"\"}", "{\"name\":\"n\"}", 1).replacen("Length: 12", "Length: 13", 1)
}

/// What go-micro's client sends, with nothing in the message that opens the stream.
fn bidi_stream() -> String {
    let text = String::from_utf8(golden::exchange("bidi stream json").client).unwrap();
    text.replacen("{\"name\":\"\"}\n", "0\r\n\r\n", 1).replacen(
        "Content-Length: 12",
        "Transfer-Encoding: chunked",
        1,
    )
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_responses_is_asked_for_and_closed_as_go_micro_does() {
    let expected = server_stream();
    let end = expected.rfind("POST /").unwrap();
    let call = ("Greeter.Count", 15);
    let mut talk = begin(CallKind::ServerStream, call, ("{\"name\":\"n\"}", None));
    assert_eq!(talk.read(end).await, expected[..end]);
    let answer = golden::exchange("server stream json").answer();
    talk.peer.write_all(&answer).await.unwrap();
    assert_eq!(talk.rest().await, expected[end..]);
    let (mut stream, _, _) = talk.opened().await;
    assert_eq!(stream.next().await.unwrap().unwrap(), "{\"msg\":\"n 1\"}\n");
    assert_eq!(stream.next().await.unwrap().unwrap(), "{\"msg\":\"n 1\"}\n");
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_go_micros_server_streams_is_understood_however_it_is_cut() {
    let answer = golden::exchange("server stream json").answer();
    for at in 0..answer.len() {
        let call = ("Greeter.Count", 15);
        let mut talk = begin(CallKind::ServerStream, call, ("{\"name\":\"n\"}", None));
        let (first, second) = answer.split_at(at);
        talk.peer.write_all(first).await.unwrap();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        talk.peer.write_all(second).await.unwrap();
        let (stream, peer, _) = talk.opened().await;
        assert_eq!(stream.collect(10).await.unwrap().len(), 2, "{at}");
        drop(peer);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_in_lock_step_go_both_ways_as_go_micro_sends_them() {
    let (sender, source) = source();
    let expected = bidi_stream();
    let posts: Vec<_> = expected.match_indices("POST /").map(|(at, _)| at).collect();
    let answers = golden::exchange("bidi stream json").answer();
    let answers = String::from_utf8(answers).unwrap();
    let second = answers.rfind("HTTP/1.1").unwrap();
    let mut talk = begin(CallKind::Bidi, ("Greeter.Echo", 16), ("", source));
    assert_eq!(talk.read(posts[1]).await, expected[..posts[1]]);
    sender.send("{\"name\":\"m0\"}".into()).await.unwrap();
    assert_eq!(talk.read(posts[2] - posts[1]).await, expected[posts[1]..posts[2]]);
    let (mut sent, mut peer) = (BytesMut::new(), talk.peer);
    std::future::poll_fn(|task| talk.exchange.poll_opened(task)).await.unwrap();
    let mut stream = talk.exchange.into_stream();
    peer.write_all(&answers.as_bytes()[..second]).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "{\"msg\":\"m0\"}\n");
    sender.send("{\"name\":\"m1\"}".into()).await.unwrap();
    while sent.len() < posts[3] - posts[2] {
        peer.read_buf(&mut sent).await.unwrap();
    }
    assert_eq!(sent, expected[posts[2]..posts[3]]);
    peer.write_all(&answers.as_bytes()[second..]).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "{\"msg\":\"m1\"}\n");
    drop(sender);
    sent.clear();
    while sent.len() < expected.len() - posts[3] {
        peer.read_buf(&mut sent).await.unwrap();
    }
    assert_eq!(sent, expected[posts[3]..]);
    peer.write_all(message("Micro-Error: EOS\r\n", "").as_bytes()).await.unwrap();
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_requests_gets_its_one_response() {
    let (sender, source) = source();
    let mut talk = begin(CallKind::ClientStream, ("Greeter.Sum", 17), ("", source));
    for text in ["1", "2"] {
        sender.send(text.into()).await.unwrap();
    }
    drop(sender);
    // Whoever answers has read all requests: an answer before their end stops them.
    let mut sent = String::new();
    while !sent.contains("Micro-Error: EOS") {
        let mut more = [0; 1024];
        let count = talk.peer.read(&mut more).await.unwrap();
        sent.push_str(std::str::from_utf8(&more[..count]).unwrap());
    }
    let answer = message("Micro-Stream: 17\r\n", "3\n") + &message("Micro-Error: EOS\r\n", "");
    talk.peer.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(talk.reply().await.unwrap(), "3\n");
    sent.push_str(&talk.rest().await);
    assert!(sent.contains("\r\n\r\n1\nPOST /") && sent.contains("\r\n\r\n2\nPOST /"), "{sent}");
    assert_eq!(sent.matches("Micro-Error: EOS").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_a_stream_whoever_it_is_of() {
    for (answer, code) in [
        (message("Micro-Error: {\"id\":\"a\",\"code\":409,\"detail\":\"b\"}\r\n", ""), 409),
        (message("X-Micro-Error: plain failure\r\n", ""), 500),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(), 503),
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("HTTP/1.1 200 OK\r\nContent-Len".to_owned(), 503),
        (String::new(), 503),
    ] {
        let call = ("Greeter.Count", 15);
        let mut talk = begin(CallKind::ServerStream, call, ("{}", None));
        let all = message("", "1") + &answer;
        talk.peer.write_all(all.as_bytes()).await.unwrap();
        let (mut stream, peer, _) = talk.opened().await;
        drop(peer);
        assert_eq!(stream.next().await.unwrap().unwrap(), "1");
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{answer}");
        assert!(stream.next().await.is_none());
    }
    let (sender, source) = source();
    let mut talk = begin(CallKind::ClientStream, ("Greeter.Sum", 17), ("", source));
    sender.fail(Error::conflict("a", "b")).await.unwrap();
    while !String::from_utf8_lossy(&talk.sent).contains("Micro-Error: {\"id\":\"a\",\"code\":409") {
        assert!(talk.peer.read_buf(&mut talk.sent).await.unwrap() > 0, "{:?}", talk.sent);
    }
    let answer = message("Micro-Error: EOS\r\n", "");
    talk.peer.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(talk.reply().await.unwrap_err().code(), 500);
}

#[tokio::test(start_paused = true)]
async fn who_stops_reading_closes_the_connection_and_leaves_no_task() {
    let call = ("Greeter.Count", 15);
    let mut talk = begin(CallKind::ServerStream, call, ("{}", None));
    talk.peer.write_all(message("", "1").as_bytes()).await.unwrap();
    let (mut stream, mut peer, tasks) = talk.opened().await;
    assert_eq!(stream.next().await.unwrap().unwrap(), "1");
    drop(stream);
    let mut rest = Vec::new();
    while peer.read_buf(&mut rest).await.unwrap() > 0 {}
    assert_eq!(tasks.wait(clock::after(clock::now(), Duration::from_secs(1))).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_holds_up_the_peer_and_is_no_failure() {
    let (sender, source) = source();
    let mut talk = begin(CallKind::Bidi, ("Greeter.Echo", 16), ("", source));
    for _ in 0..16 {
        sender.send(vec![b'1'; 60_000].into()).await.unwrap();
    }
    // More than the window, so that the client stops reading; then nothing for a long time.
    for _ in 0..100 {
        talk.peer.write_all(message("", &"x".repeat(100)).as_bytes()).await.unwrap();
    }
    clock::sleep(Duration::from_secs(60)).await;
    let (mut stream, mut peer, _tasks) = talk.opened().await;
    for _ in 0..100 {
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 100);
    }
    drop(sender);
    let mut all = Vec::new();
    while !all.ends_with(b"0\r\n\r\n") || all.len() < 900_000 {
        assert!(peer.read_buf(&mut all).await.unwrap() > 0);
    }
    peer.write_all(message("Micro-Error: EOS\r\n", "").as_bytes()).await.unwrap();
    assert!(stream.next().await.is_none());
}
