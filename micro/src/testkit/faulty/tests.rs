//! What is asked for happens, in order and no longer.

use bytes::Bytes;

use super::*;
use crate::broker::{self, Ack, Broker, Handler, Message, SubscribeOptions};
use crate::core::content_type::ContentType;
use crate::registry::{self, Event, Registry};
use crate::store::{self, Handle};
use crate::testkit;

fn failed<T>(outcome: Result<T>) -> bool {
    outcome.is_err_and(|error| (error.code(), error.retry()) == (503, Retry::Safe))
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_fail_and_no_more() {
    let registry = Faulty::new(registry::Memory::new());
    registry.fail_next(2);
    let outcomes = [registry.list().await, registry.list().await, registry.list().await];
    assert_eq!(outcomes.map(failed), [true, true, false]);
    assert_eq!(registry.asked(), 3);
    // An outage uses up nothing that is still to fail.
    registry.fail_next(1);
    registry.down();
    assert!(failed(registry.list().await));
    registry.up();
    let outcomes = [registry.list().await, registry.list().await];
    assert_eq!(outcomes.map(failed), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_late_backend_answers_all_the_same() {
    let registry = Faulty::new(registry::Memory::new());
    registry.delay(Duration::from_secs(3));
    let began = clock::now();
    registry.list().await.unwrap();
    assert_eq!(clock::now() - began, Duration::from_secs(3));
    registry.delay(Duration::ZERO);
    registry.list().await.unwrap();
    assert_eq!(clock::now() - began, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn watches_end_at_an_outage_however_short() {
    let registry = Faulty::new(registry::Memory::new());
    let mut watch = registry.watch(None).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Reset(Vec::new())));
    registry.down();
    registry.up();
    assert_eq!(watch.next().await, None);
    let mut watch = registry.watch(None).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Reset(Vec::new())));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_keeps_what_it_has() {
    let store = Faulty::new(store::Memory::new());
    let handle = Handle::new(store.clone()).database("shop").unwrap();
    handle.put("a", &1).await.unwrap();
    let mut watch = handle.watch("").await.unwrap();
    store.down();
    assert!(failed(handle.put("a", &2).await));
    assert_eq!(watch.next().await, None);
    store.up();
    assert_eq!(handle.get::<i32>("a").await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_refuses_reaches_nobody() {
    let broker = Faulty::new(broker::Memory::new());
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let _subscription = broker.subscribe("a", SubscribeOptions::default(), handler).await.unwrap();
    broker.fail_next(1);
    let message = || Message::new("a", ContentType::Json, Bytes::from_static(b"{}"));
    assert!(failed(broker.publish(message()).await));
    broker.publish(message()).await.unwrap();
    assert_eq!(broker.inner().counts().published, 1);
}

#[tokio::test(start_paused = true)]
async fn without_faults_it_is_the_registry_behind() {
    use testkit::registry::{Subject, conformance};
    conformance(async || {
        let registry = Faulty::new(registry::Memory::new());
        Subject::new(Arc::new(registry.clone()), Arc::new(registry))
    })
    .await
    .unwrap_or_else(|failures| panic!("{failures}"));
}
