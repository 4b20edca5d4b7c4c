//! What only the broker on JetStream promises.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{
    Ack, Broker, Delivery, Handler, JetStreamOptions, Message, SubscribeOptions, Subscription,
};
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro_tests::server::trial;
use micro_tests::server::{NATS, nats};

use tokio::sync::mpsc;

use super::{
    collect, durable, durable_with, is_quiet, message, next, number, queue, subscribe, within,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("jetstream::a_group_keeps_what_it_was_not_there_for", &NATS, kept_for_a_group),
        trial("jetstream::a_message_published_again_is_delivered_once", &NATS, published_twice),
        trial("jetstream::a_full_stream_refuses_and_loses_nothing", &NATS, full),
        trial("jetstream::what_waits_here_is_not_delivered_again", &NATS, renewed),
        trial("jetstream::a_consumer_that_is_gone_is_made_again", &NATS, consumer_gone),
        trial("jetstream::long_messages_come_through_a_small_window", &NATS, long_messages),
        trial("jetstream::a_subscription_leaves_nothing_on_the_server", &NATS, leaves_nothing),
        trial("jetstream::a_dead_letter_waits_for_its_reader", &NATS, dead_letter_waits),
    ]
}

/// Limits with a short time to acknowledge.
fn quick() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.broker.ack_timeout = Duration::from_secs(2);
    limits
}

/// Ends a subscription in order, so that its group has nothing on its way.
async fn leave(subscription: Subscription, came: mpsc::Receiver<Delivery>) {
    subscription.drain(tokio::time::Instant::now() + super::PATIENCE).await.unwrap();
    drop(came);
}

async fn kept_for_a_group() {
    let mut server = nats();
    let broker = durable(server.port(), &Limits::DEFAULT);
    let (subscription, came) = collect(&*broker, "orders", &queue("mailer", 1)).await;
    leave(subscription, came).await;
    for number in 0..10 {
        broker.publish(message("orders", number)).await.unwrap();
    }
    server.kill();
    server.start_again();
    let other = durable(server.port(), &Limits::DEFAULT);
    let (_subscription, mut came) = collect(&*other, "orders", &queue("mailer", 1)).await;
    for wanted in 0..10 {
        assert_eq!(number(&next(&mut came).await), wanted);
    }
    is_quiet(&mut came).await;
}

async fn published_twice() {
    let server = nats();
    let (one, other) = (durable(server.port(), &quick()), durable(server.port(), &quick()));
    let (_subscription, mut came) = collect(&*one, "orders", &queue("mailer", 1)).await;
    let again = message("orders", 1);
    for broker in [&one, &one, &other] {
        broker.publish(again.clone()).await.unwrap();
    }
    one.publish(message("orders", 2)).await.unwrap();
    assert_eq!((number(&next(&mut came).await), number(&next(&mut came).await)), (1, 2));
    is_quiet(&mut came).await;
}

async fn full() {
    let server = nats();
    let mut options = JetStreamOptions::default();
    options.bytes_max = 64 * 1024;
    let broker = durable_with(server.port(), &Limits::DEFAULT, options);
    let (subscription, came) = collect(&*broker, "orders", &queue("mailer", 1)).await;
    leave(subscription, came).await;
    let mut taken = 0;
    let error = loop {
        match broker.publish(message("orders", taken)).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "the stream is never full");
    };
    assert_eq!((error.code(), error.retry()), (429, Retry::Safe), "{error}");
    let (_subscription, mut came) = collect(&*broker, "orders", &queue("mailer", 1)).await;
    for wanted in 0..taken {
        assert_eq!(number(&next(&mut came).await), wanted);
    }
    is_quiet(&mut came).await;
    broker.publish(message("orders", taken)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), taken);
}

async fn renewed() {
    const FAST: usize = 50;
    let server = nats();
    let broker = durable(server.port(), &quick());
    let (sender, mut came) = tokio::sync::mpsc::channel(1000);
    // Quick at first, so that much is fetched ahead, and then slow.
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let sender = sender.clone();
        Box::pin(async move {
            if number(&delivery) >= FAST {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            sender.try_send(delivery).unwrap();
            Ack::Ack
        })
    });
    let _subscription = subscribe(&*broker, "orders", &queue("mailer", 1), &handler).await;
    for number in 0..FAST + 12 {
        broker.publish(message("orders", number)).await.unwrap();
    }
    // What comes last has waited three times as long as the server does.
    for wanted in 0..FAST + 12 {
        let delivery = next(&mut came).await;
        assert_eq!((number(&delivery), delivery.attempt), (wanted, 1));
    }
    is_quiet(&mut came).await;
}

async fn consumer_gone() {
    let server = nats();
    let broker = durable(server.port(), &Limits::DEFAULT);
    let (_subscription, mut came) = collect(&*broker, "orders", &queue("mailer", 1)).await;
    broker.publish(message("orders", 1)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 1);
    let client = async_nats::connect(server.address()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for name in consumers(&jetstream, "micro-events").await {
        jetstream.delete_consumer_from_stream(name, "micro-events").await.unwrap();
    }
    let made_again = async {
        while consumers(&jetstream, "micro-events").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(made_again).await;
    broker.publish(message("orders", 2)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 2);
}

async fn consumers(jetstream: &async_nats::jetstream::Context, stream: &str) -> HashSet<String> {
    use futures_util::StreamExt;
    let stream = jetstream.get_stream(stream).await.unwrap();
    stream.consumer_names().map(Result::unwrap).collect().await
}

async fn long_messages() {
    let server = nats();
    let mut limits = Limits::DEFAULT;
    // Smaller than one message.
    limits.broker.pending_bytes_max = 100_000;
    let broker = durable(server.port(), &limits);
    let (_subscription, mut came) = collect(&*broker, "orders", &queue("mailer", 4)).await;
    for number in 0..20 {
        let mut body = number.to_string();
        body.push_str(&" ".repeat(if number % 2 == 0 { 500_000 } else { 10 }));
        let long = Message::new("orders", ContentType::Json, Bytes::from(body));
        broker.publish(long).await.unwrap();
    }
    let mut numbers = HashSet::new();
    for _ in 0..20 {
        let delivery = next(&mut came).await;
        let body = std::str::from_utf8(&delivery.message.body).unwrap();
        numbers.insert(body.trim().parse::<usize>().unwrap());
    }
    assert_eq!(numbers.len(), 20);
}

async fn leaves_nothing() {
    let server = nats();
    let broker = durable(server.port(), &Limits::DEFAULT);
    let (own, _came) = collect(&*broker, "orders", &SubscribeOptions::default()).await;
    let (of_group, _came) = collect(&*broker, "orders", &queue("mailer", 1)).await;
    let client = async_nats::connect(server.address()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    assert_eq!(consumers(&jetstream, "micro-events").await.len(), 2);
    drop(own);
    of_group.close();
    let gone = async {
        while consumers(&jetstream, "micro-events").await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(gone).await;
    let left = consumers(&jetstream, "micro-events").await;
    assert!(left.iter().all(|name| name.starts_with("mailer-")), "{left:?}");
}

async fn dead_letter_waits() {
    let server = nats();
    let broker = durable(server.port(), &Limits::DEFAULT);
    let given_up = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&given_up);
    let handler: Handler = Arc::new(move |_| {
        counted.fetch_add(1, SeqCst);
        Box::pin(async { Ack::reject("no such order") })
    });
    let (reader, came) = collect(&*broker, "orders.dead", &queue("reader", 1)).await;
    leave(reader, came).await;
    let _failing = subscribe(&*broker, "orders", &queue("mailer", 1), &handler).await;
    broker.publish(message("orders", 7)).await.unwrap();
    let buried = async {
        while broker.counts().dead == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(buried).await;
    let (_reader, mut came) = collect(&*broker, "orders.dead", &queue("reader", 1)).await;
    assert_eq!(number(&next(&mut came).await), 7);
    assert_eq!(given_up.load(SeqCst), 1);
}
