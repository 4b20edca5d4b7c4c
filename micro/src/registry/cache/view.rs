//! The read path of the cache: the nodes of one service, ready at any time.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::watch;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::registry::cache::guard::Known;
use crate::registry::cache::guard::Members;
use crate::registry::check::ERROR_ID;
use crate::registry::record::Record;
use crate::registry::record::Snapshot;

/// The nodes of one service, kept current by a watch that all users of the view share.
///
/// Reading never waits and takes no lock. When the registry fails, the last snapshot stays; see
/// [`View::stale_for`].
pub struct View {
    service: Arc<str>,
    snapshot: ArcSwap<Snapshot>,
    /// That of the snapshot, for those who only ask whether it is another one.
    revision: AtomicU64,
    state: watch::Sender<State>,
    published: Mutex<Vec<Known>>,
    /// Callers inside [`View::wait_for_instances`].
    waiters: AtomicUsize,
    asked: Arc<Notify>,
    touched: AtomicBool,
    feed: OnceLock<Box<dyn std::any::Any + Send + Sync>>,
}

/// What waiting callers look at.
#[derive(Clone, Debug, Default)]
struct State {
    /// That of the snapshot; zero before the first answer.
    revision: u64,
    /// Why and since when the snapshot may be out of date.
    failure: Option<(Error, Instant)>,
    /// The feed ended: nothing will change any more.
    closed: bool,
}

/// A snapshot borrowed from a [`View`]; short-lived and not held across an await.
pub struct Loaded(arc_swap::Guard<Arc<Snapshot>>);

impl Deref for Loaded {
    type Target = Arc<Snapshot>;

    fn deref(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl View {
    pub(super) fn new(service: &str) -> Self {
        Self {
            service: service.into(),
            snapshot: ArcSwap::from_pointee(Snapshot::empty(service)),
            revision: AtomicU64::new(0),
            state: watch::Sender::new(State::default()),
            published: Mutex::new(Vec::new()),
            waiters: AtomicUsize::new(0),
            asked: Arc::new(Notify::new()),
            touched: AtomicBool::new(true),
            feed: OnceLock::new(),
        }
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the current snapshot without waiting, locking or counting; empty with revision 0
    /// before the first answer of the registry.
    pub fn load(&self) -> Loaded {
        Loaded(self.snapshot.load())
    }

    /// Returns the revision of the current snapshot, or of the one before while that is replaced.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Returns the current snapshot to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Waits for the first answer of the registry; at once if there was one.
    ///
    /// The snapshot may be empty: nothing serves the name. All callers share one question. Cancel
    /// safe; bounded only by the answer, so give it a deadline.
    ///
    /// # Errors
    ///
    /// The registry's own error if it failed and never answered; the question is repeated with
    /// backoff, so a later call may succeed. Unavailable if the cache was shut down.
    pub async fn ready(&self) -> Result<Arc<Snapshot>> {
        let mut states = self.state.subscribe();
        let settled = |state: &State| state.revision > 0 || state.failure.is_some() || state.closed;
        let state = match states.wait_for(settled).await {
            Ok(state) => state.clone(),
            Err(_closed) => return Err(self.closed()),
        };
        match state.failure {
            _ if state.revision > 0 => Ok(self.snapshot()),
            Some((error, _)) => Err(error),
            None => Err(self.closed()),
        }
    }

    /// Waits until the service has a node; at once if it has.
    ///
    /// While someone waits, the registry is also asked anew, at growing intervals up to a second,
    /// because some backends lose announcements. Errors of the registry are waited out. Cancel
    /// safe; bounded only by the arrival of a node, so give it a deadline.
    ///
    /// # Errors
    ///
    /// Unavailable if the cache was shut down.
    pub async fn wait_for_instances(&self) -> Result<Arc<Snapshot>> {
        let mut states = self.state.subscribe();
        let _waiting = Waiting::start(self);
        loop {
            states.borrow_and_update();
            let snapshot = self.snapshot();
            if !snapshot.is_empty() {
                return Ok(snapshot);
            }
            if states.borrow().closed || states.changed().await.is_err() {
                return Err(self.closed());
            }
        }
    }

    /// Waits until the snapshot is another than that of `revision` and returns it; cancel safe.
    ///
    /// # Errors
    ///
    /// Unavailable if the cache was shut down.
    pub async fn changed(&self, revision: u64) -> Result<Arc<Snapshot>> {
        let mut states = self.state.subscribe();
        let moved = states.wait_for(|state| state.revision != revision || state.closed).await;
        match moved {
            Ok(state) if state.revision != revision => Ok(self.snapshot()),
            _ => Err(self.closed()),
        }
    }

    /// Returns how long the registry has failed to confirm the snapshot; `None` while it does.
    pub fn stale_for(&self) -> Option<Duration> {
        let state = self.state.borrow();
        state.failure.as_ref().map(|(_, since)| clock::now().duration_since(*since))
    }

    /// Returns why the snapshot may be out of date; `None` while the registry answers.
    pub fn failure(&self) -> Option<Error> {
        self.state.borrow().failure.as_ref().map(|(error, _)| error.clone())
    }

    /// Returns the records that the snapshot was made from.
    pub(super) fn records(&self) -> Option<Vec<Record>> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let records = Record::merge(published.iter().map(Known::to_record));
        if records.is_empty() { None } else { Some(records) }
    }

    /// Makes the believed nodes visible as the next revision.
    pub(super) fn publish(&self, members: &Members) {
        let nodes: Vec<Known> = members.nodes().cloned().collect();
        let instances = nodes.iter().map(|known| Arc::clone(&known.instance)).collect();
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
        // Only the feed publishes, so the revision read here is not raced by another writer.
        let revision = self.snapshot.load().revision.saturating_add(1);
        let service = Arc::clone(&self.service);
        self.snapshot.store(Arc::new(Snapshot { service, revision, instances }));
        self.revision.store(revision, Ordering::Release);
        self.state.send_modify(|state| {
            state.revision = revision;
            state.failure = None;
        });
    }

    /// Notes that the registry agrees with the snapshot.
    pub(super) fn confirm(&self) {
        self.state.send_if_modified(|state| state.failure.take().is_some());
    }

    /// Notes that the registry failed; the snapshot stays.
    pub(super) fn fail(&self, error: Error) {
        self.state.send_modify(|state| {
            let since = state.failure.take().map_or_else(clock::now, |(_, since)| since);
            state.failure = Some((error, since));
        });
    }

    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// Gives the view the owner of the task that feeds it, to be dropped with the view.
    pub(super) fn set_feed(&self, feed: impl std::any::Any + Send + Sync) {
        let kept = self.feed.set(Box::new(feed));
        debug_assert!(kept.is_ok(), "a view is fed once");
    }

    /// Returns whether someone waits for a node that is not there.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiters.load(Ordering::Acquire) > 0 && self.snapshot.load().is_empty()
    }

    /// Returns what is told when someone starts to wait for a node.
    pub(super) fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Release);
    }

    /// Returns whether the view was asked for since the last time this was called.
    pub(super) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::AcqRel)
    }

    fn closed(&self) -> Error {
        let detail = format!("the registry cache of {} was shut down", self.service);
        Error::unavailable(ERROR_ID, detail)
    }
}

/// Counts a caller as long as it waits, also when it is dropped in between.
struct Waiting<'a>(&'a View);

impl<'a> Waiting<'a> {
    fn start(view: &'a View) -> Self {
        view.waiters.fetch_add(1, Ordering::AcqRel);
        view.asked.notify_one();
        Self(view)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("snapshot", &*self.load()).finish_non_exhaustive()
    }
}
