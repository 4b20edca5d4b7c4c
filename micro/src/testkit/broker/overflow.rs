//! Messages that come faster than they are handled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::broker::Ack;
use crate::broker::Broker;
use crate::broker::Delivery;
use crate::broker::Handler;
use crate::broker::Overflow;
use crate::broker::SubscribeOptions;
use crate::broker::Subscription;
use crate::core::clock;
use crate::core::limits::BrokerLimits;

use super::INBOX_MAX;
use super::PATIENCE;
use super::QUIET;
use super::message;
use super::numbered;
use super::options;
use super::publish;
use super::subscribe;
use super::topic;

/// Messages that a subscription has room for, and a few more.
const ROOM: usize = BrokerLimits::DEFAULT.pending_messages_max;
const MORE: usize = 5;

/// A subscription whose handlers wait for permits.
struct Held {
    subscription: Subscription,
    gate: Arc<Semaphore>,
    came: mpsc::Receiver<Bytes>,
}

impl Held {
    async fn new(broker: &Arc<dyn Broker>, topic: &str, options: SubscribeOptions) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (sender, came) = mpsc::channel(INBOX_MAX);
        let held = Arc::clone(&gate);
        let handler: Handler = Arc::new(move |delivery: Delivery| {
            let (held, sender) = (Arc::clone(&held), sender.clone());
            Box::pin(async move {
                // Within the time to acknowledge: nothing is delivered twice here.
                if let Ok(permit) = held.acquire().await {
                    permit.forget();
                }
                let _full = sender.try_send(delivery.message.body.clone()).is_err();
                Ack::Ack
            })
        });
        let subscription = subscribe(broker, topic, options, handler).await;
        Self { subscription, gate, came }
    }

    /// Lets the handlers go on and collects what they get.
    async fn all(&mut self) -> Vec<Bytes> {
        self.gate.add_permits(ROOM * 4);
        let mut all = Vec::new();
        while let Ok(Some(one)) = clock::timeout(QUIET, self.came.recv()).await {
            all.push(one);
        }
        all
    }
}

/// K6.
pub(super) async fn a_full_subscription_makes_publishers_wait_and_loses_nothing(
    broker: Arc<dyn Broker>,
) {
    let topic = topic();
    let mut held = Held::new(&broker, &topic, options("q", 1)).await;
    for number in 0..ROOM {
        publish(&broker, numbered(&topic, number)).await;
    }
    let waiting = Duration::from_millis(200);
    let early = clock::timeout(waiting, broker.publish(message(&topic))).await;
    assert!(early.is_err(), "a publisher does not wait for room: {early:?}");
    let late = broker.publish(message(&topic)).await.map_err(|error| error.code());
    assert_eq!(late, Err(429), "publish to a subscription without room");
    let mut all = held.all().await;
    let numbers = (0..ROOM).map(|number| Bytes::from(number.to_string()));
    all.retain(|body| body != "{}");
    assert_eq!(all, numbers.collect::<Vec<_>>(), "not all that was published arrives");
}

/// K6.
pub(super) async fn the_oldest_gives_way_where_that_is_asked_for(broker: Arc<dyn Broker>) {
    let topic = topic();
    let options = options("q", 1).with_overflow(Overflow::DropOldest);
    let mut held = Held::new(&broker, &topic, options).await;
    publish(&broker, numbered(&topic, 0)).await;
    // The handler has the first one: what waits begins with the next.
    clock::sleep(QUIET / 10).await;
    for number in 1..ROOM + MORE {
        let outcome = clock::timeout(QUIET, broker.publish(numbered(&topic, number))).await;
        assert!(matches!(outcome, Ok(Ok(()))), "a publisher waits or fails: {outcome:?}");
    }
    let all = held.all().await;
    assert_eq!(all.len(), ROOM, "messages that arrive where there is room for so many");
    let newest = Bytes::from((ROOM + MORE - 1).to_string());
    assert_eq!(all.last(), Some(&newest), "the newest message does not arrive");
    assert!(!all.contains(&Bytes::from_static(b"1")), "the oldest waiting message arrives");
    assert!(held.subscription.is_active(), "a subscription that drops messages ends");
}

/// K6.
pub(super) async fn a_slow_subscription_ends_where_that_is_asked_for(broker: Arc<dyn Broker>) {
    let topic = topic();
    let options = options("q", 1).with_overflow(Overflow::Disconnect);
    let held = Held::new(&broker, &topic, options).await;
    for number in 0..ROOM + MORE {
        let outcome = clock::timeout(PATIENCE, broker.publish(numbered(&topic, number))).await;
        assert!(matches!(outcome, Ok(Ok(()))), "a publisher waits or fails: {outcome:?}");
    }
    assert!(!held.subscription.is_active(), "a subscription that is too slow does not end");
}

pub(super) async fn an_overflow_that_is_not_declared_is_refused(broker: Arc<dyn Broker>) {
    for overflow in [Overflow::DropOldest, Overflow::Disconnect] {
        let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
        let options = SubscribeOptions::default().with_overflow(overflow);
        let outcome = broker.subscribe(&topic(), options, handler).await;
        let code = outcome.map(drop).map_err(|error| error.code());
        assert_eq!(code, Err(501), "{overflow:?} on a backend that does not declare it");
    }
}
