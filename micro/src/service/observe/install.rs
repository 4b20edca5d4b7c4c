//! Joins the debug component with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::{Broker, Counts};
use crate::config::Config;
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
    config: &Config,
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
    if let Some(auth) = backends.auth.clone().filter(|auth| auth.clock_ahead().is_some()) {
        let help = "Seconds by which a token of a good key was ahead of the clock here, at most.";
        monitor.show(("auth_clock_ahead_seconds", help), gauge, move || {
            auth.clock_ahead().unwrap_or_default().as_secs()
        });
    }
    show_settings(monitor, config);
    show_messages(monitor, &backends.broker);
}

/// Shows what became of the changes of the settings.
fn show_settings(monitor: &Monitor, config: &Config) {
    let (applied, refused) = (config.clone(), config.clone());
    let help = "Changes of the settings that were taken while the process ran.";
    monitor.show(("config_reloads", help), GaugeKind::Counter, move || applied.reloads().applied);
    let help = "Changes of the settings that were refused; those before them stay.";
    monitor.show(("config_reload_failures", help), GaugeKind::Counter, move || {
        refused.reloads().refused
    });
}

/// A number about messages: its name, what it is, and which of the counts.
type Number = (&'static str, &'static str, GaugeKind, fn(&Counts) -> u64);

/// What is shown of the counts of a broker.
const MESSAGES: [Number; 10] = [
    (
        "broker_published",
        "Messages that the broker took from publishers, dead letters among them.",
        GaugeKind::Counter,
        |counts| counts.published,
    ),
    ("broker_unrouted", "Messages that nobody was subscribed to.", GaugeKind::Counter, |counts| {
        counts.unrouted
    }),
    (
        "broker_routed",
        "Copies of messages, one for each group that gets one.",
        GaugeKind::Counter,
        |counts| counts.routed,
    ),
    ("broker_delivered", "Copies handed to a handler, each time.", GaugeKind::Counter, |counts| {
        counts.delivered
    }),
    ("broker_acked", "Copies that a handler acknowledged.", GaugeKind::Counter, |counts| {
        counts.acked
    }),
    (
        "broker_retried",
        "Failed deliveries that another was to follow.",
        GaugeKind::Counter,
        |counts| counts.retried,
    ),
    ("broker_dead", "Copies given up as dead letters.", GaugeKind::Counter, |counts| counts.dead),
    (
        "broker_dropped",
        "Copies lost to overflow or with the last subscription of a group.",
        GaugeKind::Counter,
        |counts| counts.dropped,
    ),
    (
        "broker_returned",
        "Copies given back to be delivered to another subscription.",
        GaugeKind::Counter,
        |counts| counts.returned,
    ),
    ("broker_lag", "Copies that wait or are being handled.", GaugeKind::Gauge, |counts| {
        counts.in_flight
    }),
];

/// Shows what becomes of the messages of a broker that counts them.
fn show_messages(monitor: &Monitor, broker: &Arc<dyn Broker>) {
    if broker.counts().is_none() {
        return;
    }
    for (name, help, kind, read) in MESSAGES {
        // Not held: handlers hold the monitor, and a broker its handlers.
        let broker = Arc::downgrade(broker);
        monitor.show((name, help), kind, move || {
            broker.upgrade().and_then(|broker| broker.counts()).map_or(0, |counts| read(&counts))
        });
    }
}
