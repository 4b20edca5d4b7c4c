//! Who gets a message, and that it is the one that was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::broker::Ack;
use crate::broker::Broker;
use crate::broker::Delivery;
use crate::broker::Handler;
use crate::broker::SubscribeOptions;
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::limits::BrokerLimits;
use crate::core::metadata::Metadata;

use super::INBOX_MAX;
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

/// K2.
pub(super) async fn a_message_published_right_after_subscribing_arrives(broker: Arc<dyn Broker>) {
    for _ in 0..100 {
        let topic = topic();
        let mut inbox = listen(&broker, &topic, None).await;
        publish(&broker, message(&topic)).await;
        inbox.next().await;
    }
}

pub(super) async fn a_message_arrives_unchanged(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    let mut sent = message(&topic);
    let mut metadata = Metadata::new();
    let inserted = metadata.insert("Tenant", "acme & s\u{f6}hne");
    assert!(inserted.is_ok(), "{inserted:?}");
    sent.metadata = metadata;
    sent.content_type = ContentType::parse("application/x-own");
    sent.body = (0..=u8::MAX).collect::<Vec<u8>>().into();
    publish(&broker, sent.clone()).await;
    let came = inbox.next().await;
    assert_eq!(*came.message, sent, "the message is not what was sent");
    assert_eq!(came.attempt, 1, "the first delivery does not count as the first");
}

pub(super) async fn a_message_arrives_once(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    publish(&broker, message(&topic)).await;
    inbox.next().await;
    inbox.is_quiet().await;
    clock::sleep(BrokerLimits::DEFAULT.ack_timeout.min(PATIENCE)).await;
    inbox.is_quiet().await;
}

pub(super) async fn only_the_topic_subscribed_to_arrives(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = listen(&broker, &topic, None).await;
    for other in [format!("{topic}.more"), format!("{topic}x"), "created".into()] {
        publish(&broker, message(&other)).await;
    }
    publish(&broker, numbered(&topic, 7)).await;
    assert_eq!(inbox.bodies(1).await, numbers(7..8), "another topic's message arrives");
    inbox.is_quiet().await;
}

pub(super) async fn subscriptions_without_a_queue_each_get_every_message(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut first = listen(&broker, &topic, None).await;
    let mut second = listen(&broker, &topic, None).await;
    for number in 0..10 {
        publish(&broker, numbered(&topic, number)).await;
    }
    for inbox in [&mut first, &mut second] {
        let mut bodies = inbox.bodies(10).await;
        bodies.sort();
        assert_eq!(bodies, numbers(0..10), "not every message arrives at each");
        inbox.is_quiet().await;
    }
}

pub(super) async fn one_member_of_each_group_gets_a_message(broker: Arc<dyn Broker>) {
    let topic = topic();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let mut subscriptions = Vec::new();
    for queue in ["mailer", "mailer", "ledger", "ledger", "ledger"] {
        let sender = sender.clone();
        let handler: Handler = Arc::new(move |delivery: Delivery| {
            let _full = sender.try_send((queue, delivery.message.body.clone())).is_err();
            Box::pin(async { Ack::Ack })
        });
        subscriptions.push(subscribe(&broker, &topic, options(queue, 1), handler).await);
    }
    for number in 0..20 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let mut seen = Vec::new();
    while let Ok(Some(one)) = clock::timeout(QUIET, came.recv()).await {
        seen.push(one);
    }
    seen.sort();
    let mut wanted: Vec<_> = ["ledger", "mailer"]
        .into_iter()
        .flat_map(|queue| numbers(0..20).into_iter().map(move |body| (queue, body)))
        .collect();
    wanted.sort();
    assert_eq!(seen, wanted, "not each group gets each message exactly once");
}

/// Messages for a group of two: that chance gives all of them to one is out of the question.
const SHARED: usize = 32;

pub(super) async fn a_group_shares_the_work(broker: Arc<dyn Broker>) {
    let topic = topic();
    // Each member keeps the first message that it gets until both have one. Who gets which may be
    // left to chance, so that there are many.
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let mut subscriptions = Vec::new();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    for _ in 0..2 {
        let (both, sender) = (Arc::clone(&both), sender.clone());
        let is_first = AtomicBool::new(true);
        let handler: Handler = Arc::new(move |_| {
            let (both, sender) = (Arc::clone(&both), sender.clone());
            let is_first = is_first.swap(false, Ordering::Relaxed);
            Box::pin(async move {
                if is_first {
                    both.wait().await;
                }
                let _full = sender.try_send(()).is_err();
                Ack::Ack
            })
        });
        subscriptions.push(subscribe(&broker, &topic, options("workers", 1), handler).await);
    }
    for number in 0..SHARED {
        publish(&broker, numbered(&topic, number)).await;
    }
    for _ in 0..SHARED {
        let one = clock::timeout(QUIET * 5, came.recv()).await;
        assert!(one.is_ok(), "one member gets all messages of the group");
    }
}

/// K12.
pub(super) async fn invalid_topics_are_refused(broker: Arc<dyn Broker>) {
    let long = "x".repeat(1_000);
    for bad in ["", "a b", "a..b", "a\n", "a.*", ">", long.as_str()] {
        let outcome = broker.publish(message(bad)).await;
        let code = outcome.map_err(|error| error.code());
        assert_eq!(code, Err(400), "publish to {bad:?}");
    }
    for bad in ["", "a b", "a..b", "a\n", "a*", long.as_str()] {
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let outcome = broker.subscribe(bad, SubscribeOptions::default(), handler).await;
        let code = outcome.map(drop).map_err(|error| error.code());
        assert_eq!(code, Err(400), "subscribe to {bad:?}");
    }
}

pub(super) async fn patterns_cover_what_they_say_or_are_refused(broker: Arc<dyn Broker>) {
    let topic = topic();
    let prefix = topic.trim_end_matches(".created");
    let star = format!("{prefix}.*");
    if !broker.capabilities().patterns {
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let outcome = broker.subscribe(&star, SubscribeOptions::default(), handler).await;
        let code = outcome.map(drop).map_err(|error| error.code());
        assert_eq!(code, Err(501), "a pattern on a backend that declares none");
        return;
    }
    let mut one = listen(&broker, &star, None).await;
    let mut any = listen(&broker, &format!("{prefix}.>"), None).await;
    for (number, name) in ["created", "paid", "paid.late", "paid.dead"].iter().enumerate() {
        publish(&broker, numbered(&format!("{prefix}.{name}"), number)).await;
    }
    assert_eq!(one.bodies(2).await, numbers(0..2), "`*` does not stand for one word");
    assert_eq!(any.bodies(3).await, numbers(0..3), "`>` does not stand for one word or more");
    one.is_quiet().await;
    any.is_quiet().await;
}
