//! Joins the debug component with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(unix, feature = "stdio"))]
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::shutdown::TaskTracker;
#[cfg(all(unix, feature = "stdio"))]
use crate::debug::Output;
use crate::debug::{Capture, GaugeKind, Memory, Monitor, Recorder, Root};
use crate::server::Server;
use crate::service::backends::Backends;
#[cfg(all(unix, feature = "stdio"))]
use crate::service::hooks::After;
use crate::service::open::open_tracer;
use crate::service::settings::Settings;
use crate::service::url::Url;

/// How much of the process belongs to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it: it may be the one that takes the log.
    Whole,
    /// A part: the program is more than the service.
    Part,
}

/// Makes the monitor of a process, of a name and with limits, and tells whether the log reaches
/// its recorder.
///
/// The log is taken where the process is the service's own and the program has installed nothing
/// that takes it.
pub(crate) fn install(
    given: Option<Arc<dyn Recorder>>,
    settings: &Settings,
    name: &str,
    backends: &Backends,
    reach: Reach,
) -> Result<(Monitor, bool)> {
    let (wired, limits) = (given.is_some(), &backends.limits.debug);
    let recorder = given.unwrap_or_else(|| Arc::new(Memory::with_limits(limits.clone())));
    let tracer = settings.tracer.as_deref().unwrap_or("memory");
    let tracer = Url::join("tracer", tracer, settings.tracer_address.as_deref())?;
    let recorder = open_tracer(&tracer, name, recorder, limits, &backends.tasks)?;
    let takes = reach == Reach::Whole && {
        let capture = Capture::alone(Arc::clone(&recorder));
        // Fails where the program has a subscriber of its own.
        tracing::subscriber::set_global_default(capture).is_ok()
    };
    let monitor = Monitor::new(recorder, limits.clone(), Root::Paced);
    monitor.watch_panics();
    Ok((monitor, takes || wired))
}

/// Has the recorder take what the program prints; returns what ends it.
#[cfg(all(unix, feature = "stdio"))]
pub(crate) fn take_output(monitor: &Monitor) -> Result<After> {
    let output = Output::take(monitor.recorder(), monitor.limits().log_bytes_max)?;
    let give_back = move || {
        // It waits for the last lines, which is nothing for a worker.
        let given = tokio::task::spawn_blocking(move || drop(output));
        let error = |error| {
            Error::internal("micro.debug", "the output was not given back").with_source(error)
        };
        async move { given.await.map_err(error) }
    };
    Ok(Box::new(move || Box::pin(give_back())))
}

/// Shows the numbers that only the composed process knows.
pub(crate) fn show(
    monitor: &Monitor,
    server: &Server,
    backends: &Backends,
    stalls: &Arc<AtomicU64>,
) {
    let (gauge, counter) = (GaugeKind::Gauge, GaugeKind::Counter);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (calls, connections, tasks) = (server.clone(), server.clone(), backends.trackers());
    monitor.show(("in_flight", "Calls that run."), gauge, move || count(calls.in_flight()));
    let help = "Connections of the port.";
    monitor.show(("connections", help), gauge, move || count(connections.connections()));
    monitor.show(("tasks", "Tasks of the process."), gauge, move || {
        count(tasks.iter().map(TaskTracker::len).sum())
    });
    #[cfg(feature = "tls")]
    if let Some(files) = &backends.certificate {
        let (reloads, failures, until) = (Arc::clone(files), Arc::clone(files), Arc::clone(files));
        let help = "Certificates that were taken up while the process ran.";
        monitor.show(("tls_reloads", help), counter, move || reloads.reloads());
        let help = "Changes of the certificate's files to what is no good.";
        monitor.show(("tls_reload_failures", help), counter, move || failures.failures());
        let help = "When the certificate is over, in seconds since 1970.";
        monitor.show(("tls_certificate_until", help), gauge, move || until.until().as_secs());
    }
    let (stalls, help) = (Arc::clone(stalls), "Handlers that were found to hold a worker.");
    monitor.show(("stalls", help), counter, move || stalls.load(Ordering::Relaxed));
}
