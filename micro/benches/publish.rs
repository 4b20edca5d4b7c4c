//! An event from `publish` until its handler runs, on the broker in memory, one at a time.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start has nothing to measure")]

use std::sync::Arc;

use bytes::Bytes;
use criterion::Criterion;
use micro::broker::{Ack, Broker, Delivery, Handler, Memory, Message, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::future::BoxFuture;
use tokio::runtime::Builder;
use tokio::sync::Notify;

const TOPIC: &str = "orders.created";

fn publish(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let broker = Memory::new();
    let handled = Arc::new(Notify::new());
    let told = Arc::clone(&handled);
    let handler: Handler = Arc::new(move |_: Delivery| -> BoxFuture<'static, Ack> {
        told.notify_one();
        Box::pin(std::future::ready(Ack::Ack))
    });
    let options = SubscribeOptions::default();
    let subscription = runtime.block_on(broker.subscribe(TOPIC, options, handler)).unwrap();
    criterion.bench_function("publish/memory", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let body = Bytes::from_static(b"a small event");
            broker.publish(Message::new(TOPIC, ContentType::Bytes, body)).await.unwrap();
            handled.notified().await;
        });
    });
    // Its task ends within the runtime that runs it.
    runtime.block_on(async { drop(subscription) });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    publish(&mut criterion);
    criterion.final_summary();
}
