//! What a test may rely on.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::broker::{Ack, Broker, Handler, Message, SubscribeOptions};
use crate::core::content_type::ContentType;

async fn handled_by(handler: Handler) -> (Environment, broker::Subscription) {
    let env = Service::new().start().await.unwrap();
    let options = SubscribeOptions::default();
    let subscription = env.broker.subscribe("a", options, handler).await.unwrap();
    let message = Message::new("a", ContentType::Json, Bytes::from_static(b"{}"));
    env.broker.publish(message).await.unwrap();
    (env, subscription)
}

#[tokio::test(start_paused = true)]
async fn it_is_settled_when_the_last_event_is_handled() {
    let handler: Handler = Arc::new(|_| {
        Box::pin(async {
            clock::sleep(Duration::from_secs(3)).await;
            Ack::Ack
        })
    });
    let began = clock::now();
    let (env, _subscription) = handled_by(handler).await;
    env.settled().await.unwrap();
    assert!(clock::now() - began >= Duration::from_secs(3));
    assert_eq!(env.broker.counts().acked, 1);
    assert!(env.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_is_counted_and_waited_for_no_longer() {
    let handler: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let (env, _subscription) = handled_by(handler).await;
    let began = clock::now();
    let error = env.settled().await.unwrap_err();
    assert_eq!(error.code(), 408);
    assert!(error.detail().contains("0 calls, 1 events, 0 tasks"), "{error}");
    assert!(clock::now() - began < SETTLE_MAX + Duration::from_secs(1));
}
