//! What the parts of a process share to be seen.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::limits::DebugLimits;
use crate::core::trace::Trace;
use crate::debug::calls::Calls;
use crate::debug::dump::Dump;
use crate::debug::health::Health;
use crate::debug::memory::Memory;
use crate::debug::pace::{Pace, nanos};
use crate::debug::panics::Panics;
use crate::debug::process::ProcessStats;
use crate::debug::record::micros;
use crate::debug::runtime::RuntimeStats;
use crate::debug::span::{Span, SpanKind};
use crate::debug::stats::{EndpointStats, Gauge, GaugeKind, Stats};
use crate::debug::tasks::frames;
use crate::debug::{ERROR_ID, Recorder};

/// The name under which endpoints beyond the limit of labels are counted.
const OTHER: &str = "other";

/// What the parts of a process share to be seen: counters, recorder, health, panics.
///
/// Clones share all of it. Making one does no I/O and starts nothing.
#[derive(Clone)]
pub struct Monitor {
    inner: Arc<Inner>,
}

/// What decides whether a call that brings no trace begins one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Root {
    /// None does.
    Never,
    /// As many do as the limits say.
    Paced,
}

struct Inner {
    limits: DebugLimits,
    recorder: Arc<dyn Recorder>,
    endpoints: Mutex<Vec<Endpoint>>,
    gauges: Mutex<Vec<Shown>>,
    health: Health,
    panics: Arc<Panics>,
    roots: Option<Pace>,
    questions: Pace,
    started: Instant,
    started_unix: u64,
}

#[derive(Clone)]
struct Endpoint {
    service: Arc<str>,
    endpoint: Arc<str>,
    calls: Arc<Calls>,
}

/// A number that is read when somebody asks.
#[derive(Clone)]
struct Shown {
    name: &'static str,
    help: &'static str,
    kind: GaugeKind,
    read: Arc<dyn Fn() -> u64 + Send + Sync>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Monitor {
    /// Makes a monitor that hands log records and spans to a recorder.
    pub fn new(recorder: Arc<dyn Recorder>, limits: DebugLimits, root: Root) -> Self {
        let now = clock::now();
        let pace = || Pace::new(now, limits.traces_per_second, limits.traces_burst);
        let inner = Inner {
            recorder,
            endpoints: Mutex::default(),
            gauges: Mutex::default(),
            health: Health::new(limits.clone()),
            panics: Panics::new(&limits),
            roots: (root == Root::Paced).then(pace),
            questions: Pace::new(now, limits.questions_per_second, limits.questions_burst),
            started: now,
            started_unix: clock::unix_now().as_secs(),
            limits,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns what keeps log records and spans.
    pub fn recorder(&self) -> &Arc<dyn Recorder> {
        &self.inner.recorder
    }

    /// Returns the checks of the process.
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Returns the bounds.
    pub fn limits(&self) -> &DebugLimits {
        &self.inner.limits
    }

    /// Returns the counters of an endpoint, made if there are none; those of endpoints beyond the
    /// limit of labels are one.
    ///
    /// For the start of a process, not for each call.
    pub fn calls(&self, service: &str, endpoint: &str) -> Arc<Calls> {
        let mut endpoints = lock(&self.inner.endpoints);
        let same = |other: &&Endpoint| *other.service == *service && *other.endpoint == *endpoint;
        if let Some(known) = endpoints.iter().find(same) {
            return Arc::clone(&known.calls);
        }
        let max = self.inner.limits.label_values_max;
        if endpoints.len() > max
            && let Some(other) = endpoints.last()
        {
            return Arc::clone(&other.calls);
        }
        let (service, endpoint) =
            if endpoints.len() == max { (OTHER, OTHER) } else { (service, endpoint) };
        let calls = Arc::<Calls>::default();
        endpoints.push(Endpoint {
            service: service.into(),
            endpoint: endpoint.into(),
            calls: Arc::clone(&calls),
        });
        calls
    }

    /// Shows a number, read whenever somebody asks; it must not wait.
    ///
    /// One of the same name is replaced.
    pub fn show(
        &self,
        (name, help): (&'static str, &'static str),
        kind: GaugeKind,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let shown = Shown { name, help, kind, read: Arc::new(read) };
        let mut gauges = lock(&self.inner.gauges);
        match gauges.iter_mut().find(|other| other.name == name) {
            Some(same) => *same = shown,
            None => gauges.push(shown),
        }
    }

    /// Begins the trace of a call that brings none, if it is one of those that have one.
    #[inline]
    pub fn root(&self, now: Instant) -> Option<Trace> {
        let roots = self.inner.roots.as_ref()?;
        roots.take(now).then(Trace::root)
    }

    /// Records a part of a trace that ended at `at`.
    ///
    /// Its beginning as a date is told from the present date and the length, so that the clock of
    /// the machine is read once.
    pub fn span(&self, span: Span, began: Instant, at: Instant) {
        let took = at.saturating_duration_since(began);
        let ago = clock::now().saturating_duration_since(began);
        let started_us = micros(clock::unix_now().saturating_sub(ago));
        self.inner.recorder.span(Span { started_us, duration_ns: nanos(took), ..span });
    }

    /// Records a part of a trace by its place, name, kind and code, if it is one that is recorded.
    pub fn record(
        &self,
        trace: Trace,
        (name, kind, code): (&str, SpanKind, u16),
        began: Instant,
        at: Instant,
    ) {
        if trace.is_sampled() {
            let span = Span { code, ..Span::new(trace, name, kind) };
            self.span(span, began, at);
        }
    }

    /// Takes one of the turns in which somebody may ask about the inside of the process.
    ///
    /// # Errors
    /// 429 when too many have asked.
    pub fn question(&self) -> Result<()> {
        if self.inner.questions.take(clock::now()) {
            return Ok(());
        }
        let detail = "too many questions about the process; ask again in a second";
        let error = Error::too_many_requests(ERROR_ID, detail);
        Err(error.with_retry_after(std::time::Duration::from_secs(1)))
    }

    /// Reads all numbers.
    pub fn stats(&self, name: &str) -> Stats {
        let endpoints: Vec<_> = lock(&self.inner.endpoints).clone();
        let endpoints = endpoints.iter().map(read).filter(was_called).collect::<Vec<_>>();
        let gauges: Vec<_> = lock(&self.inner.gauges).clone();
        let sum = |count: fn(&EndpointStats) -> u64| endpoints.iter().map(count).sum();
        Stats {
            name: name.to_owned(),
            timestamp: clock::unix_now().as_secs(),
            started: self.inner.started_unix,
            uptime: clock::now().saturating_duration_since(self.inner.started).as_secs(),
            requests: sum(|endpoint| endpoint.outcomes.requests()),
            errors: sum(|endpoint| endpoint.outcomes.errors()),
            process: ProcessStats::read(),
            runtime: RuntimeStats::read(),
            gauges: gauges.iter().map(Shown::read).chain(self.inner.recorder.gauges()).collect(),
            endpoints,
        }
    }

    /// Has every panic of the process kept from here on.
    ///
    /// Puts a hook before the one that is there; it stays as long as the process.
    pub fn watch_panics(&self) {
        self.inner.panics.watch();
    }

    /// Adds to a dump where the tasks of the runtime wait, if the build can tell.
    pub async fn locate_tasks(&self, dump: &mut Dump) {
        (dump.task_frames, dump.waiting) = frames(&self.inner.limits).await;
    }

    /// Tells what the process is doing, without its tasks.
    pub fn dump(&self) -> Dump {
        let (panics, panics_seen) = self.inner.panics.read();
        Dump { panics, panics_seen, ..Dump::of_threads() }
    }
}

impl Default for Monitor {
    /// Makes a monitor of rings in memory that begins no traces.
    fn default() -> Self {
        Self::new(Arc::new(Memory::new()), DebugLimits::DEFAULT, Root::Never)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("recorder", &self.inner.recorder).finish_non_exhaustive()
    }
}

impl Shown {
    fn read(&self) -> Gauge {
        let (name, help) = (self.name.to_owned(), self.help.to_owned());
        Gauge { name, help, kind: self.kind, value: (self.read)() }
    }
}

fn read(endpoint: &Endpoint) -> EndpointStats {
    let (outcomes, in_flight, latency) = endpoint.calls.read();
    EndpointStats {
        service: endpoint.service.as_ref().to_owned(),
        endpoint: endpoint.endpoint.as_ref().to_owned(),
        in_flight,
        outcomes,
        latency,
    }
}

fn was_called(endpoint: &EndpointStats) -> bool {
    endpoint.in_flight > 0 || endpoint.outcomes.requests() > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::calls::Outcome;
    use std::time::Duration;

    fn monitor(change: impl FnOnce(&mut DebugLimits)) -> Monitor {
        let mut limits = DebugLimits::default();
        change(&mut limits);
        Monitor::new(Arc::new(Memory::new()), limits, Root::Paced)
    }

    /// L30: labels are bounded, and what is beyond the bound is counted all the same.
    #[test]
    fn l30_endpoints_past_the_limit_of_labels_are_counted_as_other() {
        for (count, labels) in [(5, 5), (6, 6), (50, 6)] {
            let monitor = monitor(|limits| limits.label_values_max = 5);
            for n in 0..count {
                let calls = monitor.calls("shop", &format!("E.{n}"));
                calls.begin();
                calls.end(Outcome::Ok, Duration::ZERO);
            }
            let stats = monitor.stats("shop");
            assert_eq!((stats.endpoints.len(), stats.requests), (labels, count), "{count}");
            let other = stats.endpoints.iter().any(|endpoint| endpoint.service == OTHER);
            assert_eq!(other, count > 5);
        }
    }

    /// L29: questions have a pace.
    #[tokio::test(start_paused = true)]
    async fn l29_questions_at_the_limit_are_answered_and_further_ones_refused() {
        let monitor = monitor(|limits| limits.questions_burst = 10);
        for n in 0..100 {
            assert_eq!(monitor.question().is_ok(), n < 10, "{n}");
        }
        assert_eq!(monitor.question().unwrap_err().code(), 429);
        clock::sleep(Duration::from_secs(1)).await;
        assert!(monitor.question().is_ok() && monitor.question().is_err());
    }

    #[test]
    fn as_many_calls_begin_a_trace_as_may() {
        let monitor = monitor(|limits| limits.traces_burst = 3);
        let now = clock::now();
        assert_eq!((0..30).filter(|_| monitor.root(now).is_some()).count(), 3);
        assert_eq!(Monitor::default().root(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trace_that_is_not_sampled_is_not_recorded() {
        let (monitor, name) = (monitor(|_| {}), "shop.Orders.Place");
        let now = clock::now();
        let quiet = Trace::from_parts(7, 7, 0).unwrap();
        monitor.record(quiet, (name, SpanKind::Server, 200), now, now);
        let loud = Trace::from_parts(8, 8, 1).unwrap();
        monitor.record(loud, (name, SpanKind::Server, 409), now, now);
        let spans = monitor.recorder().spans(&Default::default()).await.unwrap();
        assert_eq!((spans.len(), spans[0].code), (1, 409));
    }
    /// At the limit, above it and far above it, once the burst is used up.
    #[tokio::test(start_paused = true)]
    async fn l29_l30_questions_and_traces_have_their_number_a_second() {
        let monitor = monitor(|limits| {
            (limits.questions_burst, limits.questions_per_second) = (5, 5);
            (limits.traces_burst, limits.traces_per_second) = (7, 7);
        });
        for tries in [10, 5, 7, 8, 70] {
            let questions = (0..tries).filter(|_| monitor.question().is_ok()).count();
            let traces = (0..tries).filter(|_| monitor.root(clock::now()).is_some()).count();
            assert_eq!((questions, traces), (tries.min(5), tries.min(7)), "{tries}");
            clock::sleep(Duration::from_secs(1)).await;
        }
    }
}
