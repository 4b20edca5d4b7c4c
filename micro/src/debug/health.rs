//! Whether a process lives and is ready, by the checks of its parts.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::limits::DebugLimits;
use crate::debug::ERROR_ID;

/// What it means that a check fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CheckKind {
    /// The process takes no work until the check passes again.
    #[default]
    Ready,
    /// The process is to be started again.
    Live,
    /// It is shown, and nothing follows from it.
    Info,
}

type Run = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A check of one part of the process.
///
/// ```
/// use std::time::Duration;
/// use micro::debug::Check;
///
/// let check = Check::new("mail", || async { Ok(()) }).timeout(Duration::from_secs(1));
/// # drop(check);
/// ```
#[derive(Clone)]
pub struct Check {
    name: String,
    kind: CheckKind,
    timeout: Option<Duration>,
    run: Run,
}

impl Check {
    /// Makes a check that readiness depends on.
    ///
    /// Its future may be dropped at any await: when its time is over, or when nobody waits for the
    /// answer any more. A panic is a failure.
    pub fn new<F, U>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn() -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        let run: Run = Arc::new(move || Box::pin(run()));
        Self { name: name.into(), kind: CheckKind::Ready, timeout: None, run }
    }

    /// Says what it means that the check fails.
    #[must_use]
    pub fn kind(mut self, kind: CheckKind) -> Self {
        self.kind = kind;
        self
    }

    /// Limits the time of the check; it has failed when that is over.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// How something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// As it should be.
    #[default]
    Ok,
    /// Not as it should be.
    Failing,
}

/// How a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HealthReport {
    /// [`Status::Ok`] if it lives and is ready.
    pub status: Status,
    /// Whether it lives: it need not be started again.
    pub live: bool,
    /// Whether it takes work.
    pub ready: bool,
    /// The checks, in the order in which they were added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckReport>,
}

/// How one part of a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CheckReport {
    /// The name of the check.
    pub name: String,
    /// What it means if it fails.
    #[serde(rename = "type")]
    pub kind: CheckKind,
    /// How it went.
    pub status: Status,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// The checks of a process; clones share them.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    checks: Mutex<Vec<Check>>,
    /// The last outcome; held while the checks run, so that they run once for all who ask.
    last: tokio::sync::Mutex<Option<(Instant, HealthReport)>>,
    limits: DebugLimits,
}

impl Health {
    /// Makes the health of a process without checks: it lives and is ready.
    pub fn new(limits: DebugLimits) -> Self {
        let inner =
            Inner { checks: Mutex::default(), last: tokio::sync::Mutex::const_new(None), limits };
        Self { inner: Arc::new(inner) }
    }

    /// Adds a check; one of the same name is replaced.
    ///
    /// # Errors
    /// 429 when there are as many as may.
    pub fn add(&self, check: Check) -> Result<()> {
        let mut checks = self.inner.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let max = self.inner.limits.checks_max;
        if let Some(same) = checks.iter_mut().find(|other| other.name == check.name) {
            *same = check;
        } else if checks.len() < max {
            checks.push(check);
        } else {
            let detail = format!("there are {max} checks of health, as many as may");
            return Err(Error::too_many_requests(ERROR_ID, detail));
        }
        Ok(())
    }

    /// Runs the checks, all at once, each within its time, and tells how the process is.
    ///
    /// An outcome is told again for a while before the checks run again. Cancel safe.
    pub async fn report(&self) -> HealthReport {
        let mut last = self.inner.last.lock().await;
        let now = clock::now();
        if let Some((at, report)) = last.as_ref()
            && now.saturating_duration_since(*at) < self.inner.limits.check_interval
        {
            return report.clone();
        }
        let checks = self.inner.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let report = summary(self.run(checks).await);
        *last = Some((clock::now(), report.clone()));
        report
    }

    async fn run(&self, checks: Vec<Check>) -> Vec<CheckReport> {
        let limit = self.inner.limits.check_timeout;
        let mut running: Vec<Pending> =
            checks.into_iter().map(|check| Pending::Runs(Box::pin(one(check, limit)))).collect();
        poll_fn(|task| {
            let mut all = true;
            for pending in &mut running {
                if let Pending::Runs(future) = pending {
                    match future.as_mut().poll(task) {
                        Poll::Ready(report) => *pending = Pending::Done(report),
                        Poll::Pending => all = false,
                    }
                }
            }
            if all { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let done = |pending| match pending {
            Pending::Done(report) => Some(report),
            Pending::Runs(_) => None,
        };
        running.into_iter().filter_map(done).collect()
    }
}

enum Pending {
    Runs(Pin<Box<dyn Future<Output = CheckReport> + Send>>),
    Done(CheckReport),
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

fn summary(checks: Vec<CheckReport>) -> HealthReport {
    let passes = |kind| {
        checks.iter().filter(|check| check.kind == kind).all(|check| check.status == Status::Ok)
    };
    let live = passes(CheckKind::Live);
    let ready = live && passes(CheckKind::Ready);
    let status = if ready { Status::Ok } else { Status::Failing };
    HealthReport { status, live, ready, checks }
}

async fn one(check: Check, limit: Duration) -> CheckReport {
    let began = clock::now();
    let limit = check.timeout.unwrap_or(limit);
    let run = &check.run;
    let guarded = async {
        let mut future = caught(|| run())?;
        poll_fn(|task| match caught(|| future.as_mut().poll(task)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(done),
            // The future is not polled again: `poll_fn` ends here.
            Err(panicked) => Poll::Ready(Err(panicked)),
        })
        .await
    };
    let outcome = clock::timeout(limit, guarded).await;
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.detail().to_owned()),
        Err(_) => Some(format!("no answer within {limit:?}")),
    };
    let took = clock::now().saturating_duration_since(began);
    CheckReport {
        name: check.name,
        kind: check.kind,
        status: if failure.is_none() { Status::Ok } else { Status::Failing },
        detail: failure.unwrap_or_default(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

fn caught<T>(run: impl FnOnce() -> T) -> Result<T> {
    let panicked = |_| Error::internal(ERROR_ID, "the check panicked");
    catch_unwind(AssertUnwindSafe(run)).map_err(panicked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn health() -> Health {
        Health::new(DebugLimits::default())
    }

    fn failing(name: &str) -> Check {
        Check::new(name, || async { Err(Error::unavailable("mail", "no route to the host")) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_checks_is_well() {
        let report = health().report().await;
        assert!(report.live && report.ready && report.status == Status::Ok);
        assert_eq!(serde_json::to_value(&report).unwrap()["status"], "ok");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_decides_what_follows() {
        for (kind, live, ready) in [
            (CheckKind::Ready, true, false),
            (CheckKind::Live, false, false),
            (CheckKind::Info, true, true),
        ] {
            let health = health();
            health.add(failing("mail").kind(kind)).unwrap();
            health.add(Check::new("disk", || async { Ok(()) })).unwrap();
            let report = health.report().await;
            assert_eq!((report.live, report.ready), (live, ready), "{kind:?}");
            assert_eq!(report.checks[0].detail, "no route to the host");
            assert_eq!(report.checks[1].status, Status::Ok);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn checks_run_at_once_and_end_with_their_time() {
        let health = health();
        for n in 0..10 {
            let hang = Check::new(n.to_string(), std::future::pending::<Result<()>>);
            health.add(hang.timeout(Duration::from_millis(300))).unwrap();
        }
        let start = clock::now();
        let report = health.report().await;
        assert_eq!(clock::now() - start, Duration::from_millis(300));
        assert!(report.checks.iter().all(|check| check.detail == "no answer within 300ms"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_panics_has_failed_and_nothing_else() {
        let health = health();
        health.add(Check::new("bad", || async { panic!("on purpose") })).unwrap();
        health.add(Check::new("good", || async { Ok(()) })).unwrap();
        let report = health.report().await;
        assert_eq!(report.checks[0].detail, "the check panicked");
        assert_eq!(report.checks[1].status, Status::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn asking_often_does_not_run_the_checks_often() {
        let (health, runs) = (health(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&runs);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        };
        health.add(Check::new("count", count)).unwrap();
        for _ in 0..100 {
            health.report().await;
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        clock::sleep(Duration::from_secs(1)).await;
        health.report().await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn checks_are_bounded_and_replaced_by_name() {
        let limits = DebugLimits { checks_max: 2, ..DebugLimits::default() };
        let health = Health::new(limits);
        for name in ["a", "b", "a", "b"] {
            health.add(failing(name)).unwrap();
        }
        for n in 0..20 {
            assert_eq!(health.add(failing(&n.to_string())).unwrap_err().code(), 429);
        }
    }
    /// A check without a time of its own has that of the limits; one that answers within it is well.
    #[tokio::test(start_paused = true)]
    async fn checks_end_with_the_time_of_the_limits() {
        let limit = Duration::from_secs(2);
        for (takes, fails) in [(limit / 2, false), (limit * 11 / 10, true), (limit * 10, true)] {
            let health = Health::new(DebugLimits { check_timeout: limit, ..Default::default() });
            let slow = move || async move {
                clock::sleep(takes).await;
                Ok(())
            };
            health.add(Check::new("slow", slow)).unwrap();
            let start = clock::now();
            let report = health.report().await;
            assert_eq!(report.checks[0].status == Status::Failing, fails, "{takes:?}");
            assert_eq!(clock::now() - start, takes.min(limit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_told_again_for_the_interval_of_the_limits() {
        let interval = Duration::from_secs(7);
        let health = Health::new(DebugLimits { check_interval: interval, ..Default::default() });
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        };
        health.add(Check::new("count", count)).unwrap();
        let nearly = interval - Duration::from_millis(10);
        for (pause, ran) in [(Duration::ZERO, 1), (nearly, 1), (interval, 2), (interval * 10, 3)] {
            clock::sleep(pause).await;
            health.report().await;
            assert_eq!(runs.load(Ordering::Relaxed), ran, "{pause:?}");
        }
    }
}
