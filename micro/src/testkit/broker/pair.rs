//! Two processes of a backend, examined as one broker.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::broker::Broker;
use crate::broker::Capabilities;
use crate::broker::Counts;
use crate::broker::Handler;
use crate::broker::Message;
use crate::broker::SubscribeOptions;
use crate::broker::Subscription;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// Publishes in one process and subscribes in the other and in the first by turns, so that groups
/// spread over both.
#[derive(Debug)]
pub struct Pair {
    first: Arc<dyn Broker>,
    second: Arc<dyn Broker>,
    turns: AtomicUsize,
}

impl Pair {
    /// Joins the brokers of two processes.
    pub fn new(first: Arc<dyn Broker>, second: Arc<dyn Broker>) -> Self {
        Self { first, second, turns: AtomicUsize::new(0) }
    }

    /// Returns a pair of which both are the first: one process.
    #[must_use]
    pub fn into_first(self) -> Self {
        let second = Arc::clone(&self.first);
        Self { second, ..self }
    }
}

impl Broker for Pair {
    fn name(&self) -> &'static str {
        self.first.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.first.capabilities()
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        self.first.publish(message)
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        let turn = self.turns.fetch_add(1, Relaxed);
        let broker = if turn.is_multiple_of(2) { &self.second } else { &self.first };
        broker.subscribe(topic, options, handler)
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            // The publisher last: what comes back finds its way until then.
            let second = self.second.close(deadline).await;
            self.first.close(deadline).await.and(second)
        })
    }

    fn counts(&self) -> Option<Counts> {
        let first = self.first.counts()?;
        if Arc::ptr_eq(&self.first, &self.second) {
            return Some(first);
        }
        Some(sum(first, self.second.counts()?))
    }
}

/// Returns the counts of two processes as those of one.
fn sum(first: Counts, second: Counts) -> Counts {
    Counts {
        published: first.published + second.published,
        unrouted: first.unrouted + second.unrouted,
        routed: first.routed + second.routed,
        delivered: first.delivered + second.delivered,
        acked: first.acked + second.acked,
        retried: first.retried + second.retried,
        dead: first.dead + second.dead,
        dropped: first.dropped + second.dropped,
        returned: first.returned + second.returned,
        in_flight: first.in_flight + second.in_flight,
    }
}
