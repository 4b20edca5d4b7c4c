//! Subscriptions that are made at run time, through the typed handle.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use micro::broker::{DeadLetter, Memory, Message, Overflow, SubscribeOptions};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::limits::Limits;
use micro::core::metadata::Metadata;
use micro::core::shutdown::TaskTracker;
use micro::prelude::*;
use tokio::sync::{mpsc, oneshot};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u32,
}

const PLACED: Topic<Order> = Topic::new("orders.placed");
const SHIPPED: Topic<Order> = Topic::new("orders.shipped");

/// A handler that tells of every event.
fn told() -> (impl Fn(Event<Order>) -> Told + Send + Sync + 'static, mpsc::Receiver<u32>) {
    let (sender, receiver) = mpsc::channel(100);
    let tell = move |order: Event<Order>| -> Told {
        let sender = sender.clone();
        Box::pin(async move {
            sender.send(order.id).await.map_err(|_| Error::unavailable("test", "it ended"))
        })
    };
    (tell, receiver)
}

type Told = micro::core::future::BoxFuture<'static, Result<()>>;

/// A broker with room for ten messages, by its handle and by itself.
fn broker() -> (Broker, Arc<Memory>) {
    let mut limits = Limits::default();
    limits.broker.pending_messages_max = 10;
    let memory = Arc::new(Memory::with_limits(&limits, TaskTracker::new()));
    (Broker::new(memory.clone()), memory)
}

#[tokio::test]
async fn a_typed_handle_hears_what_is_published_until_it_is_closed() {
    let (broker, _) = broker();
    let (tell, mut told) = told();
    let placed = broker.subscribe(&PLACED, SubscribeOptions::default(), tell).await.unwrap();
    assert_eq!((placed.topic(), placed.is_active()), ("orders.placed", true));
    for id in 0..10 {
        broker.publish(&PLACED, &Order { id }).await.unwrap();
        assert_eq!(told.recv().await, Some(id));
    }
    placed.drain(clock::after(clock::now(), Duration::from_secs(10))).await.unwrap();
    broker.publish(&PLACED, &Order { id: 10 }).await.unwrap();
    assert!(told.try_recv().is_err(), "it is over");
}

#[tokio::test]
async fn the_context_of_an_event_is_that_of_its_handler() {
    let (broker, memory) = broker();
    let (tell, mut told) = mpsc::channel(1);
    let next = broker.clone();
    let handler = move |order: Event<Order>| {
        let (tell, next) = (tell.clone(), next.clone());
        async move {
            let tenant = Context::current().metadata().get("tenant").map(str::to_owned);
            next.publish(&SHIPPED, &Order { id: order.id }).await?;
            tell.send(tenant).await.map_err(|_| Error::unavailable("test", "it ended"))
        }
    };
    let (hear, mut shipped) = self::told();
    let all = SubscribeOptions::default;
    let _placed = broker.subscribe(&PLACED, all(), handler).await.unwrap();
    let _shipped = broker.subscribe(&SHIPPED, all(), hear).await.unwrap();
    let mut metadata = Metadata::new();
    metadata.insert("tenant", "acme").unwrap();
    let message = Message::new(PLACED.name(), ContentType::Json, r#"{"id": 7}"#.into());
    micro::broker::Broker::publish(&*memory, message.with_metadata(metadata)).await.unwrap();
    assert_eq!(told.recv().await, Some(Some("acme".to_owned())));
    assert_eq!(shipped.recv().await, Some(7));
}

#[tokio::test]
async fn what_is_no_event_of_the_topic_is_a_dead_letter() {
    let (broker, memory) = broker();
    let (tell, mut told) = told();
    let (bury, mut buried) = mpsc::channel(1);
    let dead: Topic<serde_json::Value> = Topic::new("orders.placed.dead");
    let on_dead = move |letter: Event<serde_json::Value>| {
        let (bury, message) = (bury.clone(), Arc::clone(letter.message()));
        async move {
            let letter = DeadLetter::from_message(&message)?;
            bury.send(letter.message.id.clone())
                .await
                .map_err(|_| Error::unavailable("test", "it ended"))
        }
    };
    let all = SubscribeOptions::default;
    let _dead = broker.subscribe(&dead, all(), on_dead).await.unwrap();
    let _placed = broker.subscribe(&PLACED, all(), tell).await.unwrap();
    let message = Message::new(PLACED.name(), ContentType::Json, r#"{"id": "x"}"#.into());
    let id = message.id.clone();
    micro::broker::Broker::publish(&*memory, message).await.unwrap();
    assert_eq!(buried.recv().await, Some(id));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn an_overflow_that_is_asked_for_holds() {
    let (broker, memory) = broker();
    let (held, mut begun) = mpsc::channel(1);
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(tokio::sync::Mutex::new(Some(released)));
    let handler = move |_: Event<Order>| {
        let (held, released) = (held.clone(), Arc::clone(&released));
        async move {
            let _first = held.try_send(());
            // The first one waits, and all others behind it.
            if let Some(released) = released.lock().await.take() {
                drop(released.await);
            }
            Ok(())
        }
    };
    let options = SubscribeOptions::default()
        .with_concurrency(NonZeroUsize::MIN)
        .with_overflow(Overflow::Disconnect);
    let slow = broker.subscribe(&PLACED, options, handler).await.unwrap();
    broker.publish(&PLACED, &Order { id: 0 }).await.unwrap();
    begun.recv().await.unwrap();
    assert!(slow.is_active());
    for id in 1..12 {
        broker.publish(&PLACED, &Order { id }).await.unwrap();
    }
    assert!(!slow.is_active(), "{:?}", memory.counts());
    drop(release);
}
