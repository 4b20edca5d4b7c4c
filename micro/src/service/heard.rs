//! What is logged while a test runs, on its thread.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span;

/// Keeps the messages of what is logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Returns what `run` returns, and what it logged.
    pub(crate) fn during<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
        let heard = Self::default();
        let returned = tracing::subscriber::with_default(heard.clone(), run);
        let messages = heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (returned, messages)
    }
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            messages.push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}
