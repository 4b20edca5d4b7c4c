//! The numbers of a process at one moment.

use serde::{Deserialize, Serialize};

use crate::debug::histogram::Histogram;
use crate::debug::process::ProcessStats;
use crate::debug::runtime::RuntimeStats;

/// The numbers of a process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Stats {
    /// The name of the process.
    pub name: String,
    /// When this was read: seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// When the process began: seconds since 1970-01-01 UTC.
    pub started: u64,
    /// Seconds since then.
    pub uptime: u64,
    /// Calls that are over, those that no handler saw included.
    pub requests: u64,
    /// Those of them that ended with an error.
    pub errors: u64,
    /// What the system says.
    pub process: ProcessStats,
    /// What the async runtime says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeStats>,
    /// Further numbers by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gauges: Vec<Gauge>,
    /// The numbers of each endpoint that was called.
    pub endpoints: Vec<EndpointStats>,
}

/// The numbers of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The name of the service.
    pub service: String,
    /// The wire name of the endpoint, such as `Greeter.Hello`.
    pub endpoint: String,
    /// Calls that run.
    pub in_flight: u64,
    /// How calls ended.
    pub outcomes: Outcomes,
    /// How long calls took from their arrival to their end; those that no handler saw not included.
    pub latency: Histogram,
}

/// How calls ended, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Outcomes {
    /// They did what was asked.
    pub ok: u64,
    /// The handler refused.
    pub rejected: u64,
    /// The caller went away.
    pub cancelled: u64,
    /// The deadline passed.
    pub late: u64,
    /// The handler failed.
    pub failed: u64,
    /// No handler saw them.
    pub refused: u64,
}

impl Outcomes {
    /// Returns each count with its name.
    pub const fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("ok", self.ok),
            ("rejected", self.rejected),
            ("cancelled", self.cancelled),
            ("late", self.late),
            ("failed", self.failed),
            ("refused", self.refused),
        ]
    }

    /// Returns how many calls are over.
    pub const fn requests(&self) -> u64 {
        self.ok + self.errors()
    }

    /// Returns how many of them ended with an error.
    pub const fn errors(&self) -> u64 {
        self.rejected + self.cancelled + self.late + self.failed + self.refused
    }
}

/// A number that some part of the process shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Gauge {
    /// The name, such as `connections`.
    pub name: String,
    /// What it is, in a few words.
    pub help: String,
    /// Whether it goes up and down.
    #[serde(rename = "type")]
    pub kind: GaugeKind,
    /// The number.
    pub value: u64,
}

/// Whether a number goes up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "a number falls or it does not")]
pub enum GaugeKind {
    /// It does.
    #[default]
    Gauge,
    /// It only grows.
    Counter,
}
