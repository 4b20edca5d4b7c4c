//! The memory broker: accounting, room, ends.

mod deliveries;
mod ends;
mod room;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::broker::Ack;
use crate::broker::Delivery;
use crate::core::content_type::ContentType;

fn message(topic: &str) -> Message {
    Message::new(topic, ContentType::Json, Bytes::from_static(b"{}"))
}

fn later(seconds: u64) -> Instant {
    clock::after(clock::now(), Duration::from_secs(seconds))
}

fn small(change: impl Fn(&mut Limits)) -> Memory {
    let mut limits = Limits::default();
    limits.broker.pending_messages_max = 10;
    change(&mut limits);
    Memory::with_limits(&limits, TaskTracker::new())
}

fn decide(decision: impl Fn(&Delivery) -> Ack + Send + Sync + 'static) -> Handler {
    Arc::new(move |delivery| {
        let ack = decision(&delivery);
        Box::pin(async move { ack })
    })
}

/// A handler that waits for a permit each time.
fn gated(gate: &Arc<Semaphore>) -> Handler {
    let gate = Arc::clone(gate);
    Arc::new(move |_| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ack::Ack
        })
    })
}

fn queue(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().with_queue(name)
}

fn balanced(memory: &Memory) -> Counts {
    let counts = memory.counts();
    let accounted = counts.acked + counts.dead + counts.dropped + counts.in_flight;
    assert_eq!(counts.routed, accounted, "{counts:?}");
    counts
}
