//! One subscription: its life, and the task that keeps it on the server.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::broker::Handler;
use crate::broker::subscription::Control;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::shutdown::Shutdown;
use crate::core::shutdown::TaskHandle;
use crate::core::shutdown::TaskTracker;
use crate::driver::AmqpHost;

use super::ERROR_ID;
use super::firsts::Firsts;
use super::names::Exchanges;
use super::publisher::Publisher;
use super::session::Session;

/// The first and the longest pause before a subscription that was lost is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Messages of one subscription that wait for another delivery at a time; with more, their handlers
/// count as busy.
pub(super) const PAUSED_MAX: usize = 256;

/// What is known of a subscription.
pub(super) struct Subscribed {
    pub(super) host: Arc<AmqpHost>,
    pub(super) exchanges: Exchanges,
    pub(super) publisher: Arc<Publisher>,
    pub(super) topic: String,
    pub(super) queue: Option<String>,
    pub(super) handler: Handler,
    pub(super) concurrency: NonZeroUsize,
    pub(super) limits: BrokerLimits,
    /// Draining: take nothing more. Closed: cut what runs.
    pub(super) life: Shutdown,
    /// Handlers, and messages that wait for another delivery.
    pub(super) tasks: TaskTracker,
    /// One for each handler at a time, across the connections that a subscription has in its life.
    pub(super) free: Arc<Semaphore>,
    pub(super) paused: Arc<Semaphore>,
    pub(super) firsts: Firsts,
}

/// A subscription.
pub(super) struct Member {
    subscribed: Arc<Subscribed>,
    keeper: Mutex<Option<TaskHandle>>,
    cancel_timeout: Duration,
    /// Forgets the subscription.
    leave: Box<dyn Fn() + Send + Sync>,
}

impl Member {
    /// Keeps a subscription that is on the server.
    pub(super) fn start(
        subscribed: &Arc<Subscribed>,
        session: Session,
        tracker: &TaskTracker,
        cancel_timeout: Duration,
        leave: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let keeping = keep(Arc::clone(subscribed), session);
        let keeper = Mutex::new(Some(tracker.spawn("broker.rabbitmq", keeping)));
        Arc::new(Self { subscribed: Arc::clone(subscribed), keeper, cancel_timeout, leave })
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

/// Cuts handlers when the task that feeds them ends, however it does.
struct Cut(TaskTracker);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// Runs a subscription, and makes it again whenever it is lost, until it drains.
async fn keep(subscribed: Arc<Subscribed>, session: Session) {
    let _cut = Cut(subscribed.tasks.clone());
    let mut session = Some(session);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    // Progress: each turn runs a session to its end, or waits for another.
    loop {
        if let Some(session) = session.take() {
            backoff.reset();
            session.run().await;
        }
        if subscribed.life.is_draining() {
            break;
        }
        tokio::select! {
            biased;
            () = subscribed.life.draining() => break,
            made = again(&subscribed, &mut backoff) => session = made,
        }
    }
    // Handlers outlive the connection that was lost, and those of a drain are let finish.
    let never = clock::after(clock::now(), Duration::MAX);
    tokio::select! {
        biased;
        () = subscribed.life.closed() => {}
        _left = subscribed.tasks.wait(never) => {}
    }
}

async fn again(subscribed: &Arc<Subscribed>, backoff: &mut Backoff) -> Option<Session> {
    clock::sleep(backoff.next_delay()).await;
    match Session::open(subscribed).await {
        Ok(session) => {
            tracing::info!(topic = subscribed.topic, "subscription is made again");
            Some(session)
        }
        Err(error) => {
            tracing::warn!(topic = subscribed.topic, %error, "cannot subscribe yet, will try on");
            None
        }
    }
}
