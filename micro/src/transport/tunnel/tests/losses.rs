//! What is lost, doubled or gone, and what calls learn of it.

use std::time::Duration;

use super::bus::{Fault, Local};
use super::{Wire, over, scope, until};
use crate::core::clock;
use crate::core::error::Retry;
use crate::core::limits::Limits;
use crate::transport::native::tests::lab::{Lab, reply};

/// The kinds of messages.
const DATA: u8 = 4;
const CREDIT: u8 = 5;
const BEAT: u8 = 6;

#[tokio::test(start_paused = true)]
async fn a_message_that_is_lost_or_doubled_breaks_its_session_and_leaves_the_outcome_unknown() {
    for fault in [Fault::Lose, Fault::Double] {
        let wire = Wire::open().await;
        assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
        let running = wire.lab.start("Later", "b", None);
        until("it runs", || wire.alive() == 1).await;
        // The answer, which nothing follows but a beat.
        wire.bus.harm_next(DATA, fault);
        let began = clock::now();
        let result = reply(running).await;
        match (fault, result) {
            // The first of both was good, and came before its double broke the session.
            (Fault::Double, Ok(answer)) => assert_eq!(answer, "b"),
            (_, result) => {
                let error = result.unwrap_err();
                assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{error}");
                assert!(error.detail().contains("came where"), "{error}");
                assert!(clock::now() - began < Duration::from_millis(1500));
            }
        }
        until("the session ends", || !wire.lab.connection.is_open()).await;
        until("the other end as well", || wire.bus.names().len() == 1).await;
        // Another session is as good as the first was.
        wire.dial().await.unwrap();
        wire.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_credit_or_a_beat_that_is_lost_is_missed_as_well() {
    for kind in [CREDIT, BEAT] {
        let wire = Wire::open().await;
        wire.bus.harm_next(kind, Fault::Lose);
        let _answer = wire.lab.unary("Echo", vec![7; 400_000]).await;
        until("the session ends", || !wire.lab.connection.is_open()).await;
        wire.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_is_noticed_while_a_call_waits() {
    let wire = Wire::open().await;
    let running = wire.lab.start("Never", "", None);
    until("it runs", || wire.alive() == 1).await;
    wire.lab.server.tasks.abort_all();
    let began = clock::now();
    let error = reply(running).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Unknown);
    assert!(error.detail().contains("the peer is gone"), "{error}");
    assert!(clock::now() - began < Duration::from_secs(2));
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_is_noticed_by_its_handler() {
    let wire = Wire::open().await;
    let _running = wire.lab.start("Never", "", None);
    until("it runs", || wire.alive() == 1).await;
    let names = wire.bus.names();
    let ends: Vec<_> = names.iter().filter(|name| name.contains("session")).collect();
    assert_eq!(ends.len(), 2);
    for end in ends {
        wire.bus.kill(end);
    }
    until("the handler is dropped", || wire.alive() == 0).await;
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_at_rest_says_nothing_but_pings() {
    let wire = Wire::open().await;
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
    clock::sleep(Duration::from_secs(15)).await;
    let before = wire.bus.sent(BEAT);
    assert!((10..=30).contains(&before), "{before} beats");
    clock::sleep(Duration::from_secs(30)).await;
    assert_eq!(wire.bus.sent(BEAT), before);
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_leaves_ends_calls_at_once_and_serves_again_when_it_is_back() {
    let wire = Wire::open().await;
    let running = wire.lab.start("Never", "", None);
    until("it runs", || wire.alive() == 1).await;
    wire.bus.leave();
    let began = clock::now();
    let error = reply(running).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Unknown);
    assert!(error.detail().contains("the bus is away"), "{error}");
    let error = wire.dial().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Safe);
    assert!(error.detail().contains("the bus is away"), "{error}");
    assert!(clock::now() - began < Duration::from_millis(100));
    until("the handler is dropped", || wire.alive() == 0).await;
    clock::sleep(Duration::from_secs(60)).await;
    wire.bus.come_back();
    clock::sleep(Duration::from_secs(2)).await;
    wire.dial().await.unwrap();
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_waits_for_a_bus_that_is_away() {
    let bus = Local::default();
    bus.leave();
    let (tunnel, scope) = (over(&bus), scope(&Limits::default()));
    let address = tunnel.own_address();
    let lab = std::sync::Arc::new(Lab::default());
    tunnel.listen(&address, lab, &scope).await.unwrap();
    assert!(tunnel.dial(&address, &scope).await.is_err());
    bus.come_back();
    clock::sleep(Duration::from_secs(2)).await;
    tunnel.dial(&address, &scope).await.unwrap();
}
