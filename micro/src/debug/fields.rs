//! Reads an event of `tracing` into a record.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use crate::core::context::Context;
use crate::core::metadata::is_secret;
use crate::debug::record::{Level, Record};

/// What is shown of a value whose name says that nobody is to see it.
const MASK: &str = "***";

/// Makes a record of an event.
pub(super) fn record(event: &Event<'_>) -> Record {
    let metadata = event.metadata();
    let mut fields = Fields(Record::new(metadata.target(), "").with_level(level(metadata)));
    event.record(&mut fields);
    let mut record = fields.0;
    let trace = Context::peek().and_then(|context| context.trace());
    record.trace = trace.map(|trace| format!("{:032x}", trace.trace_id()));
    record
}

pub(super) fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        _ => Level::Trace,
    }
}

struct Fields(Record);

impl Fields {
    fn take(&mut self, field: &Field, value: String) {
        let name = field.name();
        if name == "message" {
            self.0.message = value;
        } else if is_secret(&name.to_ascii_lowercase()) {
            self.0.metadata.insert(name.to_owned(), MASK.to_owned());
        } else {
            self.0.metadata.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.take(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}
