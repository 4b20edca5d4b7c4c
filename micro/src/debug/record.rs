//! Log records, and how they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::clock;

/// How grave a record is; a graver one is less.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the levels are those of `tracing`")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// Something happened.
    #[default]
    Info,
    /// For whoever looks for a mistake.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// Returns the name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Record {
    /// The number that the recorder gave it: 1, 2, 3 and so on.
    pub seq: u64,
    /// When it was made: microseconds since 1970-01-01 UTC.
    pub timestamp_us: u64,
    /// How grave it is.
    pub level: Level,
    /// Where it comes from, such as `shop::orders`.
    pub target: String,
    /// What happened.
    pub message: String,
    /// Facts beside the message.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The id of the trace in which it was made, in 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Record {
    /// Makes a record of this moment.
    pub fn new(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            timestamp_us: micros(clock::unix_now()),
            target: target.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Replaces the level.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Replaces the trace, given as 32 hex digits.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

/// Returns a time in microseconds; one of more than 584,000 years is cut.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Which log records are wanted; what is not set is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogQuery {
    /// How many at most, the latest; 0 means as many as there are.
    pub count: usize,
    /// Those made at this time or later: microseconds since 1970-01-01 UTC.
    pub since_us: u64,
    /// Those that are this grave or graver.
    pub level: Option<Level>,
    /// Those whose target begins so.
    pub target: String,
    /// Those of a trace, given as 32 hex digits.
    pub trace: Option<String>,
}

impl LogQuery {
    /// Asks for the latest `count` records.
    pub fn last(count: usize) -> Self {
        Self { count, ..Self::default() }
    }

    /// Asks for those that are this grave or graver.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Asks for those whose target begins so.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Asks for those of a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Asks for those made at a time or later.
    #[must_use]
    pub fn since_us(mut self, since_us: u64) -> Self {
        self.since_us = since_us;
        self
    }

    /// Returns whether a record is wanted, however many there are.
    pub fn fits(&self, record: &Record) -> bool {
        record.timestamp_us >= self.since_us
            && self.level.is_none_or(|level| record.level <= level)
            && record.target.starts_with(&self.target)
            && (self.trace.is_none() || self.trace == record.trace)
    }
}
