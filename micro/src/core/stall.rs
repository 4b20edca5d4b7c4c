//! Handlers that hold a worker of the runtime without waiting: found while they do.
//!
//! Each thread marks which endpoint's handler it polls: a few stores a poll and no clock. A thread
//! beside the runtime, which no handler can hold up, looks at the marks from time to time: a poll
//! that it finds twice has lasted.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::core::descriptor::{EndpointSpec, ServiceDescriptor};
use crate::core::error::{Error, Result};

/// The pause between two looks: whoever holds a worker is found after one of them at the least and
/// two at the most.
const LOOK: Duration = Duration::from_millis(400);

/// What one thread polls.
#[derive(Debug, Default)]
struct Mark {
    /// Tells one poll from the next.
    polls: AtomicUsize,
    /// The address of the endpoint's description; zero while no handler is polled.
    spec: AtomicUsize,
}

/// The marks of all threads that have polled a handler.
static MARKS: Mutex<Vec<Weak<Mark>>> = Mutex::new(Vec::new());

thread_local! {
    static MARK: Arc<Mark> = enlisted();
    static POLLS: Cell<usize> = const { Cell::new(0) };
}

fn enlisted() -> Arc<Mark> {
    let mark = Arc::default();
    let mut marks = lock(&MARKS);
    marks.retain(|mark| mark.strong_count() > 0);
    marks.push(Arc::downgrade(&mark));
    mark
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(spec: &'static EndpointSpec) -> usize {
    std::ptr::from_ref(spec).addr()
}

/// Polls a handler under the mark of its endpoint.
#[inline]
pub(crate) fn marked<R>(spec: Option<&'static EndpointSpec>, poll: impl FnOnce() -> R) -> R {
    let Some(spec) = spec else { return poll() };
    let before = MARK.try_with(|mark| {
        let before = mark.spec.load(Ordering::Relaxed);
        begin(mark, address(spec));
        before
    });
    let polled = poll();
    if let Ok(before) = before {
        // A thread that is about to end has no mark, and nobody looks for it.
        let _marked = MARK.try_with(|mark| begin(mark, before));
    }
    polled
}

fn begin(mark: &Mark, spec: usize) {
    let polls = POLLS.get().wrapping_add(1);
    POLLS.set(polls);
    mark.polls.store(polls, Ordering::Relaxed);
    mark.spec.store(spec, Ordering::Relaxed);
}

/// Finds the handlers of some services that hold a worker, and says so in the log.
///
/// Looks until it is dropped, from a thread of its own.
pub struct Watchdog {
    stop: Arc<Stop>,
    stalls: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Watchdog {
    /// Starts to look; `stalls` counts what is found.
    ///
    /// # Errors
    /// 503 when the system gives no thread.
    pub fn start(services: &[&'static ServiceDescriptor], stalls: Arc<AtomicU64>) -> Result<Self> {
        let endpoints = services.iter().flat_map(|service| {
            service.endpoints.iter().map(|spec| (address(spec), service.name, spec.name))
        });
        let mut look = Look { endpoints: endpoints.collect(), seen: Vec::new() };
        let stop = Arc::<Stop>::default();
        let (told, count) = (Arc::clone(&stop), Arc::clone(&stalls));
        let run = move || {
            while !told.wait() {
                count.fetch_add(look.again(), Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("micro-watchdog".to_owned()).spawn(run);
        let thread = thread.map_err(|error| {
            Error::unavailable("micro.core", "no thread for the watchdog").with_source(error)
        })?;
        Ok(Self { stop, stalls, thread: Some(thread) })
    }
}

impl Stop {
    /// Waits for the next look; `true` when there is none.
    fn wait(&self) -> bool {
        let stopped = lock(&self.stopped);
        let waited = self.changed.wait_timeout_while(stopped, LOOK, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *lock(&self.stop.stopped) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only ever waits to be told, so that this takes no time.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stalls = self.stalls.load(Ordering::Relaxed);
        f.debug_struct("Watchdog").field("stalls", &stalls).finish_non_exhaustive()
    }
}

/// What was seen at the last look.
struct Look {
    endpoints: Vec<(usize, &'static str, &'static str)>,
    seen: Vec<Seen>,
}

struct Seen {
    mark: Weak<Mark>,
    polls: usize,
    told: bool,
}

impl Look {
    /// Looks at every mark; returns how many polls were found to last.
    fn again(&mut self) -> u64 {
        let marks: Vec<_> = lock(&MARKS).clone();
        let mut found = 0;
        let mut seen = Vec::with_capacity(marks.len());
        for weak in marks {
            let Some(mark) = weak.upgrade() else { continue };
            let polls = mark.polls.load(Ordering::Relaxed);
            let before = self.seen.iter().find(|seen| seen.mark.ptr_eq(&weak));
            let lasts = before.is_some_and(|seen| seen.polls == polls);
            let mut told = lasts && before.is_some_and(|seen| seen.told);
            if lasts && !told && self.tell(mark.spec.load(Ordering::Relaxed)) {
                (told, found) = (true, found + 1);
            }
            seen.push(Seen { mark: weak, polls, told });
        }
        self.seen = seen;
        found
    }

    /// Says which handler holds a worker; `false` when it is none of these services.
    fn tell(&self, spec: usize) -> bool {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.0 == spec);
        let Some((_, service, endpoint)) = endpoint else { return false };
        tracing::error!(
            service,
            endpoint,
            "the handler holds a worker thread without awaiting: other calls wait for it; move the \
             work to `tokio::task::spawn_blocking`",
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::{CallKind, Schema};

    static SPECS: [EndpointSpec; 2] = [spec("Test.Slow"), spec("Test.Other")];
    static SERVICE: ServiceDescriptor = ServiceDescriptor {
        name: "test",
        version: "",
        type_name: "Test",
        doc: "",
        endpoints: &SPECS,
        subscriptions: &[],
        metadata: &[],
    };

    const fn spec(name: &'static str) -> EndpointSpec {
        EndpointSpec {
            name,
            kind: CallKind::Unary,
            request: Schema::default,
            response: Schema::default,
            doc: "",
            description: "",
            example: None,
            scopes: None,
            public: false,
            timeout: None,
            idempotent: false,
            detached: false,
            deprecated: false,
            metadata: &[],
        }
    }

    /// Looks for one endpoint alone, since tests run side by side.
    fn look(spec: &'static EndpointSpec) -> Look {
        Look { endpoints: vec![(address(spec), "test", spec.name)], seen: Vec::new() }
    }

    #[test]
    fn a_poll_that_is_seen_twice_is_told_once() {
        static SPEC: EndpointSpec = spec("Test.Once");
        let mut look = look(&SPEC);
        let found = marked(Some(&SPEC), || [look.again(), look.again(), look.again()]);
        assert_eq!(found, [0, 1, 0]);
        // The next poll of the same endpoint is another one.
        let found = marked(Some(&SPEC), || [look.again(), look.again()]);
        assert_eq!(found, [0, 1]);
    }

    #[test]
    fn polls_that_end_are_not_told_and_neither_is_a_thread_at_rest() {
        static SPEC: EndpointSpec = spec("Test.Quick");
        let mut look = look(&SPEC);
        for _ in 0..10 {
            assert_eq!(marked(Some(&SPEC), || look.again()), 0);
            assert_eq!((look.again(), look.again()), (0, 0));
        }
        assert_eq!(marked(None, || (look.again(), look.again())), (0, 0));
    }

    #[test]
    fn a_poll_within_a_poll_leaves_the_outer_one_marked() {
        static OUTER: EndpointSpec = spec("Test.Outer");
        static INNER: EndpointSpec = spec("Test.Inner");
        let (mut outer, mut inner) = (look(&OUTER), look(&INNER));
        marked(Some(&OUTER), || {
            marked(Some(&INNER), || assert_eq!((inner.again(), inner.again()), (0, 1)));
            assert_eq!((outer.again(), outer.again()), (0, 1));
        });
    }

    #[test]
    fn a_handler_that_holds_its_worker_is_found_within_a_second_and_the_thread_ends() {
        let stalls = Arc::default();
        let watchdog = Watchdog::start(&[&SERVICE], Arc::clone(&stalls)).unwrap();
        let held = marked(Some(&SPECS[0]), || {
            // A receive that nobody answers holds the thread as a blocking handler does.
            let (_kept, never) = std::sync::mpsc::channel::<()>();
            (0..100).find(|_| {
                let _elapsed = never.recv_timeout(Duration::from_millis(10));
                stalls.load(Ordering::Relaxed) == 1
            })
        });
        assert!(held.is_some(), "not found within a second");
        drop(watchdog);
    }
}
