//! One subscription: its life, and the task that keeps it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::broker::Handler;
use crate::broker::subscription::Control;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::shutdown::Shutdown;
use crate::core::shutdown::TaskHandle;
use crate::core::shutdown::TaskTracker;

use super::ERROR_ID;
use super::counts::Counts;
use super::desk::Desk;
use super::desk::SETTLED_MAX;
use super::desk::Teller;
use super::desk::Verdict;
use super::desk::lend;
use super::held::Held;
use super::intake::dispatch;
use super::intake::fetch;
use super::link::Link;
use super::publisher::Publisher;
use super::running::One;
use super::topology;
use super::topology::LEASE_SECONDS;
use super::topology::Lasting;

/// Messages of one subscription that wait here for another delivery; with more, their handlers count
/// as busy.
pub(super) const PAUSED_MAX: usize = 256;

/// Pause between two requests to keep what is not settled: half of the shortest time for which any
/// subscription lends messages.
const LEND_INTERVAL: Duration = Duration::from_secs(5);

/// Where a subscription is on the servers.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) subscription: String,
    /// The topic of dead letters and the subscription that keeps them.
    pub(super) dead: Option<(String, String)>,
    pub(super) lasting: Lasting,
}

/// What is known of a subscription.
pub(super) struct Subscribed {
    pub(super) link: Arc<Link>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) desk: Desk,
    pub(super) topic: String,
    pub(super) queue: Option<String>,
    pub(super) handler: Handler,
    pub(super) limits: BrokerLimits,
    /// What the servers call it.
    pub(super) subscription: String,
    pub(super) place: Place,
    /// Tells the subscriptions of a process apart.
    pub(super) number: u64,
    /// Draining: take nothing more. Closed: cut what runs.
    pub(super) life: Shutdown,
    /// Handlers, and messages that wait for another delivery.
    pub(super) tasks: TaskTracker,
    /// One for each handler at a time.
    pub(super) free: Arc<Semaphore>,
    pub(super) paused: Semaphore,
    pub(super) held: Held,
    pub(super) counts: Counts,
    pub(super) cancel_timeout: Duration,
    /// Keeps the connections.
    pub(super) _keeper: Arc<TaskHandle>,
}

impl Subscribed {
    /// Sees to it that the topics and subscriptions are there.
    pub(super) async fn place(&self) -> Result<()> {
        let Place { topic, subscription, dead, lasting } = &self.place;
        topology::topic(&self.link, topic).await?;
        if let Some((dead, keeper)) = dead {
            topology::topic(&self.link, dead).await?;
            topology::subscription(&self.link, keeper, dead, None, Lasting::Forever).await?;
        }
        let dead = dead.as_ref().map(|(topic, _)| topic.as_str());
        topology::subscription(&self.link, subscription, topic, dead, *lasting).await
    }

    /// Settles a message that is held.
    pub(super) async fn settle(&self, id: &str, verdict: Verdict) {
        if let Some(ack_id) = self.held.remove(id) {
            self.desk.say(ack_id, verdict).await;
        }
    }
}

/// A subscription.
pub(super) struct Member {
    subscribed: Arc<Subscribed>,
    keeper: Mutex<Option<TaskHandle>>,
    /// Forgets the subscription.
    leave: Box<dyn Fn() + Send + Sync>,
}

impl Member {
    /// Keeps a subscription that is on the servers.
    pub(super) fn start(
        subscribed: &Arc<Subscribed>,
        teller: Teller,
        (tracker, running): (&TaskTracker, One),
        leave: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let keeping = keep(Arc::clone(subscribed), teller, running);
        let keeper = Mutex::new(Some(tracker.spawn("broker.pubsub", keeping)));
        Arc::new(Self { subscribed: Arc::clone(subscribed), keeper, leave })
    }

    /// Takes no further messages.
    pub(super) fn stop_fetching(&self) {
        self.subscribed.life.drain();
    }

    /// Waits for the handlers until `deadline`, cuts the others and returns how many.
    async fn finish(&self, deadline: Instant) -> usize {
        self.stop_fetching();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut keeper) = keeper else { return 0 };
        if clock::timeout_at(deadline, &mut keeper).await.is_ok() {
            self.end();
            return 0;
        }
        let cut = self.busy();
        self.end();
        let patience = clock::after(clock::now(), self.subscribed.cancel_timeout);
        if clock::timeout_at(patience, keeper).await.is_err() {
            tracing::warn!(topic = self.subscribed.topic, "a cut subscriber does not yield");
        }
        cut
    }

    /// Counts the handlers that run, and messages that wait for another delivery.
    pub(super) fn busy(&self) -> usize {
        self.subscribed.tasks.len()
    }

    /// Cuts what runs.
    pub(super) fn end(&self) {
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

/// Cuts handlers when the task that feeds them ends, however it does.
struct Cut(TaskTracker);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// Runs a subscription until it drains, then lets its handlers finish, tells the servers what became
/// of all messages, and deletes the subscription if nobody else has it.
async fn keep(subscribed: Arc<Subscribed>, teller: Teller, _running: One) {
    let _cut = Cut(subscribed.tasks.clone());
    let (said, is_said) = oneshot::channel();
    let working = async {
        work(&subscribed).await;
        // The teller waits for it.
        let _heard = said.send(()).is_ok();
    };
    let settling = async { tokio::join!(working, teller.run(is_said)) };
    // Cancel safety: the first arm ends it; lending has nothing to finish.
    tokio::select! {
        biased;
        _ended = settling => {}
        () = keep_lent(&subscribed) => {}
    }
    if subscribed.place.lasting == Lasting::Passing {
        let removed = topology::remove(&subscribed.link, &subscribed.subscription).await;
        if let Err(error) = removed {
            let subscription = &subscribed.subscription;
            tracing::debug!(subscription, %error, "subscription is left to end by itself");
        }
    }
}

async fn work(subscribed: &Arc<Subscribed>) {
    // Room for all that may be held.
    let (queue, came) = mpsc::channel(subscribed.limits.unacked_max.max(1));
    tokio::join!(fetch(subscribed, queue), dispatch(subscribed, came));
    let never = clock::after(clock::now(), Duration::MAX);
    // Cancel safety: both arms only wait.
    tokio::select! {
        biased;
        () = subscribed.life.closed() => {}
        _left = subscribed.tasks.wait(never) => {}
    }
    subscribed.tasks.abort_all();
    let patience = clock::after(clock::now(), subscribed.cancel_timeout);
    subscribed.tasks.wait(patience).await;
    for ack_id in subscribed.held.remove_all() {
        subscribed.desk.say(ack_id, Verdict::Again(0)).await;
    }
}

/// Keeps what is not settled from being delivered to others, for as long as it is polled.
async fn keep_lent(subscribed: &Subscribed) {
    loop {
        clock::sleep(LEND_INTERVAL).await;
        let ack_ids = subscribed.held.ack_ids();
        for some in ack_ids.chunks(SETTLED_MAX) {
            let (link, name) = (&subscribed.link, &subscribed.subscription);
            if let Err(error) = lend(link, name, LEASE_SECONDS, some.to_vec()).await {
                let topic = &subscribed.topic;
                tracing::debug!(topic, %error, "messages may come again: not kept");
            }
        }
    }
}
