//! Joins the debug component with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::limits::DebugLimits;
use crate::debug::{Capture, GaugeKind, Memory, Monitor, Recorder, Root};
use crate::server::Server;
use crate::service::backends::Backends;

/// How much of the process belongs to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it: it may be the one that takes the log.
    Whole,
    /// A part: the program is more than the service.
    Part,
}

/// Makes the monitor of a process, and tells whether the log reaches its recorder.
///
/// The log is taken where the process is the service's own and the program has installed nothing
/// that takes it.
pub(crate) fn install(
    given: Option<Arc<dyn Recorder>>,
    limits: &DebugLimits,
    reach: Reach,
) -> (Monitor, bool) {
    let wired = given.is_some();
    let recorder = given.unwrap_or_else(|| Arc::new(Memory::with_limits(limits.clone())));
    let takes = reach == Reach::Whole && {
        let capture = Capture::alone(Arc::clone(&recorder));
        // Fails where the program has a subscriber of its own.
        tracing::subscriber::set_global_default(capture).is_ok()
    };
    let monitor = Monitor::new(recorder, limits.clone(), Root::Paced);
    monitor.watch_panics();
    (monitor, takes || wired)
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
    let (calls, connections, tasks) = (server.clone(), server.clone(), backends.tasks.clone());
    monitor.show(("in_flight", "Calls that run."), gauge, move || count(calls.in_flight()));
    let help = "Connections of the port.";
    monitor.show(("connections", help), gauge, move || count(connections.connections()));
    monitor.show(("tasks", "Tasks of the process."), gauge, move || count(tasks.len()));
    let (stalls, help) = (Arc::clone(stalls), "Handlers that were found to hold a worker.");
    monitor.show(("stalls", help), counter, move || stalls.load(Ordering::Relaxed));
}
