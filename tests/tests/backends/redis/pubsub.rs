//! The broker on publish and subscribe, and what becomes of it when its server fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, Message, RedisPubSub, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro_tests::server::{REDIS, redis, trial};
use tokio::sync::{Semaphore, mpsc};

use super::{connect, pause, until};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("redis::pubsub_subscriptions_are_made_again", &REDIS, made_again),
        trial("redis::pubsub_outlasts_a_paused_server", &REDIS, paused),
        trial("redis::pubsub_drops_and_counts_what_has_no_room", &REDIS, dropped),
        trial("redis::pubsub_has_no_queues_and_says_so", &REDIS, no_queues),
    ]
}

fn message(topic: &str) -> Message {
    Message::new(topic, ContentType::Json, "{}".into())
}

fn sending(sender: mpsc::Sender<Delivery>) -> Handler {
    Arc::new(move |delivery| {
        let _full = sender.try_send(delivery).is_err();
        Box::pin(async { Ack::Ack })
    })
}

async fn made_again() {
    let mut server = redis();
    server.kill();
    let broker = RedisPubSub::new(connect(&server), "p", &Limits::default());
    let error = broker.publish(message("a.b")).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    let (sender, mut came) = mpsc::channel(1000);
    let subscribe = async |topic: &str| {
        broker.subscribe(topic, SubscribeOptions::default(), sending(sender.clone())).await
    };
    assert_eq!(subscribe("a.b").await.unwrap_err().code(), 503);
    server.start_again();
    let (_one, _) = until(PATIENCE, || async { subscribe("a.b").await.ok() }).await;
    let _two = subscribe("a.*").await.unwrap();
    let mut gaps = broker.gaps();
    for _ in 0..2 {
        broker.publish(message("a.b")).await.unwrap();
        for _ in 0..2 {
            tokio::time::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
        }
        let before = *gaps.borrow_and_update();
        server.kill();
        server.start_again();
        let both = gaps.wait_for(|gaps| *gaps >= before + 2);
        tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap();
        until(PATIENCE, || async { broker.publish(message("warm.up")).await.ok() }).await;
    }
}

async fn paused() {
    let server = redis();
    let broker = RedisPubSub::new(connect(&server), "p", &Limits::default());
    let (sender, mut came) = mpsc::channel(1000);
    let _one = broker.subscribe("t", SubscribeOptions::default(), sending(sender)).await.unwrap();
    server.pause();
    tokio::time::sleep(pause()).await;
    server.resume();
    let began = Instant::now();
    while came.try_recv().is_err() {
        let _either = broker.publish(message("t")).await.is_ok();
        assert!(began.elapsed() < PATIENCE);
    }
    println!("delivered {:?} after the server went on", began.elapsed());
}

async fn dropped() {
    let server = redis();
    let mut limits = Limits::default();
    limits.broker.pending_messages_max = 5;
    let broker = RedisPubSub::new(connect(&server), "p", &limits);
    let gate = Arc::new(Semaphore::new(0));
    let (held, (sender, mut came)) = (Arc::clone(&gate), mpsc::channel(100));
    let handler: Handler = Arc::new(move |delivery| {
        let (held, sender) = (Arc::clone(&held), sender.clone());
        Box::pin(async move {
            held.acquire().await.unwrap().forget();
            let _full = sender.try_send(delivery).is_err();
            Ack::Ack
        })
    });
    let _one = broker.subscribe("t", SubscribeOptions::default(), handler).await.unwrap();
    for _ in 0..50 {
        broker.publish(message("t")).await.unwrap();
    }
    // One has a handler, five wait.
    until(PATIENCE, || async { (broker.dropped() >= 44).then_some(()) }).await;
    gate.add_permits(100);
    let mut got = 0;
    while tokio::time::timeout(Duration::from_millis(500), came.recv()).await.is_ok() {
        got += 1;
    }
    assert_eq!(got + broker.dropped(), 50);
    assert!((5..=6).contains(&got), "{got}");
}

async fn no_queues() {
    let server = redis();
    let broker = RedisPubSub::new(connect(&server), "p", &Limits::default());
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let options = SubscribeOptions::default().with_queue("q");
    let refused = broker.subscribe("t", options, handler).await.unwrap_err();
    assert_eq!(refused.code(), 501);
    assert!(!broker.capabilities().queue_groups);
}
