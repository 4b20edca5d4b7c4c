//! Requests and answers that are not of the debug component itself.

use serde::{Deserialize, Serialize};

use crate::debug::{Level, LogQuery, Span};

/// Which log records are asked for, and whether those that follow are too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LogRequest {
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
    /// Whether to go on with records as they come; the stream ends when the process stops.
    pub stream: bool,
}

impl LogRequest {
    /// Asks for what a query asks for.
    pub fn new(query: LogQuery) -> Self {
        let LogQuery { count, since_us, level, target, trace, .. } = query;
        Self { count, since_us, level, target, trace, stream: false }
    }

    /// Asks for those that follow, too.
    #[must_use]
    pub fn followed(mut self) -> Self {
        self.stream = true;
        self
    }

    /// Returns the query.
    pub fn query(&self) -> LogQuery {
        let mut query =
            LogQuery::last(self.count).since_us(self.since_us).with_target(self.target.clone());
        query.level = self.level;
        query.trace = self.trace.clone();
        query
    }
}

/// Spans that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Spans {
    /// The spans, in the order in which they ended.
    pub spans: Vec<Span>,
}

impl Spans {
    pub(super) fn new(spans: Vec<Span>) -> Self {
        Self { spans }
    }
}
