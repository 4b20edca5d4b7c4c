//! Streams: messages that do not answer each other.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::*;
use crate::core::clock;
use crate::transport::mucp::tests::golden;

/// Opens a stream, or sends its next message.
fn send(endpoint: &str, more: &str, body: &str) -> Vec<u8> {
    let lines = format!(
        "Content-Type: application/json|Micro-Endpoint: Greeter.{endpoint}|Micro-Id: 7|Micro-Stream: 7{more}"
    );
    post(&lines, body)
}

fn end(endpoint: &str) -> Vec<u8> {
    send(endpoint, "|Micro-Error: EOS", "")
}

/// Sends everything at once and reads every answer.
async fn all(rig: &Rig, bytes: &[u8]) -> Vec<Message> {
    let mut pipe = rig.dial();
    pipe.write_all(bytes).await.unwrap();
    let mut reader = reader(pipe);
    let mut all = Vec::new();
    while let Some(message) = reader.next().await.unwrap() {
        all.push(message);
    }
    all
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_recorded_stream_is_answered_byte_for_byte_however_it_is_cut() {
    let rig = rig();
    let exchange = golden::exchange("server stream json");
    let expected = exchange.answer();
    let end = exchange.client.windows(6).rposition(|six| six == b"POST /").unwrap();
    for at in 1..=end {
        let (first, second) = exchange.client[..end].split_at(at);
        let mut pipe = rig.dial();
        pipe.write_all(first).await.unwrap();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        pipe.write_all(second).await.unwrap();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            assert!(pipe.read_buf(&mut got).await.unwrap() > 0);
        }
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected), "{at}");
        pipe.write_all(&exchange.client[end..]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_messages_in_lock_step_are_answered_byte_for_byte() {
    let rig = rig();
    let exchange = golden::exchange("bidi stream json");
    let text = String::from_utf8(exchange.client.clone()).unwrap();
    let posts: Vec<_> = text.match_indices("POST /").map(|(at, _)| at).collect();
    let expected = String::from_utf8(exchange.answer()).unwrap();
    let second = expected.rfind("HTTP/1.1").unwrap();
    let mut pipe = rig.dial();
    for (sent, expected) in
        [(&text[..posts[2]], &expected[..second]), (&text[posts[2]..posts[3]], &expected[second..])]
    {
        pipe.write_all(sent.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            assert!(pipe.read_buf(&mut got).await.unwrap() > 0);
        }
        assert_eq!(String::from_utf8_lossy(&got), *expected);
    }
    pipe.write_all(&text.as_bytes()[posts[3]..]).await.unwrap();
    let mut reader = reader(pipe);
    let last = reader.next().await.unwrap().unwrap();
    assert_eq!(last.headers.get("Micro-Error"), Some("EOS"));
    assert!(reader.next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn many_requests_get_one_response_after_their_end() {
    let rig = rig();
    let mut sent = send("Sum", "", "");
    for number in 1..=100 {
        sent.extend(send("Sum", "", &number.to_string()));
    }
    sent.extend(end("Sum"));
    let got = all(&rig, &sent).await;
    assert_eq!(bodies(&got), ["5050\n", ""]);
    assert_eq!(got[1].headers.get("Micro-Error"), Some("EOS"));
    assert_eq!(got[0].headers.get("X-Micro-Endpoint"), Some("Greeter.Sum"));
}

#[tokio::test(start_paused = true)]
async fn messages_both_ways_need_no_lock_step_and_keep_their_order() {
    let rig = rig();
    let mut sent = send("Echo", "", "{}");
    for number in 0..200 {
        sent.extend(send("Echo", "", &format!("{{\"name\":\"{number}\"}}")));
    }
    sent.extend(end("Echo"));
    let got = all(&rig, &sent).await;
    assert_eq!(got.len(), 201);
    for (number, message) in got[..200].iter().enumerate() {
        let body = std::str::from_utf8(&message.body).unwrap();
        assert_eq!(body, format!("{{\"msg\":\"{number}\"}}\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn streams_fail_in_a_header_and_a_refusal_leaves_the_connection_to_http() {
    let rig = rig();
    let mut sent = send("Count", "", "{}");
    sent.extend(send("Count", "", "{\"name\":\"fail\"}"));
    let got = all(&rig, &sent).await;
    assert_eq!(got.len(), 3);
    let said = error(&got[2]);
    assert_eq!((said.code(), said.detail()), (409, "on\npurpose"));
    for (bytes, code) in [
        (send("Count", "", "[1"), None),
        ([send("Count", "", "{}"), send("Count", "", "[1")].concat(), Some(400)),
        ([send("Echo", "", "{}"), send("Echo", "", "[1")].concat(), Some(400)),
        ([send("Sum", "", ""), send("Sum", "|Micro-Error: broken", "")].concat(), Some(500)),
        ([send("Sum", "", ""), b"nonsense\r\n\r\n".to_vec()].concat(), Some(400)),
        ([send("Sum", "", ""), send("Sum", "|Transfer-Encoding: chunked", "")].concat(), Some(400)),
        (
            [send("Sum", "", ""), post("Micro-Stream: 8|Micro-Endpoint: Greeter.Sum", "")].concat(),
            Some(400),
        ),
    ] {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match code {
            Some(code) => {
                assert_eq!(error(all(&rig, &bytes).await.last().unwrap()).code(), code, "{text}")
            }
            // The message that opens a stream means nothing; the request of it never comes.
            None => assert_eq!(error(&all(&rig, &bytes).await[0]).code(), 408),
        }
    }
    let mut pipe = rig.dial();
    pipe.write_all(&send("Nope", "", "")).await.unwrap();
    pipe.write_all(&send("Hello", "", "{\"name\":\"x\"}")).await.unwrap();
    let mut reader = reader(pipe);
    let refused = reader.next().await.unwrap().unwrap();
    assert_eq!(refused.headers.get("Micro-Error"), Some("rpc: can't find method Nope"));
    let unary = reader.next().await.unwrap().unwrap();
    assert_eq!(&unary.body[..], b"{\"msg\":\"Hello x\"}\n");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_says_the_end_drops_the_handler() {
    let greeter = Greeter::default();
    let seen = Arc::clone(&greeter.seen);
    let rig = Rig::new(|builder| builder.mount(greeter));
    for (count, last) in [(1, Vec::new()), (2, end("Watch"))] {
        let mut pipe = rig.dial();
        pipe.write_all(&send("Watch", "", "{}")).await.unwrap();
        pipe.write_all(&send("Watch", "", "{}")).await.unwrap();
        while seen.started.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
        pipe.write_all(&last).await.unwrap();
        if last.is_empty() {
            drop(pipe);
        } else {
            assert_eq!(pipe.read_buf(&mut Vec::new()).await.unwrap(), 0);
        }
        while seen.dropped.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.server.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_ended_and_a_silent_one_only_with_its_call() {
    let rig = rig();
    for (bytes, seconds) in [
        ([send("Sum", "", ""), b"POST / HT".to_vec()].concat(), 5),
        (
            [send("Sum", "", ""), b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n1".to_vec()]
                .concat(),
            10,
        ),
        (send("Count", "", ""), 10),
        (send("Sum", "|Timeout: 20000000000", ""), 20),
    ] {
        let start = clock::now();
        let got = all(&rig, &bytes).await;
        assert_eq!(error(got.last().unwrap()).code(), 408);
        let took = (clock::now() - start).as_secs();
        assert!((seconds..=seconds + 1).contains(&took), "{took} {seconds}");
    }
    let mut pipe = rig.dial();
    pipe.write_all(&send("Echo", "", "{}")).await.unwrap();
    clock::sleep(Duration::from_secs(600)).await;
    pipe.write_all(&send("Echo", "", "{\"name\":\"x\"}")).await.unwrap();
    let mut reader = reader(pipe);
    assert_eq!(&reader.next().await.unwrap().unwrap().body[..], b"{\"msg\":\"x\"}\n");
    let aged = reader.next().await.unwrap().unwrap();
    assert_eq!(error(&aged).code(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_ends_its_stream() {
    let greeter = Greeter::default();
    let rig = Rig::new(|builder| builder.mount(greeter));
    let mut pipe = rig.dial();
    pipe.write_all(&send("Echo", "", "{}")).await.unwrap();
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(60_000));
    let message = send("Echo", "", &body);
    let start = clock::now();
    while pipe.write_all(&message).await.is_ok() {}
    assert_eq!((clock::now() - start).as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_streams_when_it_cuts_the_rest() {
    let rig = rig();
    let mut pipe = rig.dial();
    pipe.write_all(&send("Echo", "", "{}")).await.unwrap();
    pipe.write_all(&send("Echo", "", "{\"name\":\"x\"}")).await.unwrap();
    let mut reader = reader(pipe);
    assert!(reader.next().await.unwrap().is_some());
    rig.server.port.scope.shutdown.drain();
    rig.server.port.scope.shutdown.close();
    assert!(reader.next().await.unwrap().is_none());
}
