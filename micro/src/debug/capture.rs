//! A `tracing` subscriber that hands the log to a recorder, around the one that shows it.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use tracing::span::{Attributes, Id, Record as Values};
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::debug::Recorder;
use crate::debug::fields::{level, record};
use crate::debug::record::Level;

thread_local! {
    /// Whether this thread is handing over a record: what is logged meanwhile is left out.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Takes log records for a recorder, then hands them to the subscriber within, if there is one.
///
/// `Service::run` installs one around nothing unless the program has installed a subscriber of its
/// own. A program that has one wraps it:
///
/// ```
/// use std::sync::Arc;
/// use micro::debug::{Capture, Memory};
///
/// let memory = Arc::new(Memory::new());
/// # let fmt = tracing::subscriber::NoSubscriber::default();
/// let subscriber = Capture::around(fmt, memory.clone());
/// tracing::subscriber::set_global_default(subscriber)?;
/// // Service::new("shop").recorder(memory) ..
/// # Ok::<(), tracing::subscriber::SetGlobalDefaultError>(())
/// ```
pub struct Capture<S = NoSubscriber> {
    inner: S,
    recorder: Arc<dyn Recorder>,
    level: Level,
}

impl Capture {
    /// Takes the log for a recorder and shows it nowhere.
    pub fn alone(recorder: Arc<dyn Recorder>) -> Self {
        Self::around(NoSubscriber::default(), recorder)
    }
}

impl<S> Capture<S> {
    /// Takes the log for a recorder on its way to a subscriber.
    pub fn around(inner: S, recorder: Arc<dyn Recorder>) -> Self {
        Self { inner, recorder, level: Level::Info }
    }

    /// Takes records that are this grave or graver; [`Level::Info`] if it is not set.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && level(metadata) <= self.level
    }

    fn take(&self, event: &Event<'_>) {
        // A value that logs while it is formatted, or a recorder that does, would never end.
        let Ok(false) = BUSY.try_with(|busy| busy.replace(true)) else { return };
        struct Free;
        impl Drop for Free {
            fn drop(&mut self) {
                // A thread that ends has no mark to take back.
                let _freed = BUSY.try_with(|busy| busy.set(false));
            }
        }
        let _free = Free;
        self.recorder.log(record(event));
    }
}

impl<S: Subscriber> Subscriber for Capture<S> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let inner = self.inner.register_callsite(metadata);
        if self.wants(metadata) { Interest::always() } else { inner }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata) || self.inner.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        use tracing::level_filters::LevelFilter;
        let own = match self.level {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        };
        self.inner.max_level_hint().map(|inner| inner.max(own))
    }

    fn event(&self, event: &Event<'_>) {
        if self.wants(event.metadata()) {
            self.take(event);
        }
        // Nobody has asked the inner subscriber if this one wanted the event.
        if self.inner.enabled(event.metadata()) && self.inner.event_enabled(event) {
            self.inner.event(event);
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.inner.new_span(attributes)
    }

    fn record(&self, span: &Id, values: &Values<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.inner.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.inner.exit(span);
    }

    fn current_span(&self) -> Current {
        self.inner.current_span()
    }

    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.inner.on_register_dispatch(subscriber);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.inner.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.inner.try_close(id)
    }
}

impl<S> fmt::Debug for Capture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("level", &self.level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::{Context, Parts};
    use crate::core::trace::Trace;
    use crate::debug::memory::Memory;
    use crate::debug::record::LogQuery;

    async fn logged(level: Level, log: impl FnOnce()) -> Vec<crate::debug::Record> {
        let memory = Memory::new();
        let capture = Capture::alone(Arc::new(memory.clone())).with_level(level);
        tracing::subscriber::with_default(capture, log);
        memory.logs(&LogQuery::default()).await.unwrap()
    }

    #[tokio::test]
    async fn events_become_records_with_their_facts_and_their_trace() {
        let trace = Trace::root();
        let context = Context::from_parts(Parts { trace: Some(trace), ..Parts::default() });
        let records = logged(Level::Info, || {
            context.enter(|| tracing::warn!(target: "shop", item = 7, name = "tea", "sold out"));
            tracing::debug!("not asked for");
        })
        .await;
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((record.level, record.target.as_str()), (Level::Warn, "shop"));
        assert_eq!(record.message, "sold out");
        assert_eq!(
            (record.metadata["item"].as_str(), record.metadata["name"].as_str()),
            ("7", "tea")
        );
        assert_eq!(record.trace, Some(format!("{:032x}", trace.trace_id())));
    }

    /// A19, F49: secrets are masked by their names, and nothing acts on a terminal.
    #[tokio::test]
    async fn a19_f49_secrets_are_masked_and_control_characters_escaped() {
        let records = logged(Level::Info, || {
            tracing::info!(api_token = "hunter2", Password = "hunter2", "a\nb\u{1b}[2J");
        })
        .await;
        let text = format!("{records:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(records[0].message, "a\\nb\\u{1b}[2J");
    }

    #[tokio::test]
    async fn a_value_that_logs_while_it_is_formatted_does_not_recurse() {
        struct Loud;
        impl fmt::Display for Loud {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::error!("loud");
                f.write_str("value")
            }
        }
        let records = logged(Level::Info, || tracing::info!("{}", Loud)).await;
        assert_eq!(records.iter().filter(|record| record.message == "value").count(), 1);
        assert!(records.len() <= 2);
    }

    /// Without it nothing that is spawned stays in its span.
    #[test]
    fn the_present_span_is_that_of_the_subscriber_within() {
        #[derive(Default)]
        struct Known(std::sync::Mutex<Option<&'static Metadata<'static>>>);
        impl Subscriber for Known {
            fn enabled(&self, _: &Metadata<'_>) -> bool {
                true
            }
            fn new_span(&self, attributes: &Attributes<'_>) -> Id {
                *self.0.lock().unwrap() = Some(attributes.metadata());
                Id::from_u64(7)
            }
            fn record(&self, _: &Id, _: &Values<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn event(&self, _: &Event<'_>) {}
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
            fn current_span(&self) -> Current {
                let made = *self.0.lock().unwrap();
                made.map_or_else(Current::none, |span| Current::new(Id::from_u64(7), span))
            }
        }
        let capture = Capture::around(Known::default(), Arc::new(Memory::new()));
        tracing::subscriber::with_default(capture, || {
            let _span = tracing::info_span!("within").entered();
            assert_eq!(tracing::Span::current().id(), Some(Id::from_u64(7)));
        });
    }

    #[test]
    fn the_subscriber_within_sees_what_it_asks_for_and_no_more() {
        #[derive(Clone, Default)]
        struct Count(Arc<std::sync::atomic::AtomicUsize>);
        impl Subscriber for Count {
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                *metadata.level() <= tracing::Level::ERROR
            }
            fn new_span(&self, _: &Attributes<'_>) -> Id {
                Id::from_u64(1)
            }
            fn record(&self, _: &Id, _: &Values<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn event(&self, _: &Event<'_>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        let count = Count::default();
        let capture = Capture::around(count.clone(), Arc::new(Memory::new()));
        tracing::subscriber::with_default(capture, || {
            tracing::error!("one");
            tracing::info!("not for it");
        });
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
