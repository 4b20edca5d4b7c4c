//! The claims on streams over sockets of the system, in real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::core::clock;
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::stream::Streaming;
use crate::transport::native::tests::flow::HELD_MAX;
use crate::transport::native::tests::lab::{FLOOD_BYTES, Fixture, Lab, byte, flood, source};
use crate::transport::native::tests::raw::scope;
use crate::transport::{Native, Transport};

async fn fixture() -> Fixture {
    let (server, client) = (scope(&Limits::default()), scope(&Limits::default()));
    let any: Address = "127.0.0.1:0".parse().unwrap();
    let lab = Arc::new(Lab::default());
    let address = Native.listen(&any, lab.clone(), &server).await.unwrap();
    let connection = Native.dial(&address, &client).await.unwrap();
    Fixture { connection, server, client, lab }
}

/// Waits until something holds; fails when it does not for long.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("in vain: {what}");
}

/// Waits until a count stays what it is, and returns it.
async fn settled(count: &AtomicUsize) -> usize {
    let (mut last, mut same) = (count.load(Ordering::Relaxed), 0);
    while same < 10 {
        clock::sleep(Duration::from_millis(10)).await;
        let now = count.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

#[tokio::test]
async fn a_stopped_reader_holds_its_producer_and_other_streams_go_on() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let mut stopped = lab.stream("Flood", b"", None).await;
    let held = settled(&lab.lab.made).await;
    assert!(held <= HELD_MAX && held * 2 > HELD_MAX, "{held} of {HELD_MAX}");
    let mut beside = lab.stream("Flood", b"", None).await;
    for _ in 0..5000 {
        assert_eq!(beside.next().await.unwrap().unwrap().len(), FLOOD_BYTES);
    }
    assert_eq!(lab.unary("Later", "a").await.unwrap(), "a");
    drop(beside);
    let made = settled(&lab.lab.made).await;
    assert!(made <= held + 5000 + HELD_MAX, "{made}");
    for _ in 0..2 * held {
        stopped.next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_stopped_handler_holds_its_caller_within_the_credit() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let held = lab.start("Hold", "", Some(flood(Arc::clone(&made))));
    let before = settled(&made).await;
    assert!(before <= HELD_MAX && before * 2 > HELD_MAX, "{before} of {HELD_MAX}");
    assert_eq!(lab.unary("Echo", "a").await.unwrap(), "a");
    drop(held);
}

#[tokio::test]
async fn dropping_either_end_resets_the_other() {
    let lab = fixture().await;
    let alive = Arc::new(());
    let watched = || {
        let held = Arc::clone(&alive);
        Some(source(Streaming::from_iter((0..).map(move |n| {
            assert!(Arc::strong_count(&held) > 1);
            vec![byte(n); 1000]
        }))))
    };
    let mut mirrored = lab.stream("Mirror", b"", watched()).await;
    mirrored.next().await.unwrap().unwrap();
    drop(mirrored);
    until("the caller's requests are dropped", || Arc::strong_count(&alive) == 1).await;
    let tasks = lab.server.tasks.clone();
    until("the handler's stream is dropped", || tasks.len() == 2).await;
    let mut ignored = lab.start("Ignore", "", watched());
    let pending =
        std::future::poll_fn(|task| std::task::Poll::Ready(ignored.poll_opened(task).is_pending()));
    assert!(pending.await);
    until("the requests of nobody are dropped", || Arc::strong_count(&alive) == 1).await;
    assert_eq!(lab.lab.alive.load(Ordering::Relaxed), 1);
    drop(ignored);
    until("the handler is dropped", || lab.lab.alive.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn ten_thousand_dropped_calls_and_streams_leave_no_task() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let tasks = (lab.server.tasks.len(), lab.client.tasks.len());
    let numbers = || Some(source(Streaming::from_iter((0..9).map(|n| vec![byte(n)]))));
    for n in 0..2000 {
        // A peer that has not heard of the resets yet has no room for more.
        lab.connection.ready().await.unwrap();
        let calls = [
            lab.try_start("Never", "a", None),
            lab.try_start("Echo", "a", None),
            lab.try_start("Flood", "", None),
            lab.try_start("Hold", "", numbers()),
            lab.try_start("Mirror", "", numbers()),
        ];
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        assert!(calls.iter().all(Result::is_ok));
        drop(calls);
    }
    lab.unary("Later", "a").await.unwrap();
    until("no task is left", || (lab.server.tasks.len(), lab.client.tasks.len()) == tasks).await;
    assert_eq!(lab.lab.alive.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_given_up_in_time() {
    // A queue of connections that nobody accepts: once it is full the system answers no more.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    let address: Address = address.parse().unwrap();
    let mut limits = Limits::default();
    limits.connection.dial_timeout = Duration::from_millis(200);
    let scope = scope(&limits);
    let (mut kept, mut refused) = (Vec::new(), None);
    for _ in 0..20 {
        let began = clock::now();
        match Native.dial(&address, &scope).await {
            Ok(connection) => kept.push(connection),
            Err(error) => {
                refused = Some((error, clock::now() - began));
                break;
            }
        }
    }
    let (error, took) = refused.expect("the queue is full at some time");
    assert_eq!(error.retry(), crate::core::error::Retry::Safe);
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(1), "{took:?}");
}
