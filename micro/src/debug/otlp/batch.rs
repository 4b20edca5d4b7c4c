//! Collects spans into batches and sees each of them off.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::limits::DebugLimits;
use crate::debug::otlp::Counts;
use crate::debug::otlp::encode::encode;
use crate::debug::otlp::post::{Answer, Collector};
use crate::debug::span::Span;

/// How often a batch is tried.
const TRIES_MAX: u32 = 3;

/// The longest first pause between two tries, and the longest of all.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What waits in the queue.
#[derive(Debug)]
pub(super) enum Item {
    Span(Span),
    /// Somebody who waits for all that is before it.
    Flush(oneshot::Sender<()>),
}

/// The sender of batches.
pub(super) struct Batches {
    collector: Collector,
    service: String,
    counts: Arc<Counts>,
    limits: DebugLimits,
    /// Whether the latest batch was dropped, so that the log tells of changes alone.
    failing: bool,
}

impl Batches {
    pub(super) fn new(
        collector: Collector,
        service: &str,
        counts: Arc<Counts>,
        limits: DebugLimits,
    ) -> Self {
        Self { collector, service: service.to_owned(), counts, limits, failing: false }
    }

    /// Sends what comes until the queue is closed.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        while let Some(first) = queue.recv().await {
            let (spans, waiting) = self.collect(first, &mut queue).await;
            if !spans.is_empty() {
                self.deliver(&spans).await;
            }
            if let Some(waiting) = waiting {
                // Whoever waited may have gone.
                let _heard = waiting.send(());
            }
        }
    }

    /// Takes what comes within the interval, up to a full batch or a flush.
    async fn collect(
        &self,
        first: Item,
        queue: &mut mpsc::Receiver<Item>,
    ) -> (Vec<Span>, Option<oneshot::Sender<()>>) {
        let end = clock::after(clock::now(), self.limits.export_interval);
        let (mut spans, mut item) = (Vec::new(), Some(first));
        // Progress: each turn takes one item, up to the limit of a batch.
        loop {
            match item {
                Some(Item::Span(span)) => spans.push(span),
                Some(Item::Flush(waiting)) => return (spans, Some(waiting)),
                None => return (spans, None),
            }
            if spans.len() >= self.limits.export_batch_max {
                return (spans, None);
            }
            item = clock::timeout_at(end, queue.recv()).await.unwrap_or_default();
        }
    }

    /// Sends one batch, or drops it.
    async fn deliver(&mut self, spans: &[Span]) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let body = encode(&self.service, spans);
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let mut why = String::new();
        for tried in 1..=TRIES_MAX {
            let pause = match self.collector.post(body.clone()).await {
                Ok(Answer::Taken { rejected }) => return self.taken(count, rejected),
                Ok(Answer::Refused(status)) => {
                    why = format!("the collector answered {status}");
                    break;
                }
                Ok(Answer::Later(hint)) => {
                    "the collector is busy".clone_into(&mut why);
                    backoff.next_delay_after_hint(hint, PAUSE.1)
                }
                Err(error) => {
                    why = error.to_string();
                    backoff.next_delay()
                }
            };
            if tried < TRIES_MAX {
                clock::sleep(pause).await;
            }
        }
        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(target: "micro::debug", spans = count, why, "spans are not exported");
        }
    }

    fn taken(&mut self, count: u64, rejected: u64) {
        let rejected = rejected.min(count);
        self.counts.dropped.fetch_add(rejected, Ordering::Relaxed);
        self.counts.exported.fetch_add(count - rejected, Ordering::Relaxed);
        if std::mem::take(&mut self.failing) {
            tracing::info!(target: "micro::debug", "spans are exported again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::Instant;

    /// Collects one batch out of so many spans that come together; returns it with how long that
    /// took.
    async fn collected(spans: usize, change: impl FnOnce(&mut DebugLimits)) -> (usize, Duration) {
        let mut limits = DebugLimits::default();
        change(&mut limits);
        let collector = Collector::parse("http://127.0.0.1:1", limits.export_timeout).unwrap();
        let batches = Batches::new(collector, "test", Arc::default(), limits);
        let (sender, mut queue) = mpsc::channel(100);
        for _ in 0..spans {
            sender.send(Item::Span(Span::default())).await.unwrap();
        }
        let began: Instant = clock::now();
        let first = queue.recv().await.unwrap();
        let (batch, _) = batches.collect(first, &mut queue).await;
        (batch.len(), clock::now() - began)
    }

    /// At the limit, above it and far above it.
    #[tokio::test(start_paused = true)]
    async fn a_batch_is_full_at_its_limit() {
        for spans in [4, 5, 40] {
            let (batch, took) = collected(spans, |limits| limits.export_batch_max = 4).await;
            assert_eq!((batch, took), (4, Duration::ZERO), "{spans}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_does_not_fill_goes_after_the_interval() {
        for interval in [Duration::from_secs(1), Duration::from_secs(10)] {
            let outcome = collected(3, |limits| limits.export_interval = interval).await;
            assert_eq!(outcome, (3, interval));
        }
    }
}
