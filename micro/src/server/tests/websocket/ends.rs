//! How conversations end, and what is left of them.

use super::*;
use crate::server::roster::Order;

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_takes_its_handler_along() {
    let rig = Rig::plain();
    for (count, goodbye) in [(1, Some(closing(1000))), (2, None)] {
        let mut client = rig.socket("Hang").await;
        client.say("null").await;
        rig.until_started(count).await;
        if let Some(goodbye) = goodbye {
            client.send(&goodbye).await;
            assert_eq!(client.all().await, [closed(1000)]);
        }
        drop(client);
        while rig.dropped() < count {
            tokio::task::yield_now().await;
        }
        rig.until_quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_outlives_its_caller() {
    let rig = Rig::plain();
    let mut client = rig.socket("Detached").await;
    client.say("null").await;
    rig.until_started(1).await;
    drop(client);
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!((rig.dropped(), rig.server.in_flight()), (0, 1));
    rig.seen.release.notify_waiters();
    while rig.dropped() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.seen.finished.load(Ordering::SeqCst), 1);
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_then_given_up() {
    let rig = Rig::plain();
    let mut client = rig.open("/sample/Sample.Hang", "timeout: 1m\r\n").await.unwrap();
    client.say("null").await;
    rig.until_started(1).await;
    let start = clock::now();
    assert_eq!(client.next().await, Seen::Ping);
    assert!((10..=20).contains(&(clock::now() - start).as_secs()));
    client.send(&frame(FIN | PONG, b"")).await;
    assert_eq!(client.next().await, Seen::Ping);
    assert_eq!(client.next().await, Seen::Gone);
    assert_eq!(rig.dropped(), 1);
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_calls_and_the_end_says_that_it_goes_away() {
    let rig = Rig::talking();
    let mut leaves = rig.open("/talk/Talk.Echo", "").await.unwrap();
    let mut stays = rig.open("/talk/Talk.Echo", "").await.unwrap();
    for client in [&mut leaves, &mut stays] {
        client.say("1").await;
        assert_eq!(client.next().await, says("1"));
    }
    let meanwhile = async {
        clock::sleep(Duration::from_secs(5)).await;
        leaves.say("2").await;
        assert_eq!(leaves.next().await, says("2"));
        leaves.say("").await;
        assert_eq!(leaves.all().await, [closed(1000)]);
        let refused = Client::over(rig.dial(), "/talk/Talk.Echo", "").await.err().unwrap();
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    };
    let (left, ()) = tokio::join!(rig.server.drain(after(20)), meanwhile);
    assert!(left > 0);
    rig.server.port.scope.shutdown.close();
    let seen = stays.all().await;
    assert!(seen.ends_with(&[closed(1001)]), "{seen:?}");
    clock::sleep(Duration::from_secs(2)).await;
    assert_eq!((rig.server.connections(), rig.server.in_flight()), (0, 0));
    assert_eq!(rig.server.port.scope.tasks.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_an_age() {
    let rig = Rig::limited(|limits| {
        limits.connection.age_max = Duration::from_secs(100);
        limits.connection.age_grace = Duration::from_secs(20);
    });
    let mut client = rig.socket("Double").await;
    let start = clock::now();
    // Progress: the connection ends.
    loop {
        match client.next().await {
            Seen::Ping => client.send(&frame(FIN | PONG, b"")).await,
            Seen::Gone => break,
            seen => assert_eq!(seen, closed(1001)),
        }
    }
    let age = (clock::now() - start).as_secs();
    assert!((120..=122).contains(&age), "{age}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_in_its_handshake_leaves_nothing() {
    let rig = Rig::plain();
    for turns in 0..8 {
        let mut pipe = rig.dial();
        let head = format!(
            "GET /sample/Sample.Hang HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\n{KEY}\r\n"
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        drop(pipe);
        rig.until_quiet().await;
    }
    let mut client = rig.socket("Hang").await;
    client.say("null").await;
    rig.until_started(1).await;
    rig.server.port.roster.tell(Order::Close);
    assert_eq!(client.all().await, [closed(1001)]);
    clock::sleep(Duration::from_secs(2)).await;
    assert_eq!((rig.server.connections(), rig.dropped()), (0, 1));
}
