//! The phases of a process and the owner of its tasks.
//!
//! [`Shutdown`] tells every part when to stop taking work and when to stop at all.
//! [`TaskTracker`] owns what runs in the background: nothing it spawned survives
//! [`TaskTracker::abort_all`] and [`TaskTracker::wait`].

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Context;
use std::task::Poll;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::task::JoinHandle;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::panic;

/// What a process is doing; it only ever moves down this list.
#[allow(clippy::exhaustive_enums, reason = "the life of a process has exactly these phases")]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Takes work.
    #[default]
    Running,
    /// Finishes the work it has and refuses more, safe to retry.
    Draining,
    /// Ends: whatever still runs is cut.
    Closed,
}

/// A handle that reads and moves the phase; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Shutdown {
    /// Makes a handle in [`Phase::Running`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Tells whether no further work is taken: draining or closed.
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Tells whether everything is to end.
    pub fn is_closed(&self) -> bool {
        self.phase() == Phase::Closed
    }

    /// Moves to [`Phase::Draining`]; `false` if it was reached before.
    pub fn drain(&self) -> bool {
        self.advance(Phase::Draining)
    }

    /// Moves to [`Phase::Closed`]; `false` if it was reached before.
    pub fn close(&self) -> bool {
        self.advance(Phase::Closed)
    }

    /// Waits until the process drains or closes. Cancel safe; may be awaited any number of times.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the process closes. Cancel safe; may be awaited any number of times.
    pub async fn closed(&self) {
        self.reached(Phase::Closed).await;
    }

    fn advance(&self, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let moves = *phase < to;
            *phase = to.max(*phase);
            moves
        })
    }

    async fn reached(&self, phase: Phase) {
        // Waiting fails only when every sender is gone, and `self` is one.
        let _phase = self.phase.subscribe().wait_for(|present| *present >= phase).await.map(|_| ());
    }
}

/// Parts of a tracker's list of tasks, so that spawning workers rarely meet at a lock.
const SHARDS: usize = 8;

/// Finished tasks that a shard keeps at least before it forgets them.
const SWEEP_MIN: usize = 8;

/// Spawns tasks, counts them and ends them; clones share the tasks.
///
/// Dropping the last clone leaves the tasks running. A panic in a task ends that task alone and is
/// logged with the task's name.
#[derive(Clone, Default)]
pub struct TaskTracker {
    inner: Arc<Tracker>,
}

#[derive(Default)]
struct Tracker {
    /// Tasks whose future has not been dropped.
    live: AtomicUsize,
    /// Calls of `wait` in progress; only then does the last task ring `idle`.
    waiting: AtomicUsize,
    idle: Notify,
    shards: [Shard; SHARDS],
}

/// A part of the tasks.
///
/// Finished tasks are forgotten in batches, once they are as many as those that were live at the
/// last sweep. Invariant: until the list is closed, `dead` is the number of its tasks, those about
/// to be added included, whose guard is dropped. Aligned so that no two shards share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    list: Mutex<List>,
    dead: AtomicUsize,
    sweep_at: AtomicUsize,
}

#[derive(Default)]
struct List {
    /// Each with its name.
    tasks: Vec<(AbortHandle, &'static str)>,
    closed: bool,
}

impl TaskTracker {
    /// Makes a tracker without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a future as a task of this tracker, named in logs.
    ///
    /// After [`Self::abort_all`] the task is aborted at once.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn spawn<T, F>(&self, name: &'static str, future: F) -> TaskHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // The count spreads concurrent tasks over the shards without a counter of its own.
        let shard = self.inner.live.fetch_add(1, SeqCst) % SHARDS;
        let guard = Guard { tracker: Arc::clone(&self.inner), shard };
        // Erased: the code of a task is then compiled once a result, not once a future.
        let future: BoxFuture<'static, T> = Box::pin(future);
        #[expect(clippy::disallowed_methods, reason = "the tracker is the owner of every task")]
        let join = tokio::spawn(run(Task { future, guard }, name));
        if let Some(shard) = self.inner.shards.get(shard) {
            shard.keep(join.abort_handle(), name);
        }
        TaskHandle { join, name, abort_on_drop: false }
    }

    /// Returns the number of tasks that have not ended.
    pub fn len(&self) -> usize {
        self.inner.live.load(SeqCst)
    }

    /// Counts the tasks that have not ended by the names they were spawned with.
    ///
    /// Takes time for each task; those that end or begin meanwhile may be missing.
    pub fn names(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        for shard in &self.inner.shards {
            let list = shard.lock();
            for (_, name) in list.tasks.iter().filter(|(task, _)| !task.is_finished()) {
                *names.entry(*name).or_default() += 1;
            }
        }
        names
    }

    /// Tells whether every task has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Aborts every task, those spawned later included.
    ///
    /// A task ends at its next await; [`Self::wait`] tells when all have.
    pub fn abort_all(&self) {
        for shard in &self.inner.shards {
            shard.close();
        }
    }

    /// Waits until no task is left or the deadline passes and returns how many are left.
    ///
    /// Cancel safe. Tasks may be spawned meanwhile and are waited for too.
    pub async fn wait(&self, deadline: Instant) -> usize {
        let _waiting = Waiting::new(&self.inner.waiting);
        loop {
            let mut idle = pin!(self.inner.idle.notified());
            // Enabled before the count is read, so that the ring after the read is not missed.
            idle.as_mut().enable();
            if self.is_empty() {
                return 0;
            }
            if clock::timeout_at(deadline, idle).await.is_err() {
                return self.len();
            }
        }
    }
}

impl fmt::Debug for TaskTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskTracker").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Shard {
    fn keep(&self, task: AbortHandle, name: &'static str) {
        let mut list = self.lock();
        if !list.closed {
            list.tasks.push((task, name));
            return;
        }
        drop(list);
        task.abort();
    }

    fn close(&self) {
        let mut list = self.lock();
        list.closed = true;
        let tasks = std::mem::take(&mut list.tasks);
        // An abort may drop a future, whose guard takes this lock.
        drop(list);
        tasks.iter().for_each(|(task, _)| task.abort());
    }

    fn forget_one(&self) {
        let dead = self.dead.fetch_add(1, Relaxed) + 1;
        if dead >= self.sweep_at.load(Relaxed).max(SWEEP_MIN) {
            self.sweep();
        }
    }

    fn sweep(&self) {
        let mut list = self.lock();
        let dead: Vec<_> = list.tasks.extract_if(.., |(task, _)| task.is_finished()).collect();
        self.dead.fetch_sub(dead.len(), Relaxed);
        self.sweep_at.store(list.tasks.len(), Relaxed);
        // The last handle of a task frees it, which may run code that takes this lock.
        drop(list);
        drop(dead);
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tracked future. The order of the fields counts the task as ended after its future is dropped.
struct Task<T> {
    future: BoxFuture<'static, T>,
    guard: Guard,
}

struct Guard {
    tracker: Arc<Tracker>,
    shard: usize,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(shard) = self.tracker.shards.get(self.shard) {
            shard.forget_one();
        }
        // Either this sees the waiter or the waiter sees the count: both are sequentially
        // consistent and each side writes before it reads.
        if self.tracker.live.fetch_sub(1, SeqCst) == 1 && self.tracker.waiting.load(SeqCst) > 0 {
            self.tracker.idle.notify_waiters();
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn run<T>(task: Task<T>, name: &'static str) -> Result<T> {
    let Task { future, guard } = task;
    let _guard = guard;
    // Bound after the guard, so that it is dropped before: a task is over when its future is gone.
    let mut future = future;
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        // The future is not polled again: `poll_fn` ends here.
        Err(payload) => Poll::Ready(Err(panicked(name, payload.as_ref()))),
    })
    .await
}

fn panicked(name: &'static str, payload: &(dyn Any + Send)) -> Error {
    let text = panic::text(payload).unwrap_or("?");
    let error = Error::internal(name, format_args!("task panicked: {text}"));
    tracing::error!(task = name, %error, "task panicked");
    error
}

/// A task of a [`TaskTracker`]: a future of its result.
///
/// Dropping it leaves the task running, unless [`TaskHandle::abort_on_drop`] says otherwise.
/// Awaiting it fails with a 499 if the task was aborted and with a 500 if it panicked.
pub struct TaskHandle<T = ()> {
    join: JoinHandle<Result<T>>,
    name: &'static str,
    abort_on_drop: bool,
}

impl<T> TaskHandle<T> {
    /// Returns the name that the task was spawned with.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Ends the task at its next await; nothing happens if it has ended.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Tells whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }

    /// Lets the task run to its end, whatever [`Self::abort_on_drop`] said.
    pub fn detach(mut self) {
        self.abort_on_drop = false;
    }

    /// Ties the task to this handle: dropping the handle aborts the task.
    #[must_use]
    pub fn abort_on_drop(mut self) -> Self {
        self.abort_on_drop = true;
        self
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let name = self.name;
        Pin::new(&mut self.join).poll(cx).map(|joined| match joined {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(Error::internal(name, "task panicked")),
            Err(_) => Err(Error::cancelled(name, "task aborted")),
        })
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if self.abort_on_drop {
            self.join.abort();
        }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TaskHandle");
        out.field("name", &self.name).field("finished", &self.is_finished());
        out.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;

    fn soon() -> Instant {
        clock::after(clock::now(), Duration::from_secs(5))
    }

    fn kept(tracker: &TaskTracker) -> usize {
        tracker.inner.shards.iter().map(|shard| shard.lock().tasks.len()).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn the_phase_only_moves_forward_and_wakes_waiters() {
        let shutdown = Shutdown::new();
        let tracker = TaskTracker::new();
        let clone = shutdown.clone();
        let task = tracker.spawn("waiter", async move {
            clone.draining().await;
            let seen = clone.phase();
            clone.closed().await;
            seen
        });
        assert!(!shutdown.is_draining());
        assert!(shutdown.drain());
        assert!(!shutdown.drain());
        tokio::task::yield_now().await;
        assert!(shutdown.close());
        assert!(!shutdown.drain() && !shutdown.close());
        assert_eq!(shutdown.phase(), Phase::Closed);
        assert_eq!(task.await.unwrap(), Phase::Draining);
        shutdown.draining().await;
    }

    #[tokio::test(start_paused = true)]
    async fn wait_returns_at_once_without_tasks_and_with_the_last_one() {
        let tracker = TaskTracker::new();
        let start = clock::now();
        assert_eq!(tracker.wait(start).await, 0);
        for millis in [10, 300] {
            tracker.spawn("sleeper", clock::sleep(Duration::from_millis(millis)));
        }
        assert_eq!(tracker.wait(soon()).await, 0);
        assert_eq!(clock::now() - start, Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_counts_what_is_left_at_the_deadline() {
        let tracker = TaskTracker::new();
        tracker.spawn("quick", clock::sleep(Duration::from_secs(1)));
        tracker.spawn("endless", pending::<()>());
        let deadline = soon();
        assert_eq!(tracker.wait(deadline).await, 1);
        assert_eq!(clock::now(), deadline);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_survives_abort_all_and_wait() {
        let tracker = TaskTracker::new();
        let witness = Arc::new(());
        for _ in 0..500 {
            let (clone, held) = (tracker.clone(), Arc::clone(&witness));
            tracker.spawn("parent", async move {
                let inner = Arc::clone(&held);
                clone.spawn("child", async move {
                    let _inner = inner;
                    pending::<()>().await;
                });
                let _held = held;
                pending::<()>().await;
            });
        }
        tracker.abort_all();
        assert_eq!(tracker.wait(soon()).await, 0);
        assert_eq!(Arc::strong_count(&witness), 1);
        let late = tracker.spawn("late", pending::<()>());
        assert_eq!(late.await.unwrap_err().code(), 499);
        assert_eq!(tracker.wait(soon()).await, 0);
        assert_eq!(kept(&tracker), 0);
    }

    struct Counting(TaskTracker, Arc<AtomicUsize>);

    impl Drop for Counting {
        fn drop(&mut self) {
            self.1.store(self.0.len(), SeqCst);
        }
    }

    #[tokio::test]
    async fn a_task_counts_until_what_it_holds_is_dropped() {
        let (tracker, seen) = (TaskTracker::new(), Arc::<AtomicUsize>::default());
        let held = || Counting(tracker.clone(), Arc::clone(&seen));
        let (one, two) = (held(), held());
        tracker.spawn("ends", async move { drop(one) }).await.unwrap();
        assert_eq!(seen.swap(0, SeqCst), 1);
        let task = tracker.spawn("polled, then aborted", async move {
            let _two = two;
            pending::<()>().await;
        });
        tokio::task::yield_now().await;
        tracker.abort_all();
        task.await.unwrap_err();
        assert_eq!(seen.load(SeqCst), 1);
        assert_eq!(tracker.wait(soon()).await, 0);
    }

    #[tokio::test]
    async fn a_panic_ends_its_task_alone() {
        let tracker = TaskTracker::new();
        let error = tracker.spawn("bad", async { panic!("boom {}", 7) }).await.unwrap_err();
        assert_eq!((error.id(), error.code()), ("bad", 500));
        assert_eq!(error.detail(), "task panicked: boom 7");
        assert_eq!(tracker.spawn("good", async { 1 }).await.unwrap(), 1);
        assert_eq!(tracker.wait(soon()).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_handle_aborts_only_when_asked() {
        let tracker = TaskTracker::new();
        drop(tracker.spawn("kept", clock::sleep(Duration::from_secs(1))));
        drop(tracker.spawn("tied", pending::<()>()).abort_on_drop());
        let start = clock::now();
        assert_eq!(tracker.wait(soon()).await, 0);
        assert_eq!(clock::now() - start, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn tasks_are_counted_by_name() {
        let tracker = TaskTracker::new();
        for name in ["reader", "writer", "reader"] {
            tracker.spawn(name, pending::<()>());
        }
        tracker.spawn("done", async {}).await.unwrap();
        assert_eq!(tracker.names(), BTreeMap::from([("reader", 2), ("writer", 1)]));
        tracker.abort_all();
    }

    #[tokio::test]
    async fn finished_tasks_are_forgotten() {
        let tracker = TaskTracker::new();
        let burst: Vec<_> =
            (0..10_000).map(|_| tracker.spawn("burst", tokio::task::yield_now())).collect();
        assert_eq!(kept(&tracker), 10_000);
        for task in burst {
            task.await.unwrap();
        }
        assert!(kept(&tracker) <= SHARDS * (SWEEP_MIN + 1), "{}", kept(&tracker));
        for _ in 0..10_000 {
            tracker.spawn("serial", async {}).await.unwrap();
        }
        assert!(kept(&tracker) <= SHARDS * (SWEEP_MIN + 1), "{}", kept(&tracker));
    }
}
