//! Peers that are slow, or send too much.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_at_the_limit_passes_and_above_it_closes() {
    let rig = Rig::new(|builder| {
        let mut limits = Limits::default();
        limits.message.bytes_max = 1000;
        builder.mount(Talk).limits(limits)
    });
    for (length, passes) in [(1000, true), (1001, false), (10_000, false)] {
        let whole = vec![text(&"x".repeat(length))];
        let rest = length - 400;
        let parts = vec![frame(TEXT, &[b'x'; 400]), frame(FIN, &vec![b'x'; rest])];
        for frames in [whole, parts] {
            let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
            client.send(&frames.concat()).await;
            if passes {
                assert_eq!(client.next().await, says(&"x".repeat(length)));
            } else {
                assert_eq!(client.all().await, [closed(1009)], "{length}");
            }
        }
    }
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_declared_length_is_refused_before_its_payload() {
    let rig = Rig::talking();
    for length in [4 * 1024 * 1024 + 1, 1 << 32, usize::MAX >> 1] {
        let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
        client.send(&head(FIN | BINARY, length, 0x80)).await;
        client.send(&[0; 4]).await;
        let seen = client.next().await;
        assert!(matches!(seen, Seen::Closed(1009 | 1002, _)), "{length}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_without_end_are_bounded_as_one_message() {
    let rig = Rig::new(|builder| {
        let mut limits = Limits::default();
        limits.message.bytes_max = 1000;
        builder.mount(Talk).limits(limits)
    });
    let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
    client.send(&frame(TEXT, b"x")).await;
    for _ in 0..11 {
        client.send(&frame(0, &[b'x'; 100])).await;
    }
    assert_eq!(client.all().await, [closed(1009)]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_holds_its_producer_and_is_given_up() {
    let rig = Rig::talking();
    let mut client = rig.open("/talk/Talk.Flood", "").await.unwrap();
    client.say("null").await;
    clock::sleep(Duration::from_secs(5)).await;
    // Held: what it makes waits in the buffers of the connection.
    assert_eq!(rig.server.in_flight(), 2);
    assert_eq!(client.next().await, says("0"));
    clock::sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.server.in_flight(), 0, "a write without progress for ten seconds");
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_floods_waits_for_the_handler() {
    let rig = Rig::plain();
    let mut client = rig.socket("Double").await;
    let many = text("1").repeat(200_000);
    let sending = client.stream.write_all(&many);
    // Nobody reads the responses: the pipes fill up, and the peer has to wait.
    assert!(clock::timeout(Duration::from_secs(5), sending).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn pings_in_a_row_are_answered_without_a_queue() {
    let rig = Rig::talking();
    let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
    for round in 0..100_u8 {
        client.send(&frame(FIN | PING, &[round]).repeat(50)).await;
        let mut answered = 0;
        // Several may be answered at once, the last of them certainly.
        while let Ok(seen) = clock::timeout(Duration::from_millis(1), client.next()).await {
            assert_eq!(seen, Seen::Pong(vec![round]));
            answered += 1;
        }
        assert!((1..=50).contains(&answered), "{answered}");
    }
    client.say("1").await;
    assert_eq!(client.next().await, says("1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_native_protocol_ends_its_connection() {
    let rig = Rig::plain();
    let native = "sec-websocket-protocol: micro.native\r\n";
    for (sent, code) in [
        (text("hello"), 1003),
        (frame(FIN | BINARY, b"GET / HTTP/1.1\r\n\r\n"), 1000),
        (frame(FIN | BINARY, &[0xff; 4096]), 1000),
        // Nothing but the beginning of a preface: the handshake has its time.
        (frame(FIN | BINARY, &[crate::transport::native::PREFACE_FIRST]), 1000),
    ] {
        let (mut client, response) = Client::over(rig.dial(), "/", native).await.unwrap();
        assert!(response.contains("sec-websocket-protocol: micro.native\r\n"), "{response}");
        client.send(&sent).await;
        let start = clock::now();
        assert_eq!(client.all().await, [closed(code)]);
        assert!(clock::now() - start < Duration::from_secs(7));
    }
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_drips_in_ends_its_connection() {
    let rig = Rig::talking();
    let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
    client.say("1").await;
    assert_eq!(client.next().await, says("1"));
    let start = clock::now();
    client.send(&head(FIN | TEXT, 1_000_000, 0x80)).await;
    client.send(&[0; 4]).await;
    // Progress: the server gives up.
    while client.stream.write_all(b"x").await.is_ok() {
        clock::sleep(Duration::from_secs(1)).await;
    }
    assert!((clock::now() - start).as_secs() <= 40);
    rig.until_quiet().await;
}
