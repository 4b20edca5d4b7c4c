//! What only the broker on core NATS promises.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, DeadLetter, Delivery, Handler, Message, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::limits::Limits;
use micro_tests::server::trial;
use micro_tests::server::{NATS, nats};
use tokio::sync::Semaphore;

use super::{collect, core, is_quiet, message, next, queue, subscribe, within};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("nats::what_a_slow_subscription_misses_is_counted", &NATS, missed_is_counted),
        trial("nats::a_failed_handler_leaves_a_dead_letter", &NATS, dead_letter),
        trial("nats::a_message_longer_than_the_server_takes_is_a_413", &NATS, too_long),
        trial("nats::counts_add_up", &NATS, counts_add_up),
        trial("nats::a_pattern_gets_no_answers_of_programs", &NATS, nothing_internal),
    ]
}

async fn missed_is_counted() {
    let server = nats();
    let mut limits = Limits::DEFAULT;
    limits.broker.pending_messages_max = 100;
    let (publisher, slow) = (core(server.port(), &limits), core(server.port(), &limits));
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |_| {
        let held = Arc::clone(&held);
        Box::pin(async move {
            held.acquire().await.unwrap().forget();
            Ack::Ack
        })
    });
    let _subscription = subscribe(&*slow, "orders", &SubscribeOptions::default(), &handler).await;
    for number in 0..1000 {
        publisher.publish(message("orders", number)).await.unwrap();
    }
    // One is being handled and a hundred wait.
    let counted = async {
        while slow.counts().routed < 1000 {
            tokio::task::yield_now().await;
        }
    };
    within(counted).await;
    assert_eq!((slow.counts().dropped, slow.counts().in_flight), (899, 101));
    gate.add_permits(1000);
    let handled = async {
        while slow.counts().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(handled).await;
    assert_eq!(slow.counts().acked, 101);
}

async fn dead_letter() {
    let server = nats();
    let broker = core(server.port(), &Limits::DEFAULT);
    let (_dead, mut letters) = collect(&*broker, "orders.dead", &SubscribeOptions::default()).await;
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::RETRY }));
    let _failing = subscribe(&*broker, "orders", &queue("mailer", 1), &handler).await;
    broker.publish(message("orders", 7)).await.unwrap();
    let letter = DeadLetter::from_message(&next(&mut letters).await.message).unwrap();
    assert_eq!((letter.attempts, letter.queue.as_deref()), (1, Some("mailer")));
    assert!(letter.reason.contains("delivers once"), "{}", letter.reason);
    is_quiet(&mut letters).await;
}

async fn too_long() {
    let server = nats();
    let broker = core(server.port(), &Limits::DEFAULT);
    let long = Bytes::from(vec![0; 1024 * 1024]);
    let long = Message::new("orders", ContentType::Bytes, long);
    assert_eq!(broker.publish(long).await.unwrap_err().code(), 413);
    broker.publish(message("orders", 1)).await.unwrap();
}

async fn counts_add_up() {
    let server = nats();
    let broker = core(server.port(), &Limits::DEFAULT);
    let handler: Handler = Arc::new(|delivery: Delivery| {
        let number = super::number(&delivery);
        Box::pin(async move {
            match number % 3 {
                0 => Ack::reject("every third"),
                1 => Ack::RETRY,
                _ => Ack::Ack,
            }
        })
    });
    let _subscription = subscribe(&*broker, "orders", &queue("q", 4), &handler).await;
    for number in 0..300 {
        broker.publish(message("orders", number)).await.unwrap();
    }
    let settled = async {
        while broker.counts().in_flight > 0 || broker.counts().routed < 300 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(settled).await;
    let counts = broker.counts();
    assert_eq!((counts.routed, counts.acked, counts.dead, counts.dropped), (300, 100, 200, 0));
    assert_eq!(counts.published, 500, "dead letters are published too");
}

async fn nothing_internal() {
    let server = nats();
    let (one, other) =
        (core(server.port(), &Limits::DEFAULT), core(server.port(), &Limits::DEFAULT));
    let (_all, mut came) = collect(&*one, ">", &SubscribeOptions::default()).await;
    for number in 0..10 {
        // Each is confirmed by a message of its own.
        other.publish(message("orders", number)).await.unwrap();
    }
    for wanted in 0..10 {
        let delivery = next(&mut came).await;
        assert_eq!((delivery.message.topic.as_str(), super::number(&delivery)), ("orders", wanted));
    }
    is_quiet(&mut came).await;
}
