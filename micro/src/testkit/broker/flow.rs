//! Order, concurrency, slow subscriptions, and ends.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::broker::Ack;
use crate::broker::Broker;
use crate::broker::Delivery;
use crate::broker::Handler;
use crate::broker::SubscribeOptions;
use crate::core::clock;
use crate::core::error::Retry;
use crate::core::limits::BrokerLimits;

use super::INBOX_MAX;
use super::Inbox;
use super::PATIENCE;
use super::QUIET;
use super::listen;
use super::message;
use super::numbered;
use super::numbers;
use super::options;
use super::publish;
use super::subscribe;
use super::topic;

/// K5.
pub(super) async fn messages_of_one_publisher_keep_their_order(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, Some("q")).await;
    for number in 0..500 {
        publish(&broker, numbered(&topic, number)).await;
    }
    assert_eq!(inbox.bodies(500).await, numbers(0..500), "messages are out of order");
}

/// K6.
pub(super) async fn concurrency_is_reached_and_not_exceeded(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let handler: Handler = {
        let (running, most, gate) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
        Arc::new(move |_| {
            let (running, most, gate) =
                (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
            Box::pin(async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                let permit = gate.acquire().await;
                running.fetch_sub(1, SeqCst);
                permit.map_or(Ack::RETRY, |permit| {
                    permit.forget();
                    Ack::Ack
                })
            })
        })
    };
    let _subscription = subscribe(&broker, &topic, options("q", 3), handler).await;
    for number in 0..10 {
        publish(&broker, numbered(&topic, number)).await;
    }
    for _ in 0..2 {
        clock::sleep(QUIET).await;
        assert_eq!(running.load(SeqCst), 3, "handlers at a time");
        gate.add_permits(3);
    }
    gate.add_permits(10);
    clock::sleep(QUIET).await;
    assert_eq!(most.load(SeqCst), 3, "most handlers at a time");
}

/// F38.
pub(super) async fn a_slow_subscription_loses_nothing(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let sender = sender.clone();
        Box::pin(async move {
            clock::sleep(Duration::from_micros(10)).await;
            let _full = sender.try_send(delivery.message.body.clone()).is_err();
            Ack::Ack
        })
    });
    let _subscription = subscribe(&broker, &topic, options("q", 4), handler).await;
    let count = BrokerLimits::DEFAULT.pending_messages_max * 3;
    for number in 0..count {
        publish(&broker, numbered(&topic, number)).await;
    }
    let mut bodies = std::collections::HashSet::new();
    while bodies.len() < count {
        let next = clock::timeout(PATIENCE, came.recv()).await.ok().flatten();
        assert!(next.is_some(), "{} of {count} messages arrive", bodies.len());
        bodies.extend(next);
    }
}

pub(super) async fn a_closed_subscription_gets_nothing(broker: Arc<dyn Broker>) {
    let topic = topic();
    let Inbox { subscription, mut deliveries } = listen(&broker, &topic, Some("q")).await;
    assert!(subscription.is_active(), "a subscription that was just made is not active");
    assert_eq!(subscription.topic(), topic, "the subscription's topic");
    publish(&broker, message(&topic)).await;
    let first = clock::timeout(PATIENCE, deliveries.recv()).await;
    assert!(matches!(first, Ok(Some(_))), "nothing arrives before the end");
    subscription.close();
    publish(&broker, message(&topic)).await;
    let more = clock::timeout(QUIET, deliveries.recv()).await;
    assert!(!matches!(more, Ok(Some(_))), "a closed subscription gets a message");
}

/// K11.
pub(super) async fn draining_lets_handlers_finish(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (begun, finished) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler: Handler = {
        let (begun, finished) = (Arc::clone(&begun), Arc::clone(&finished));
        Arc::new(move |_| {
            let (begun, finished) = (Arc::clone(&begun), Arc::clone(&finished));
            Box::pin(async move {
                begun.add_permits(1);
                clock::sleep(QUIET).await;
                finished.fetch_add(1, SeqCst);
                Ack::Ack
            })
        })
    };
    let subscription = subscribe(&broker, &topic, options("q", 2), handler).await;
    for number in 0..2 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let both = clock::timeout(PATIENCE, begun.acquire_many(2)).await;
    assert!(both.is_ok(), "two handlers do not run at a time");
    let deadline = clock::after(clock::now(), PATIENCE);
    let outcome = subscription.drain(deadline).await;
    assert!(outcome.is_ok(), "drain fails: {outcome:?}");
    assert_eq!(finished.load(SeqCst), 2, "handlers that draining let finish");
}

/// K11.
pub(super) async fn a_member_that_drains_loses_nothing(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let sender = sender.clone();
        Box::pin(async move {
            clock::sleep(Duration::from_millis(5)).await;
            let _full = sender.try_send(delivery.message.body.clone()).is_err();
            Ack::Ack
        })
    });
    let first = subscribe(&broker, &topic, options("q", 1), Arc::clone(&handler)).await;
    let _second = subscribe(&broker, &topic, options("q", 1), handler).await;
    for number in 0..100 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let outcome = first.drain(clock::after(clock::now(), PATIENCE)).await;
    assert!(outcome.is_ok(), "drain fails: {outcome:?}");
    for number in 100..200 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let mut bodies = std::collections::HashSet::new();
    while bodies.len() < 200 {
        let next = clock::timeout(PATIENCE, came.recv()).await.ok().flatten();
        assert!(next.is_some(), "{} of 200 messages arrive", bodies.len());
        bodies.extend(next);
    }
}

/// F36.
pub(super) async fn what_a_cut_handler_had_goes_to_another_member(broker: Arc<dyn Broker>) {
    let topic = topic();
    let begun = Arc::new(Semaphore::new(0));
    let signal = Arc::clone(&begun);
    let handler: Handler = Arc::new(move |_| {
        signal.add_permits(1);
        Box::pin(std::future::pending())
    });
    let hanging = subscribe(&broker, &topic, options("q", 1), handler).await;
    publish(&broker, numbered(&topic, 7)).await;
    let permit = clock::timeout(PATIENCE, begun.acquire()).await;
    assert!(permit.is_ok(), "the message does not arrive");
    let mut other = listen(&broker, &topic, Some("q")).await;
    hanging.close();
    assert_eq!(other.bodies(1).await, numbers(7..8), "the message of a cut handler is lost");
}

pub(super) async fn a_closed_broker_refuses(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    publish(&broker, message(&topic)).await;
    inbox.next().await;
    for _ in 0..2 {
        let outcome = broker.close(clock::after(clock::now(), PATIENCE)).await;
        assert!(outcome.is_ok(), "close fails: {outcome:?}");
    }
    let refused = broker.publish(message(&topic)).await.map_err(|e| (e.code(), e.retry()));
    assert_eq!(refused, Err((503, Retry::Safe)), "publish to a closed broker");
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let refused = broker.subscribe(&topic, SubscribeOptions::default(), handler).await;
    assert_eq!(refused.map(drop).map_err(|e| e.code()), Err(503), "subscribe to a closed broker");
    assert!(!inbox.subscription.is_active(), "a subscription outlives its broker");
    inbox.is_quiet().await;
}
