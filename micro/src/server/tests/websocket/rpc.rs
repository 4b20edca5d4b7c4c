//! JSON-RPC over WebSocket.

use super::*;
use crate::server::roster::Order;

fn request(method: &str, params: &str, id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{id}}}"#)
}

#[tokio::test(start_paused = true)]
async fn documents_are_answered_as_they_are_done() {
    let rig = Rig::plain();
    let mut client = rig.open("/rpc", "").await.unwrap();
    client.say(&request("Sample.Hang", "[]", 1)).await;
    rig.until_started(1).await;
    client.say(&request("sample.Sample.Echo", "[\"x\"]", 2)).await;
    assert_eq!(client.next().await, says(r#"{"jsonrpc":"2.0","result":"x","id":2}"#));
    client.say(r#"{"jsonrpc":"2.0","method":"Sample.Echo","params":["x"]}"#).await;
    client.say("{").await;
    let parse = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#;
    assert_eq!(client.next().await, says(parse), "the notification has no answer");
    rig.seen.release.notify_waiters();
    assert_eq!(client.next().await, says(r#"{"jsonrpc":"2.0","result":"done","id":1}"#));
    client.send(&closing(1000)).await;
    assert_eq!(client.all().await, [closed(1000)]);
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn as_many_documents_run_as_the_limit_says() {
    let rig = Rig::plain();
    for sent in [16_usize, 18, 160] {
        let before = rig.started();
        let mut client = rig.open("/rpc", "timeout: 1m\r\n").await.unwrap();
        for id in 0..sent {
            client.say(&request("Sample.Hang", "[]", u32::try_from(id).unwrap())).await;
        }
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.started() - before, sent.min(16), "{sent}");
        drop(client);
        clock::sleep(Duration::from_secs(1)).await;
        // The end of a connection is behind what was not read of it.
        if sent > 16 {
            clock::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(rig.server.in_flight(), 0, "they ended with the connection");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_makes_room_and_one_that_waits_does_not() {
    let rig = Rig::plain();
    let mut client = rig.open("/rpc", "timeout: 30m\r\n").await.unwrap();
    client.say(&request("Sample.Hang", "[]", 1)).await;
    rig.until_started(1).await;
    let start = clock::now();
    let mut released = false;
    // Progress: the connection ends.
    let ending = loop {
        match client.next().await {
            Seen::Ping => client.send(&frame(FIN | PONG, b"")).await,
            Seen::Text(_) => {}
            seen => break seen,
        }
        if clock::now() - start > Duration::from_secs(400) && !released {
            released = true;
            rig.seen.release.notify_waiters();
        }
    };
    assert_eq!(ending, closed(1001));
    assert!(released);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_answers_under_way() {
    let rig = Rig::plain();
    let (mut busy, mut idle) =
        (rig.open("/rpc", "").await.unwrap(), rig.open("/rpc", "").await.unwrap());
    busy.say(&request("Sample.Hang", "[]", 1)).await;
    rig.until_started(1).await;
    rig.server.port.roster.tell(Order::Drain);
    assert_eq!(idle.all().await, [closed(1001)]);
    busy.say(&request("Sample.Echo", "[\"x\"]", 2)).await;
    let last = says(r#"{"jsonrpc":"2.0","result":"x","id":2}"#);
    assert_eq!(busy.next().await, last, "what is on its way is answered, if by a refusal");
    rig.seen.release.notify_waiters();
    let answer = says(r#"{"jsonrpc":"2.0","result":"done","id":1}"#);
    assert_eq!(busy.all().await, [answer, closed(1001)]);
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn binary_messages_are_no_documents() {
    let rig = Rig::plain();
    let mut client = rig.open("/rpc", "").await.unwrap();
    client.send(&frame(FIN | BINARY, b"{}")).await;
    assert_eq!(client.all().await, [closed(1003)]);
}
