//! Sends spans to a collector of OpenTelemetry, beside what another recorder keeps.
//!
//! Spans travel as OTLP over HTTP, in JSON, to a collector that is reached without TLS, such as
//! one on the same machine. Durability: none; spans wait in a queue of bounded length and are sent
//! in batches. Failure behaviour: a batch is tried three times, then dropped and counted; spans
//! beyond the queue are dropped and counted; calls never wait. Log records stay with the recorder
//! within.

mod batch;
mod encode;
mod post;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::limits::DebugLimits;
use crate::core::shutdown::TaskTracker;
use crate::core::stream::Streaming;
use crate::debug::otlp::batch::{Batches, Item};
use crate::debug::otlp::post::Collector;
use crate::debug::record::{LogQuery, Record};
use crate::debug::span::{Span, SpanQuery};
use crate::debug::stats::{Gauge, GaugeKind};
use crate::debug::{Capabilities, ERROR_ID, Recorder};

/// How many spans went where.
#[derive(Debug, Default)]
pub(super) struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// A recorder that also sends spans to a collector.
///
/// ```
/// use std::sync::Arc;
/// use micro::core::limits::DebugLimits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::debug::{Memory, Otlp};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (kept, limits, tasks) = (Arc::new(Memory::new()), DebugLimits::DEFAULT, TaskTracker::new());
/// let recorder = Otlp::open("http://127.0.0.1:4318", "shop", kept, &limits, &tasks)?;
/// # drop(recorder);
/// # Ok::<(), micro::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Otlp {
    inner: Arc<dyn Recorder>,
    queue: mpsc::Sender<Item>,
    counts: Arc<Counts>,
    limits: DebugLimits,
}

impl Otlp {
    /// Sends spans to the collector at `url`, such as `http://127.0.0.1:4318`, under the name of a
    /// service; without a path they go to `/v1/traces`.
    ///
    /// The task that sends belongs to `tasks`; spans that have not been sent when it is aborted
    /// are lost, so that [`Recorder::flush`] comes first.
    ///
    /// # Errors
    /// 412 when the address is not one of `http`.
    pub fn open(
        url: &str,
        service: &str,
        inner: Arc<dyn Recorder>,
        limits: &DebugLimits,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let collector = Collector::parse(url, limits.export_timeout)?;
        let (queue, items) = mpsc::channel(limits.export_queue_max.max(1));
        let counts = Arc::<Counts>::default();
        let batches = Batches::new(collector, service, Arc::clone(&counts), limits.clone());
        tasks.spawn("otlp", batches.run(items)).detach();
        Ok(Self { inner, queue, counts, limits: limits.clone() })
    }

    /// Returns how many spans the collector has taken.
    pub fn exported(&self) -> u64 {
        self.counts.exported.load(Ordering::Relaxed)
    }

    /// Returns how many spans were dropped: the queue was full, or the collector took them not.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

impl Recorder for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn log(&self, record: Record) {
        self.inner.log(record);
    }

    fn span(&self, span: Span) {
        // Limit: what the queue does not hold is dropped, so that calls never wait for a collector.
        if self.queue.try_send(Item::Span(span.clone())).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.span(span);
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<Vec<Record>>> {
        self.inner.logs(query)
    }

    fn follow(&self, query: &LogQuery) -> Result<Streaming<Record>> {
        self.inner.follow(query)
    }

    fn spans<'a>(&'a self, query: &'a SpanQuery) -> BoxFuture<'a, Result<Vec<Span>>> {
        self.inner.spans(query)
    }

    /// Sends what is in the queue; returns when it was taken or dropped.
    ///
    /// # Errors
    /// 408 when that takes longer than one try may; 503 when the task that sends has ended.
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let gone = || Error::unavailable(ERROR_ID, "the exporter of spans has ended");
            let sent = async {
                let (done, sent) = oneshot::channel();
                self.queue
                    .send(Item::Flush(done))
                    .await
                    .map_err(|error| gone().with_source(error))?;
                sent.await.map_err(|error| gone().with_source(error))
            };
            match clock::timeout(self.limits.export_timeout, sent).await {
                Ok(sent) => sent?,
                Err(_) => return Err(Error::timeout(ERROR_ID, "spans were not sent in time")),
            }
            self.inner.flush().await
        })
    }

    fn gauges(&self) -> Vec<Gauge> {
        let counter = |name: &str, help: &str, value| Gauge {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: GaugeKind::Counter,
            value,
        };
        let mut gauges = self.inner.gauges();
        gauges.push(counter("spans_exported", "Spans the collector took.", self.exported()));
        gauges.push(counter("spans_dropped", "Spans no collector took.", self.dropped()));
        gauges
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::trace::Trace;
    use crate::debug::memory::Memory;
    use crate::debug::span::SpanKind;

    fn span() -> Span {
        Span::new(Trace::root(), "shop.Orders.Place", SpanKind::Server)
    }

    /// The queue holds at its limit, above it and far above it; nothing is lost uncounted.
    #[tokio::test]
    async fn spans_beyond_the_queue_are_dropped_and_counted() {
        for (spans, dropped) in [(4, 0), (5, 1), (400, 396)] {
            let limits = DebugLimits { export_queue_max: 4, ..DebugLimits::default() };
            let (kept, tasks) = (Arc::new(Memory::new()), TaskTracker::new());
            // Nothing runs in between on this runtime, so that the queue is not read.
            let otlp = Otlp::open("http://127.0.0.1:9", "shop", kept, &limits, &tasks).unwrap();
            (0..spans).for_each(|_| otlp.span(span()));
            assert_eq!(otlp.dropped(), dropped, "{spans}");
            let kept = otlp.spans(&SpanQuery::default()).await.unwrap();
            assert_eq!(u64::try_from(kept.len()).unwrap(), spans, "the ring keeps them all");
            tasks.abort_all();
        }
    }

    #[tokio::test]
    async fn only_addresses_that_can_be_reached_are_taken() {
        let (limits, tasks) = (DebugLimits::default(), TaskTracker::new());
        for (url, word) in [
            ("https://127.0.0.1:4318", "TLS"),
            ("ftp://127.0.0.1", "http://"),
            ("http://", "host"),
            ("http://a b:1", "host"),
        ] {
            let kept = Arc::new(Memory::new());
            let error = Otlp::open(url, "shop", kept, &limits, &tasks).unwrap_err();
            assert_eq!(error.code(), 412);
            assert!(error.detail().contains(word), "{url}: {}", error.detail());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_costs_the_spans_and_nothing_else() {
        let (limits, tasks) = (DebugLimits::default(), TaskTracker::new());
        // Port 9 of loopback: nobody listens there.
        let kept = Arc::new(Memory::new());
        let otlp = Otlp::open("http://127.0.0.1:9", "shop", kept, &limits, &tasks).unwrap();
        (0..3).for_each(|_| otlp.span(span()));
        otlp.flush().await.unwrap();
        assert_eq!((otlp.exported(), otlp.dropped()), (0, 3));
        tasks.abort_all();
    }
    /// The default and ten times as much.
    #[tokio::test(start_paused = true)]
    async fn a_flush_waits_for_a_silent_collector_as_long_as_a_try_takes() {
        // The system takes connections to it; nobody reads or answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let default = DebugLimits::DEFAULT.export_timeout;
        for export_timeout in [default, default * 10] {
            let limits = DebugLimits { export_timeout, ..DebugLimits::default() };
            let (kept, tasks) = (Arc::new(Memory::new()), TaskTracker::new());
            let otlp = Otlp::open(&url, "shop", kept, &limits, &tasks).unwrap();
            otlp.span(span());
            let began = clock::now();
            assert_eq!(otlp.flush().await.unwrap_err().code(), 408);
            assert_eq!(clock::now() - began, export_timeout);
            tasks.abort_all();
        }
    }
}
