//! One subscription: its life, and the connections to the nsqds that have its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};

use crate::broker::Handler;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::http::document;
use crate::broker::subscription::Control;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::shutdown::{Shutdown, TaskHandle, TaskTracker};
use crate::driver::Server;

use super::ERROR_ID;
use super::line;
use super::lookup;
use super::lookup::Found;
use super::nsqd::Nsqd;

/// The nsqds that one subscription is connected to, at most: all that are given, and as many more.
const LINES_MAX: usize = 64;
/// The shortest pause between two questions to nsqlookupds.
const LOOKUP_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// The longest, a day.
const LOOKUP_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of a subscription.
pub(super) struct Subscribed {
    pub(super) nsqd: Arc<Nsqd>,
    pub(super) topic: String,
    pub(super) queue: Option<String>,
    pub(super) channel: String,
    pub(super) handler: Handler,
    pub(super) concurrency: NonZeroUsize,
    pub(super) message_bytes_max: usize,
    pub(super) limits: BrokerLimits,
    /// Draining: take nothing more. Closed: cut what runs.
    pub(super) life: Shutdown,
    /// Handlers.
    pub(super) tasks: TaskTracker,
    /// One for each handler at a time, across the connections that a subscription has in its life.
    pub(super) free: Semaphore,
    /// Counts the connections that there are.
    pub(super) lines: watch::Sender<usize>,
}

impl Subscribed {
    pub(super) fn concurrency(&self) -> u32 {
        u32::try_from(self.concurrency.get()).unwrap_or(u32::MAX)
    }

    /// Publishes a dead letter; nothing is to be published for what was one already.
    pub(super) async fn bury(&self, letter: &DeadLetter) -> Result<()> {
        let Some(dead) = letter.to_message()? else { return Ok(()) };
        let document = document::write(&dead)?;
        check_length(&dead.topic, &document, self.message_bytes_max)?;
        self.nsqd.publish(&dead.topic, document.into()).await
    }
}

/// Checks that nsqd takes a document of this length.
///
/// # Errors
/// 413 if it is too long.
pub(super) fn check_length(topic: &str, document: &[u8], most: usize) -> Result<()> {
    let bytes = document.len();
    if bytes <= most {
        return Ok(());
    }
    let text = format!("publish to {topic}: {bytes} bytes as nsq carries it, the limit is {most}");
    Err(Error::too_large(ERROR_ID, text))
}

impl fmt::Debug for Subscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribed")
            .field("topic", &self.topic)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Where a subscription finds nsqds beside those that it is given.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    pub(super) lookup: Server,
    pub(super) interval: Duration,
}

/// What became of the first try at an nsqd.
pub(super) type FirstTry = oneshot::Receiver<Result<()>>;

/// A subscription.
pub(super) struct Member {
    subscribed: Arc<Subscribed>,
    keeper: Mutex<Option<TaskHandle>>,
    cancel_timeout: Duration,
    /// Forgets the subscription.
    leave: Box<dyn Fn() + Send + Sync>,
}

impl Member {
    /// Connects to the nsqds, and says what becomes of that.
    pub(super) fn start(
        subscribed: Arc<Subscribed>,
        lines: Lines,
        tracker: &TaskTracker,
        cancel_timeout: Duration,
        leave: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let keeping = keep(Arc::clone(&subscribed), lines);
        let keeper = Mutex::new(Some(tracker.spawn("broker.nsq", keeping)));
        Arc::new(Self { subscribed, keeper, cancel_timeout, leave })
    }

    /// Takes no further messages.
    pub(super) fn stop_fetching(&self) {
        self.subscribed.life.drain();
    }

    /// Waits for the handlers until `deadline`, cuts the others and returns how many.
    pub(super) async fn finish(&self, deadline: Instant) -> usize {
        self.stop_fetching();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut keeper) = keeper else { return 0 };
        if clock::timeout_at(deadline, &mut keeper).await.is_ok() {
            self.end();
            return 0;
        }
        let cut = self.subscribed.tasks.len();
        self.end();
        let patience = clock::after(clock::now(), self.cancel_timeout);
        if clock::timeout_at(patience, keeper).await.is_err() {
            tracing::warn!(topic = self.subscribed.topic, "a cut subscriber does not yield");
        }
        cut
    }

    fn end(&self) {
        self.subscribed.life.close();
        self.subscribed.tasks.abort_all();
        (self.leave)();
    }
}

impl Control for Member {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.finish(deadline).await {
                0 => Ok(()),
                cut => {
                    let topic = &self.subscribed.topic;
                    let text = format!("drain of {topic}: {cut} subscribers cut");
                    Err(Error::timeout(ERROR_ID, text))
                }
            }
        })
    }

    fn stop(&self) {
        self.end();
    }

    fn is_active(&self) -> bool {
        !self.subscribed.life.is_draining()
    }
}

/// The connections of a subscription.
pub(super) struct Lines {
    subscribed: Arc<Subscribed>,
    tracker: TaskTracker,
    finder: Option<Finder>,
    /// Those that are given.
    given: BTreeSet<String>,
    live: BTreeMap<String, One>,
}

struct One {
    /// It is connected to again when it is lost.
    listed: Arc<AtomicBool>,
    task: TaskHandle<()>,
}

impl Lines {
    pub(super) fn new(
        subscribed: &Arc<Subscribed>,
        tracker: &TaskTracker,
        finder: Option<Finder>,
    ) -> Self {
        let given = subscribed.nsqd.server().addresses().collect();
        let (subscribed, tracker) = (Arc::clone(subscribed), tracker.clone());
        Self { subscribed, tracker, finder, given, live: BTreeMap::new() }
    }

    /// Asks where the messages are, and connects to those nsqds.
    async fn find(&mut self) -> Vec<FirstTry> {
        let found = self.ask().await;
        self.update(&found)
    }

    /// Asks where the nsqds are.
    pub(super) async fn ask(&self) -> Found {
        match &self.finder {
            Some(finder) => {
                lookup::find(&finder.lookup, &self.subscribed.topic, &self.tracker).await
            }
            None => Found { is_all: true, ..Found::default() },
        }
    }

    /// Connects to those that are new, and returns what becomes of the first try of each.
    pub(super) fn update(&mut self, found: &Found) -> Vec<FirstTry> {
        self.live.retain(|_, one| !one.task.is_finished());
        for (address, one) in &self.live {
            let is_named = self.given.contains(address) || found.addresses.contains(address);
            // Where not all have answered, what was known stands.
            if is_named || found.is_all {
                one.listed.store(is_named, Relaxed);
            }
        }
        let mut firsts = Vec::new();
        for address in self.given.iter().chain(&found.addresses) {
            if self.live.contains_key(address) || self.live.len() >= LINES_MAX {
                continue;
            }
            let (first, tried) = oneshot::channel();
            let listed = Arc::new(AtomicBool::new(true));
            let subscribed = Arc::clone(&self.subscribed);
            let keeping = line::keep(subscribed, address.clone(), Arc::clone(&listed), first);
            let task = self.tracker.spawn("broker.nsq.line", keeping).abort_on_drop();
            self.live.insert(address.clone(), One { listed, task });
            firsts.push(tried);
        }
        firsts
    }
}

/// Ends a subscription, and cuts its handlers, when the task that feeds them ends, however it does.
struct Cut(Arc<Subscribed>);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.life.close();
        self.0.tasks.abort_all();
    }
}

/// Runs a subscription until it has drained.
async fn keep(subscribed: Arc<Subscribed>, mut lines: Lines) {
    let _cut = Cut(Arc::clone(&subscribed));
    // Progress: each turn waits for a while; draining ends it.
    while !subscribed.life.is_draining() {
        let interval = lines.finder.as_ref().map(|finder| varied(finder.interval));
        let turn = async {
            match interval {
                // Those that are found are connected to by themselves.
                Some(interval) => {
                    clock::sleep(interval).await;
                    drop(lines.find().await);
                }
                None => std::future::pending().await,
            }
        };
        // Cancel safety: a question that is cut changes nothing.
        tokio::select! {
            biased;
            () = subscribed.life.draining() => {}
            () = turn => {}
        }
    }
    let never = clock::after(clock::now(), Duration::MAX);
    let draining = async {
        for one in lines.live.values_mut() {
            // However it ended.
            drop((&mut one.task).await);
        }
        // Handlers outlive a connection that was lost.
        subscribed.tasks.wait(never).await
    };
    // Cancel safety: the tasks stay where they are.
    tokio::select! {
        biased;
        () = subscribed.life.closed() => {}
        _left = draining => return,
    }
    // They give back what is not settled, within a while.
    for one in lines.live.values_mut().filter(|one| !one.task.is_finished()) {
        drop((&mut one.task).await);
    }
}

/// Returns a pause a fifth shorter or longer, so that processes do not ask together.
fn varied(interval: Duration) -> Duration {
    interval.clamp(LOOKUP_INTERVAL_MIN, LOOKUP_INTERVAL_MAX).mul_f64(0.8 + fastrand::f64() * 0.4)
}

/// Waits until each nsqd was tried, at most until `deadline`.
///
/// # Errors
/// That of the first, if none takes the subscription.
pub(super) async fn subscribed(firsts: Vec<FirstTry>, deadline: Instant) -> Result<()> {
    let mut outcome = Err(Error::unavailable(ERROR_ID, "no nsqd takes the subscription in time"));
    let mut is_tried = false;
    for first in firsts {
        match clock::timeout_at(deadline, first).await {
            Ok(Ok(Ok(()))) => (outcome, is_tried) = (Ok(()), true),
            Ok(Ok(Err(error))) if !is_tried => (outcome, is_tried) = (Err(error), true),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {}
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Ack, Nsq, NsqConfig, SubscribeOptions};
    use crate::transport::Scope;

    #[tokio::test]
    async fn a_subscription_is_connected_to_a_limited_number_of_nsqds() {
        for count in [LINES_MAX, LINES_MAX + 1, LINES_MAX * 10] {
            let scope = Scope::default();
            let nsqd = Arc::new(Nsqd::open(&Server::new("127.0.0.1", 1), &scope.tasks));
            let broker = Nsq::new(nsqd, &NsqConfig::default(), &scope);
            let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
            let subscribed = broker.inner.subscribed("t", SubscribeOptions::default(), handler);
            let subscribed = Arc::new(subscribed.unwrap());
            let mut lines = Lines::new(&subscribed, &scope.tasks, None);
            // One of them is given.
            let addresses = (1..=count).map(|port| format!("127.0.0.1:{port}")).collect();
            let firsts = lines.update(&Found { addresses, is_all: true });
            assert_eq!((lines.live.len(), firsts.len()), (LINES_MAX, LINES_MAX), "{count}");
            subscribed.life.close();
            scope.tasks.abort_all();
        }
    }

    #[test]
    fn the_pause_between_questions_is_as_long_as_asked_for_within_limits() {
        for (asked, pause) in [
            (Duration::ZERO, LOOKUP_INTERVAL_MIN),
            (Duration::from_secs(15), Duration::from_secs(15)),
            (LOOKUP_INTERVAL_MAX, LOOKUP_INTERVAL_MAX),
            (LOOKUP_INTERVAL_MAX * 10, LOOKUP_INTERVAL_MAX),
            (Duration::MAX, LOOKUP_INTERVAL_MAX),
        ] {
            let drawn = varied(asked);
            assert!(drawn >= pause.mul_f64(0.79) && drawn <= pause.mul_f64(1.21), "{asked:?}");
        }
    }
}
