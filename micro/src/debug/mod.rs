//! What a process knows of itself: stats, log, traces, health, panics.
//!
//! A [`Monitor`] belongs to each process and is what the server, the client and the `Debug.*`
//! endpoints share. Counting is done in the process; log records and spans go to a [`Recorder`],
//! by default the rings of [`Memory`].
//!
//! ```
//! use micro::debug::{LogQuery, Memory, Recorder, Record};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let memory = Memory::new();
//! memory.log(Record::new("shop", "the till is open"));
//! let records = memory.logs(&LogQuery::default()).await?;
//! assert_eq!(records[0].message, "the till is open");
//! # Ok::<(), micro::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Cost
//!
//! A call costs a few plain stores into counters that its thread alone writes, and no clock where
//! the transport knows the time. Nothing is allocated for it unless it is traced.

mod calls;
mod capture;
mod dump;
mod fields;
mod health;
mod histogram;
mod memory;
mod metrics;
mod monitor;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(all(unix, feature = "stdio"))]
mod output;
mod pace;
mod panics;
mod process;
mod profile;
mod record;
mod ring;
mod runtime;
#[cfg(feature = "profile")]
mod sampler;
mod seat;
mod span;
mod stats;
mod tasks;
mod text;

use std::fmt;

use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;

pub use self::calls::{Calls, Outcome};
pub use self::capture::Capture;
pub use self::dump::{Dump, Facility};
pub use self::health::{Check, CheckKind, CheckReport, Health, HealthReport, Status};
pub use self::histogram::{BOUNDS, Histogram};
pub use self::memory::Memory;
pub use self::metrics::{Exposition, expose};
pub use self::monitor::{Monitor, Root};
#[cfg(feature = "otlp")]
pub use self::otlp::Otlp;
#[cfg(all(unix, feature = "stdio"))]
pub use self::output::Output;
pub use self::panics::PanicReport;
pub use self::process::ProcessStats;
pub use self::profile::{Profile, ProfileRequest};
pub use self::record::{Level, LogQuery, Record};
pub use self::runtime::RuntimeStats;
pub use self::span::{Span, SpanKind, SpanQuery};
pub use self::stats::{EndpointStats, Gauge, GaugeKind, Outcomes, Stats};

#[cfg(all(feature = "server", not(feature = "profile")))]
pub(crate) use self::profile::missing as missing_profiler;
#[cfg(feature = "profile")]
pub(crate) use self::sampler::profile;

/// The id of the errors of this component.
pub(crate) const ERROR_ID: &str = "micro.debug";

/// A backend that keeps log records and spans, and finds them again.
///
/// Records and spans are handed over where they happen: [`Recorder::log`] and [`Recorder::span`]
/// never wait, never fail and never log. What a backend cannot keep up with it drops and counts.
/// What it does not declare in its [`Capabilities`] it answers by [`unsupported`] (501).
pub trait Recorder: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `memory`.
    fn name(&self) -> &'static str;

    /// Returns what the backend can do; the same at every call.
    fn capabilities(&self) -> Capabilities;

    /// Takes a log record; the backend numbers it.
    fn log(&self, record: Record);

    /// Takes a span that is over.
    fn span(&self, span: Span);

    /// Finds log records, the latest ones that fit, the oldest of them first. May be repeated.
    fn logs<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<Vec<Record>>>;

    /// Follows the log: what [`Recorder::logs`] finds, then every record that fits as it comes,
    /// none of them twice.
    ///
    /// A reader that falls behind gets one record, of target `micro.debug`, that says how many are
    /// missing. The stream has no end of its own.
    ///
    /// # Errors
    /// 429 when as many follow as may.
    fn follow(&self, query: &LogQuery) -> Result<Streaming<Record>>;

    /// Finds spans, the latest ones that fit, in the order in which they were taken. May be
    /// repeated.
    fn spans<'a>(&'a self, query: &'a SpanQuery) -> BoxFuture<'a, Result<Vec<Span>>>;

    /// Sends off what a backend has not sent yet. May be repeated.
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns numbers of the backend's own, shown among those of the process; none by default.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }
}

/// What a recorder can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Recorder::logs`] finds what was logged.
    pub logs: bool,
    /// [`Recorder::follow`] works.
    pub follow: bool,
    /// [`Recorder::spans`] finds what was recorded.
    pub spans: bool,
    /// Log records that are kept at least.
    pub logs_kept: usize,
    /// Spans that are kept at least.
    pub spans_kept: usize,
}

impl Capabilities {
    /// Declares nothing: a backend that takes what it gets and shows nothing of it here.
    pub const fn none() -> Self {
        Self { logs: false, follow: false, spans: false, logs_kept: 0, spans_kept: 0 }
    }
}

/// Makes the error of a power that a backend does not declare.
pub fn unsupported(recorder: &str, what: &str) -> Error {
    Error::unimplemented(ERROR_ID, format!("the recorder `{recorder}` shows no {what}"))
}
