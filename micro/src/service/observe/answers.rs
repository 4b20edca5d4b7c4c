//! Answers questions about the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::core::error::{Error, Result};
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::stream::Streaming;
#[cfg(not(feature = "profile"))]
use crate::debug::missing_profiler;
#[cfg(feature = "profile")]
use crate::debug::profile;
use crate::debug::{
    Dump, HealthReport, Monitor, Profile, ProfileRequest, Record, SpanQuery, Stats, Status,
};
use crate::service::observe::messages::{LogRequest, Spans};
use crate::service::readiness::Readiness;

const ERROR_ID: &str = "micro.debug";

/// What questions about a process are answered from.
#[derive(Clone, Debug)]
pub(crate) struct Observe {
    pub(crate) name: String,
    pub(crate) monitor: Monitor,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: Shutdown,
    /// Those of the process and those that handlers spawn.
    pub(crate) tasks: [TaskTracker; 2],
    /// Whether the log is known to reach the recorder.
    pub(crate) captured: bool,
    /// Whether a dump is being made.
    pub(crate) dumping: Arc<AtomicBool>,
    /// Whether a profile is being taken.
    pub(crate) profiling: Arc<AtomicBool>,
}

impl Observe {
    /// Tells how the process is; asked by everybody who balances load, so that it has no pace.
    pub(super) async fn health(&self) -> HealthReport {
        let mut report = self.monitor.health().report().await;
        report.ready &= self.readiness.is_ready() && !self.shutdown.is_draining();
        report.status = if report.live && report.ready { Status::Ok } else { Status::Failing };
        report
    }

    pub(super) fn stats(&self) -> Result<Stats> {
        self.monitor.question()?;
        Ok(self.monitor.stats(&self.name))
    }

    pub(super) async fn log(&self, request: LogRequest) -> Result<Streaming<Record>> {
        self.monitor.question()?;
        let (query, recorder) = (request.query(), self.monitor.recorder());
        if !request.stream {
            let records = recorder.logs(&query).await?;
            if records.is_empty() && !self.captured {
                return Err(uncaptured());
            }
            return Ok(Streaming::from_iter(records));
        }
        if !self.captured && recorder.logs(&Default::default()).await?.is_empty() {
            return Err(uncaptured());
        }
        let records = recorder.follow(&query)?;
        // A reader that never leaves must not hold up the end of the process.
        let state = (records, self.shutdown.clone());
        Ok(Streaming::unfold(state, |(mut records, shutdown)| async move {
            let next = tokio::select! {
                biased;
                next = records.next() => next?,
                () = shutdown.draining() => return None,
            };
            Some((next, (records, shutdown)))
        }))
    }

    pub(super) async fn trace(&self, query: SpanQuery) -> Result<Spans> {
        self.monitor.question()?;
        self.monitor.recorder().spans(&query).await.map(Spans::new)
    }

    /// Tells what the process is doing; one dump is made at a time, away from the workers: symbols
    /// take a while to look up.
    pub(super) async fn dump(&self) -> Result<Dump> {
        self.monitor.question()?;
        let turn = Turn::take(&self.dumping, "another dump is being made")?;
        let monitor = self.monitor.clone();
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            monitor.dump()
        });
        let mut dump = made.await.map_err(|error| {
            Error::internal(ERROR_ID, "the dump was not made").with_source(error)
        })?;
        for (name, count) in self.tasks.iter().flat_map(TaskTracker::names) {
            *dump.tasks.entry(name.to_owned()).or_default() += count;
        }
        self.monitor.locate_tasks(&mut dump).await;
        Ok(dump)
    }

    /// Tells where the processor's time goes; one profile is taken at a time, and the end of the
    /// process ends it.
    pub(super) async fn profile(&self, request: ProfileRequest) -> Result<Profile> {
        self.monitor.question()?;
        let request = request.checked(self.monitor.limits())?;
        let _turn = Turn::take(&self.profiling, "another profile is being taken")?;
        self.sample(&request).await
    }

    #[cfg(feature = "profile")]
    async fn sample(&self, request: &ProfileRequest) -> Result<Profile> {
        profile(request, self.monitor.limits(), self.shutdown.draining()).await
    }

    #[cfg(not(feature = "profile"))]
    async fn sample(&self, _: &ProfileRequest) -> Result<Profile> {
        Err(missing_profiler())
    }
}

/// What is done one at a time; ends when it is dropped, whoever still waits for it.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(taken: &Arc<AtomicBool>, detail: &str) -> Result<Self> {
        if taken.swap(true, Ordering::AcqRel) {
            return Err(Error::too_many_requests(ERROR_ID, detail.to_owned()));
        }
        Ok(Self(Arc::clone(taken)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn uncaptured() -> Error {
    let detail = "nothing hands the log of this process to its recorder; wrap the subscriber that \
                  the program installs by `debug::Capture::around`, or use `Service::run` without \
                  one, and give the recorder to `Service::recorder`";
    Error::unimplemented(ERROR_ID, detail)
}
