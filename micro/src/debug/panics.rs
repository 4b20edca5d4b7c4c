//! Panics of the process, kept with their backtraces.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, Once, PoisonError, TryLockError, Weak};

use serde::{Deserialize, Serialize};

use crate::core::clock;
use crate::core::context::Context;
use crate::core::limits::DebugLimits;
use crate::core::panic;
use crate::debug::pace::Pace;
use crate::debug::record::micros;
use crate::debug::ring::Ring;
use crate::debug::text::{plain, shortened};

/// Backtraces that are taken a second, and at once: a peer that knows how to make a handler panic
/// is not to slow down the process by it.
const BACKTRACES: (u32, u32) = (1, 16);

/// One panic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PanicReport {
    /// When: microseconds since 1970-01-01 UTC.
    pub timestamp_us: u64,
    /// What was said.
    pub message: String,
    /// The file and line of it.
    pub location: String,
    /// The thread.
    pub thread: String,
    /// The endpoint whose handler it was in, as `service.Type.Method`; empty if none.
    pub endpoint: String,
    /// The id of the trace it was in, in 32 hex digits; empty if none.
    pub trace: String,
    /// How it came there; empty where panics are too many for that.
    pub backtrace: String,
}

/// The latest panics of the process.
#[derive(Debug)]
pub(super) struct Panics {
    ring: Mutex<Ring<(PanicReport, Option<Backtrace>)>>,
    pace: Pace,
    limits: DebugLimits,
}

/// Those who are told of every panic.
static ALL: Mutex<Vec<Weak<Panics>>> = Mutex::new(Vec::new());

/// The hook stands once in a process, before the one that was there.
static HOOK: Once = Once::new();

impl Panics {
    /// Makes an empty ring that is told of no panic yet.
    pub(super) fn new(limits: &DebugLimits) -> Arc<Self> {
        let (per_second, burst) = BACKTRACES;
        Arc::new(Self {
            ring: Mutex::new(Ring::new(limits.panics_max)),
            pace: Pace::new(clock::now(), per_second, burst),
            limits: limits.clone(),
        })
    }

    /// Has the ring told of every panic of the process from here on.
    pub(super) fn watch(self: &Arc<Self>) {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                tell_all(info);
                before(info);
            }));
        });
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|panics| panics.strong_count() > 0);
        if !all.iter().any(|panics| std::ptr::eq(panics.as_ptr(), Arc::as_ptr(self))) {
            all.push(Arc::downgrade(self));
        }
    }

    /// Returns the latest panics, the oldest first, and how many there were.
    pub(super) fn read(&self) -> (Vec<PanicReport>, u64) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, seen) = (ring.iter().cloned().collect::<Vec<_>>(), ring.next() - 1);
        // Symbols are looked up where somebody asks, not where something panics.
        drop(ring);
        let max = self.limits.backtrace_bytes_max;
        let report = |kept: &Arc<(PanicReport, Option<Backtrace>)>| {
            let (report, backtrace) = kept.as_ref();
            let text = backtrace.as_ref().map(ToString::to_string).unwrap_or_default();
            PanicReport { backtrace: shortened(text, max), ..report.clone() }
        };
        (kept.iter().map(report).collect(), seen)
    }

    fn take(&self, report: PanicReport) {
        let backtrace = self.pace.take(clock::now()).then(Backtrace::force_capture);
        let mut ring = match self.ring.try_lock() {
            Ok(ring) => ring,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody reads or writes it, this very thread perhaps: a hook must not wait.
            Err(TryLockError::WouldBlock) => return,
        };
        let oldest = ring.push((report, backtrace));
        drop(ring);
        drop(oldest);
    }
}

fn tell_all(info: &PanicHookInfo<'_>) {
    let Ok(all) = ALL.try_lock() else { return };
    let told: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    if let Some(first) = told.first() {
        let report = report(info, first.limits.log_bytes_max);
        told.iter().for_each(|panics| panics.take(report.clone()));
    }
}

fn report(info: &PanicHookInfo<'_>, max: usize) -> PanicReport {
    let context = Context::peek();
    let trace = context.as_ref().and_then(Context::trace);
    let endpoint = context
        .as_ref()
        .and_then(|context| Some(format!("{}.{}", context.service()?, context.spec()?.name)));
    let location = info.location().map(|l| format!("{}:{}", l.file(), l.line()));
    PanicReport {
        timestamp_us: micros(clock::unix_now()),
        message: plain(panic::text(info.payload()).unwrap_or("no message"), max),
        location: location.unwrap_or_default(),
        thread: plain(std::thread::current().name().unwrap_or_default(), max),
        endpoint: endpoint.unwrap_or_default(),
        trace: trace.map(|trace| format!("{:032x}", trace.trace_id())).unwrap_or_default(),
        backtrace: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn panics(max: usize) -> Arc<Panics> {
        Panics::new(&DebugLimits { panics_max: max, ..DebugLimits::default() })
    }

    #[test]
    fn a_panic_is_kept_with_its_place_and_its_backtrace() {
        let panics = panics(1000);
        panics.watch();
        drop(catch_unwind(|| panic!("kept\u{1b} on purpose")));
        let (kept, seen) = panics.read();
        // Other tests of the process panic too.
        let own = kept.iter().find(|report| report.message.starts_with("kept")).unwrap();
        assert!(seen >= 1);
        assert_eq!(own.message, "kept\\u{1b} on purpose");
        assert!(own.location.contains("panics.rs"), "{own:?}");
        assert!(own.thread.contains("a_panic_is_kept"), "{own:?}");
    }

    #[test]
    fn backtraces_have_a_pace_and_the_ring_a_limit() {
        let panics = panics(4);
        for n in 0..40 {
            panics.take(PanicReport { message: n.to_string(), ..PanicReport::default() });
        }
        let (kept, seen) = panics.read();
        let messages: Vec<_> = kept.iter().map(|report| report.message.as_str()).collect();
        assert_eq!((messages.as_slice(), seen), (["36", "37", "38", "39"].as_slice(), 40));
        assert!(kept.iter().all(|report| report.backtrace.is_empty()), "past the pace");
    }

    #[test]
    fn a_backtrace_is_cut_at_its_limit() {
        let limits = DebugLimits { backtrace_bytes_max: 100, ..DebugLimits::default() };
        let panics = Panics::new(&limits);
        panics.take(PanicReport::default());
        let backtrace = &panics.read().0[0].backtrace;
        assert!(!backtrace.is_empty() && backtrace.len() <= 100, "{}", backtrace.len());
    }

    #[test]
    fn a_panic_inside_the_ring_does_not_hang() {
        let panics = panics(4);
        let held = panics.ring.lock().unwrap();
        panics.take(PanicReport::default());
        drop(held);
        drop(catch_unwind(AssertUnwindSafe(|| panics.read())));
    }
}
