//! What the broker promises while its server is well.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, Message, Mqtt, MqttOptions, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::error::Error;
use micro::core::future::BoxFuture;
use micro::core::limits::Limits;
use micro::driver::{self, Link};
use micro::testkit;
use micro::transport::Scope;
use micro_tests::server::{MOSQUITTO, mosquitto, mosquitto_with, trial};
use tokio::sync::mpsc;

use super::{
    broker, broker_with, collect, is_quiet, message, named, next, number, queue, subscribe, unique,
    within,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("mqtt::the_broker_conforms", &MOSQUITTO, || conforms(pair)),
        trial("mqtt::the_broker_of_one_process_conforms", &MOSQUITTO, || conforms(alone)),
        trial("mqtt::brokers_of_named_processes_conform", &MOSQUITTO, || conforms(named_pair)),
        trial("mqtt::one_process_of_a_group_gets_each_message", &MOSQUITTO, shared),
        trial("mqtt::a_member_that_is_cut_gives_its_part_to_another_process", &MOSQUITTO, given),
        trial("mqtt::a_broker_that_closes_waits_for_what_was_cut", &MOSQUITTO, cut_and_closed),
        trial("mqtt::a_named_process_that_subscribes_again_has_its_session", &MOSQUITTO, same),
        trial("mqtt::a_message_that_fails_comes_again_in_an_unnamed_process", &MOSQUITTO, again),
        trial("mqtt::a_message_longer_than_the_server_takes_is_a_413", &MOSQUITTO, too_long),
        trial("mqtt::what_is_longer_than_we_take_costs_no_connection", &MOSQUITTO, oversized),
        trial("mqtt::names_of_queues_are_bounded_and_otherwise_free", &MOSQUITTO, queues),
        trial("mqtt::a_user_has_to_know_its_password", &MOSQUITTO, users),
    ]
}

/// Runs the suite at a server of its own.
async fn conforms(make: fn(u16) -> Arc<dyn Broker>) {
    let server = mosquitto();
    let port = server.port();
    let make =
        move || -> BoxFuture<'static, Arc<dyn Broker>> { Box::pin(async move { make(port) }) };
    testkit::broker::conforms(&make).await;
}

fn pair(port: u16) -> Arc<dyn Broker> {
    Arc::new(testkit::broker::Pair::new(broker(port), broker(port)))
}

fn alone(port: u16) -> Arc<dyn Broker> {
    named(port, &unique("alone"))
}

fn named_pair(port: u16) -> Arc<dyn Broker> {
    let broker = || named(port, &unique("conforms"));
    Arc::new(testkit::broker::Pair::new(broker(), broker()))
}

async fn shared() {
    let server = mosquitto();
    let (first, second) = (broker(server.port()), broker(server.port()));
    let (_one, mut one) = collect(&*first, "orders", &queue("mailer", 4)).await;
    let (_two, mut two) = collect(&*second, "orders", &queue("mailer", 4)).await;
    let (_own, mut own) = collect(&*second, "orders", &SubscribeOptions::default()).await;
    for number in 0..1000 {
        first.publish(message("orders", number)).await.unwrap();
    }
    for _ in 0..1000 {
        next(&mut own).await;
    }
    let mut seen = HashMap::<usize, usize>::new();
    for _ in 0..1000 {
        let delivery = within(async {
            tokio::select! {
                delivery = one.recv() => delivery,
                delivery = two.recv() => delivery,
            }
        });
        *seen.entry(number(&delivery.await.unwrap())).or_default() += 1;
    }
    is_quiet(&mut one).await;
    is_quiet(&mut two).await;
    is_quiet(&mut own).await;
    assert!(seen.values().all(|times| *times == 1), "a group gets a message twice");
    let counts = (first.counts().acked, second.counts().acked);
    assert!(counts.0 > 0 && counts.1 > 1000, "one process gets all messages: {counts:?}");
    assert!(first.is_up() && second.is_up());
}

async fn given() {
    let server = mosquitto();
    let (first, second) = (broker(server.port()), broker(server.port()));
    // It keeps all that it gets, and the server keeps more.
    let hanging: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let hanging = subscribe(&*first, "orders", &queue("mailer", 1), &hanging).await;
    for number in 0..500 {
        second.publish(message("orders", number)).await.unwrap();
    }
    let (_other, mut came) = collect(&*second, "orders", &queue("mailer", 1)).await;
    hanging.close();
    let mut numbers: Vec<usize> = Vec::new();
    for _ in 0..500 {
        let delivery = next(&mut came).await;
        assert_eq!((delivery.attempt, delivery.message.topic.as_str()), (1, "orders"));
        numbers.push(number(&delivery));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    is_quiet(&mut came).await;
}

async fn cut_and_closed() {
    let server = mosquitto();
    let (first, second) = (broker(server.port()), broker(server.port()));
    let hanging: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let hanging = subscribe(&*first, "orders", &queue("mailer", 1), &hanging).await;
    for number in 0..200 {
        second.publish(message("orders", number)).await.unwrap();
    }
    let (_other, mut came) = collect(&*second, "orders", &queue("mailer", 1)).await;
    hanging.close();
    // In the middle of what the task does that ends the subscription.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    first.close(deadline).await.unwrap();
    let mut numbers: Vec<usize> = Vec::new();
    for _ in 0..200 {
        numbers.push(number(&next(&mut came).await));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    is_quiet(&mut came).await;
}

async fn same() {
    let server = mosquitto();
    let (process, publisher) = (named(server.port(), "mailer-1"), broker(server.port()));
    let hanging: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let hanging = subscribe(&*process, "orders", &queue("q", 1), &hanging).await;
    for number in 0..20 {
        publisher.publish(message("orders", number)).await.unwrap();
    }
    hanging.close();
    // Nobody else takes them: they are in the session.
    let (_again, mut came) = collect(&*process, "orders", &queue("q", 1)).await;
    let mut numbers: Vec<usize> = Vec::new();
    for _ in 0..20 {
        numbers.push(number(&next(&mut came).await));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

async fn again() {
    let server = mosquitto();
    let broker = broker(server.port());
    assert!(!broker.capabilities().redelivery, "what a lost process had is lost");
    let (sender, mut came) = mpsc::channel(16);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let ack = if delivery.attempt < 3 { Ack::RETRY } else { Ack::Ack };
        sender.try_send(delivery).unwrap();
        Box::pin(async { ack })
    });
    let _subscription = subscribe(&*broker, "orders", &queue("q", 1), &handler).await;
    broker.publish(message("orders", 1)).await.unwrap();
    for attempt in 1..=3 {
        assert_eq!(next(&mut came).await.attempt, attempt);
    }
    is_quiet(&mut came).await;
}

async fn too_long() {
    let server = mosquitto_with("allow_anonymous true\nmax_packet_size 100000");
    let broker = broker(server.port());
    let (_subscription, mut came) = collect(&*broker, "orders", &SubscribeOptions::default()).await;
    for bytes in [100_000, 100_001, 1_000_000] {
        let long = Message::new("orders", ContentType::Bytes, Bytes::from(vec![0; bytes]));
        let error = broker.publish(long).await.unwrap_err();
        assert_eq!(error.code(), 413, "{error}");
    }
    let fits = Message::new("orders", ContentType::Bytes, Bytes::from(vec![0; 99_000]));
    broker.publish(fits).await.unwrap();
    assert_eq!(next(&mut came).await.message.body.len(), 99_000);
    assert_eq!(*broker.reconnects().borrow(), 0);
}

async fn oversized() {
    let server = mosquitto();
    let mut limits = Limits::DEFAULT;
    limits.message.bytes_max = 10_000;
    let narrow = broker_with(server.port(), MqttOptions::default(), limits);
    let wide = broker(server.port());
    let (_one, mut came) = collect(&*narrow, "orders", &queue("q", 1)).await;
    let (_all, mut all) = collect(&*wide, "orders", &SubscribeOptions::default()).await;
    for number in 0..100 {
        let long = Message::new("orders", ContentType::Bytes, Bytes::from(vec![0; 200_000]));
        wide.publish(long).await.unwrap();
        wide.publish(message("orders", number)).await.unwrap();
        assert_eq!(next(&mut all).await.message.body.len(), 200_000);
        next(&mut all).await;
    }
    for wanted in 0..100 {
        assert_eq!(number(&next(&mut came).await), wanted);
    }
    is_quiet(&mut came).await;
    assert_eq!(*narrow.reconnects().borrow(), 0);
}

async fn users() {
    let server = mosquitto_with("allow_anonymous false\npassword_file users");
    let place = driver::Server::new("127.0.0.1", server.port());
    for (password, code) in [("s@cret", None), ("secret", Some(403))] {
        let place = place.clone().with_user("ada", password);
        let broker = Mqtt::open(&place, MqttOptions::default(), &Scope::default()).unwrap();
        let outcome = broker.publish(message("orders", 1)).await;
        assert_eq!(outcome.as_ref().err().map(Error::code), code, "{outcome:?}");
        assert_eq!(broker.is_up(), code.is_none());
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let outcome = broker.subscribe("orders", SubscribeOptions::default(), handler).await;
        assert_eq!(outcome.as_ref().err().map(Error::code), code, "{outcome:?}");
    }
}

async fn queues() {
    let server = mosquitto();
    let broker = broker(server.port());
    for name in ["a/b", "+", "#", "$share", "s\u{f6}hne", &"x".repeat(128)] {
        let (_subscription, mut came) = collect(&*broker, "orders", &queue(name, 1)).await;
        broker.publish(message("orders", 1)).await.unwrap();
        next(&mut came).await;
    }
    for name in [String::new(), "x".repeat(129), "x".repeat(1280)] {
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let refused = broker.subscribe("orders", queue(&name, 1), handler).await;
        assert_eq!(refused.unwrap_err().code(), 400);
    }
}
