//! What becomes of a delivery: retries, dead letters.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::Ack;
use crate::broker::Broker;
use crate::broker::DeadLetter;
use crate::broker::Delivery;
use crate::broker::Message;
use crate::core::clock;
use crate::core::limits::BrokerLimits;

use super::PATIENCE;
use super::decide;
use super::fail;
use super::listen;
use super::message;
use super::numbered;
use super::options;
use super::publish;
use super::topic;

/// K1, K3.
pub(super) async fn a_retry_is_delivered_again(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = decide(&broker, &topic, options("q", 1), |delivery| {
        if delivery.attempt < 3 { Ack::RETRY } else { Ack::Ack }
    })
    .await;
    let sent = message(&topic);
    publish(&broker, sent.clone()).await;
    for attempt in 1..=3 {
        let came = inbox.next().await;
        assert_eq!(came.attempt, attempt, "deliveries are not counted");
        assert_eq!(came.message.id, sent.id, "another delivery has another id");
    }
    inbox.is_quiet().await;
    let wish = Duration::from_secs(2);
    let mut waiting =
        decide(&broker, &format!("{topic}.later"), options("q", 1), move |delivery| {
            if delivery.attempt == 1 { Ack::Retry { after: Some(wish) } } else { Ack::Ack }
        })
        .await;
    publish(&broker, message(&format!("{topic}.later"))).await;
    waiting.next().await;
    let before = clock::now();
    waiting.next().await;
    let waited = clock::now() - before;
    assert!(waited >= wish - Duration::from_millis(50), "delivered {waited:?} after, not {wish:?}");
}

/// K3.
pub(super) async fn a_panic_is_delivered_again(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = decide(&broker, &topic, options("q", 1), |delivery| {
        assert!(delivery.attempt > 1, "the first delivery panics on purpose");
        Ack::Ack
    })
    .await;
    publish(&broker, message(&topic)).await;
    assert_eq!(inbox.next().await.attempt, 1, "deliveries are not counted");
    assert_eq!(inbox.next().await.attempt, 2, "a panic is not another delivery");
    inbox.is_quiet().await;
}

/// K4, F37.
pub(super) async fn a_poison_message_is_given_up_and_blocks_nobody(broker: Arc<dyn Broker>) {
    let topic = topic();
    let most = BrokerLimits::DEFAULT.deliveries_max;
    let is_poison = |delivery: &Delivery| &*delivery.message.body == b"poison";
    let mut inbox = decide(&broker, &topic, options("q", 1), move |delivery| {
        if is_poison(delivery) { Ack::RETRY } else { Ack::Ack }
    })
    .await;
    let poison = Message { body: Bytes::from_static(b"poison"), ..message(&topic) };
    publish(&broker, poison).await;
    for number in 0..50 {
        publish(&broker, numbered(&topic, number)).await;
    }
    let (mut tries, mut others, mut before_last) = (0, 0, 0);
    while let Ok(Some(came)) = clock::timeout(PATIENCE, inbox.deliveries.recv()).await {
        if is_poison(&came) {
            tries += 1;
            before_last = others;
        } else {
            others += 1;
        }
    }
    assert_eq!(tries, most, "deliveries of a message that always fails");
    assert_eq!((others, before_last), (50, 50), "a failing message holds up the others");
}

/// K4.
pub(super) async fn given_up_messages_go_to_the_dead_letters(broker: Arc<dyn Broker>) {
    let topic = topic();
    let most = BrokerLimits::DEFAULT.deliveries_max;
    let mut dead = listen(&broker, &format!("{topic}.dead"), None).await;
    let _failing = decide(&broker, &topic, options("mailer", 1), |_| Ack::RETRY).await;
    let sent = numbered(&topic, 7);
    publish(&broker, sent.clone()).await;
    let letter = read(&dead.next().await);
    assert_eq!(*letter.message, sent, "the dead letter does not lead back to the message");
    assert_eq!(letter.attempts, most, "the dead letter's count of deliveries");
    assert_eq!(letter.queue.as_deref(), Some("mailer"), "the dead letter's group");
    assert!(!letter.reason.is_empty(), "the dead letter has no reason");
    assert!(letter.first <= letter.last && !letter.first.is_zero(), "the dead letter's times");
    dead.is_quiet().await;
}

pub(super) async fn a_rejected_message_goes_to_the_dead_letters_at_once(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut dead = listen(&broker, &format!("{topic}.dead"), None).await;
    let mut inbox =
        decide(&broker, &topic, options("mailer", 1), |_| Ack::reject("no such order")).await;
    publish(&broker, message(&topic)).await;
    let letter = read(&dead.next().await);
    assert_eq!((letter.attempts, letter.reason.as_str()), (1, "no such order"), "the dead letter");
    inbox.next().await;
    inbox.is_quiet().await;
}

/// K3.
pub(super) async fn retries_pause_longer_and_longer(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut inbox = decide(&broker, &topic, options("q", 1), |_| Ack::RETRY).await;
    publish(&broker, message(&topic)).await;
    inbox.next().await;
    let began = clock::now();
    for _ in 1..BrokerLimits::DEFAULT.deliveries_max {
        inbox.next().await;
    }
    // The pauses are drawn at random: together they are hardly ever this short.
    let waited = clock::now() - began;
    assert!(waited > Duration::from_millis(20), "retries follow each other at once: {waited:?}");
}

/// K4.
pub(super) async fn a_dead_letter_can_be_published_again(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut dead = listen(&broker, &format!("{topic}.dead"), None).await;
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let mut inbox = decide(&broker, &topic, options("q", 1), move |_| {
        if is_mended.load(SeqCst) { Ack::Ack } else { Ack::reject("broken") }
    })
    .await;
    let sent = numbered(&topic, 7);
    publish(&broker, sent.clone()).await;
    inbox.next().await;
    let letter = read(&dead.next().await);
    mended.store(true, SeqCst);
    publish(&broker, (*letter.message).clone()).await;
    let again = inbox.next().await;
    assert_eq!(*again.message, sent, "what was published again is not the message");
    assert_eq!(again.attempt, 1, "what was published again counts from the first");
    dead.is_quiet().await;
}

/// A failure in one group is no delivery to another.
pub(super) async fn each_group_settles_for_itself(broker: Arc<dyn Broker>) {
    let topic = topic();
    let mut steady = listen(&broker, &topic, Some("steady")).await;
    let mut failing = decide(&broker, &topic, options("failing", 1), |delivery| {
        if delivery.attempt == 1 { Ack::RETRY } else { Ack::Ack }
    })
    .await;
    publish(&broker, message(&topic)).await;
    assert_eq!(failing.next().await.attempt, 1, "the first delivery to one group");
    assert_eq!(failing.next().await.attempt, 2, "the second delivery to one group");
    assert_eq!(steady.next().await.attempt, 1, "the first delivery to another group");
    steady.is_quiet().await;
    failing.is_quiet().await;
}

fn read(delivery: &Delivery) -> DeadLetter {
    match DeadLetter::from_message(&delivery.message) {
        Ok(letter) => letter,
        Err(error) => fail(&format!("no dead letter: {error}")),
    }
}

/// K14. A backend that counts nothing has nothing to be wrong about.
pub(super) async fn what_is_counted_adds_up(broker: Arc<dyn Broker>) {
    const MESSAGES: u8 = 30;
    if broker.counts().is_none() {
        return;
    }
    let topic = topic();
    let mut inbox = decide(&broker, &topic, options("q", 1), |delivery| {
        let number = delivery.message.body.last().copied().unwrap_or_default() % 3;
        match (number, delivery.attempt) {
            (0, _) => Ack::reject("a third"),
            (1, 1) => Ack::Retry { after: Some(Duration::ZERO) },
            _ => Ack::Ack,
        }
    })
    .await;
    for number in 0..MESSAGES {
        publish(&broker, numbered(&topic, number.into())).await;
    }
    inbox.bodies(MESSAGES.into()).await;
    let deadline = clock::after(clock::now(), PATIENCE);
    // Progress: all of it is settled at last; the deadline ends the wait.
    loop {
        let counts = broker.counts().unwrap_or_default();
        let ends = counts.acked + counts.dead + counts.dropped + counts.returned;
        let all = counts.published.min(counts.delivered) >= u64::from(MESSAGES);
        if all && counts.in_flight == 0 && counts.routed == ends {
            return;
        }
        assert!(clock::now() < deadline, "the counts do not add up: {counts:?}");
        clock::sleep(Duration::from_millis(10)).await;
    }
}
