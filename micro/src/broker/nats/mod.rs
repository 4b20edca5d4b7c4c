//! Events on core NATS: fast, and each delivered at most once.
//!
//! A topic is a subject of the same name, a queue a queue group, and a pattern means to NATS what
//! it means here. The id of a message travels as `Nats-Msg-Id`, the kind of its body as
//! `Content-Type`, its metadata as headers; messages of other programs are read as far as they go.
//!
//! # Delivery
//! At most once, to each group that is subscribed when the server gets the message. Publishing
//! returns when the server has it. A handler that fails does not get the message again: the message
//! goes to `<topic>.dead`, to whoever listens there, as one that is rejected. The messages of one
//! publisher keep their order for a subscription that handles one at a time.
//!
//! # Durability
//! None. For events that must not be lost there is [`JetStream`](super::JetStream) on the same
//! server.
//!
//! # Limits
//! [`BrokerLimits`]: so many messages and bytes wait for the handlers of a subscription; those that
//! come then are dropped, counted in [`Nats::counts`] and logged, since NATS has no way to make
//! publishers wait. The server cuts off a client that does not read, which the driver never lets
//! happen. A message may be as long as the server takes, by default 1 MiB with its headers; a longer
//! one is a 413.
//!
//! # When the server fails
//! Publishing and subscribing fail after two seconds with a 503 that is safe to repeat; what was
//! under way when the connection broke fails at once, its outcome unknown. Subscriptions and their
//! groups come back with the connection; what was published to others meanwhile is missed:
//! [`Nats::reconnected`] tells when that may be.
//!
//! # Configuration
//! `nats://user:password@host:4222`, several hosts separated by commas. No path, no options.
//!
//! # Not supported
//! Durable subscriptions, another delivery, [`Overflow`] other than `Block`, TLS.
//!
//! # Tested against
//! nats-server 2.15.1.

mod confirm;
mod intake;
pub(super) mod queue;
pub(super) mod replies;
pub(super) mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::{BrokerLimits, Limits};
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::driver;

use super::memory::{Counts, Tally, count};
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;
use super::{Broker, Capabilities, Handler, Overflow, SubscribeOptions};

use self::confirm::Confirm;
use self::intake::{Intake, Worker};
use self::queue::Queue;
use self::replies::Replies;
use super::member::{Member, Members};

/// The most bytes of a queue's name.
pub(super) const QUEUE_BYTES_MAX: usize = 128;

/// How long an answer of the server may take; then nobody knows.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

const ID: &str = "micro.broker";

/// A broker on core NATS.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::broker;
/// use micro::core::limits::Limits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
///
/// # fn example() -> micro::Result<()> {
/// let tasks = TaskTracker::new();
/// let nats = Arc::new(driver::Nats::open(&Server::new("127.0.0.1", 4222), &tasks)?);
/// let broker = broker::Nats::new(&nats, &Limits::DEFAULT, tasks);
/// # Ok(())
/// # }
/// ```
pub struct Nats {
    inner: Arc<Inner>,
    members: Members,
    life: Shutdown,
}

/// What subscriptions share.
struct Inner {
    limits: BrokerLimits,
    body_bytes_max: usize,
    publish_timeout: Duration,
    replies: Arc<Replies>,
    confirm: Confirm,
    tally: Arc<Tally>,
    tasks: TaskTracker,
    cancel_timeout: Duration,
}

impl Nats {
    /// Makes a broker on a connection, within a runtime; its tasks belong to `tasks`.
    pub fn new(nats: &Arc<driver::Nats>, limits: &Limits, tasks: TaskTracker) -> Self {
        let life = Shutdown::new();
        let replies = Arc::new(Replies::new(Arc::clone(nats), &tasks, &life));
        let inner = Inner {
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            publish_timeout: limits.call.default_timeout,
            confirm: Confirm::new(&replies, &tasks, &life),
            replies,
            tally: Arc::default(),
            tasks,
            cancel_timeout: limits.shutdown.cancel_timeout,
        };
        let members = Members::new(limits.broker.subscriptions_max);
        Self { inner: Arc::new(inner), members, life }
    }

    /// Returns what has become of the messages so far; `routed` counts those that came to
    /// subscriptions here, `dropped` those lost here.
    pub fn counts(&self) -> Counts {
        self.inner.tally.counts()
    }

    /// Waits until the connection has been lost and is there again: what was published by others
    /// in between did not arrive. Cancel safe.
    ///
    /// # Errors
    /// 503 when the process ends its connections.
    pub async fn reconnected(&self) -> Result<()> {
        let nats = self.inner.replies.nats();
        let mut sessions = nats.sessions();
        let first = sessions.borrow_and_update().number;
        let again = |session: &driver::NatsSession| session.is_up && session.number > first;
        let ended = |_| Error::unavailable(ID, "the connection to nats is closed");
        sessions.wait_for(again).await.map(drop).map_err(ended)
    }
}

impl Inner {
    /// Publishes a message that is valid.
    async fn send(&self, message: &Message) -> Result<()> {
        let what = || format!("publish to {}", message.topic);
        let headers = wire::headers(message, &message.id)?;
        let client = self.replies.client().await?;
        let session = self.confirm.session();
        let sent =
            client.publish_with_headers(message.topic.clone(), headers, message.body.clone());
        match clock::timeout(self.publish_timeout, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(not_sent(&what(), &error)),
            Err(_) => {
                let text = format!("{}: the connection takes nothing", what());
                return Err(Error::unavailable(ID, text).with_retry(Retry::Safe));
            }
        }
        if self.confirm.confirmed(session).await {
            count(&self.tally.published);
            return Ok(());
        }
        let text = format!("{}: the connection broke before the server had it", what());
        Err(Error::unavailable(ID, text).with_retry(Retry::Unknown))
    }

    async fn subscribe(
        self: &Arc<Self>,
        topic: &str,
        options: &SubscribeOptions,
        handler: &Handler,
    ) -> Result<Arc<Member>> {
        let client = self.replies.client().await?;
        let session = self.replies.session();
        let refused = |error: &dyn fmt::Display| {
            let text = format!("subscribe to {topic}: {error}");
            Error::unavailable(ID, text).with_retry(Retry::Safe)
        };
        let subscriber = match &options.queue {
            Some(queue) => client.queue_subscribe(topic.to_owned(), wire::word(queue)).await,
            None => client.subscribe(topic.to_owned()).await,
        };
        let subscriber = subscriber.map_err(|error| refused(&error))?;
        if self.replies.echo(session, ANSWER_PATIENCE).await.is_err() {
            return Err(refused(&"the connection broke"));
        }
        let life = Shutdown::new();
        let limits = &self.limits;
        let queue = Queue::new(limits.pending_messages_max, limits.pending_bytes_max);
        let queue = Arc::new(queue);
        let worker = || Worker {
            inner: Arc::clone(self),
            group: options.queue.clone(),
            queue: Arc::clone(&queue),
            handler: Arc::clone(handler),
            life: life.clone(),
            ack_timeout: limits.ack_timeout,
        };
        let concurrency = options.concurrency.get().min(limits.unacked_max.max(1));
        let workers = (0..concurrency).map(|_| self.tasks.spawn("broker.nats", worker().run()));
        let workers = workers.collect();
        let intake = Intake {
            inner: Arc::clone(self),
            topic: topic.to_owned(),
            queue: Arc::clone(&queue),
            life: life.clone(),
        };
        let intake = self.tasks.spawn("broker.nats.intake", intake.run(subscriber));
        Ok(Member::new(topic, life, workers, intake, self.cancel_timeout))
    }
}

impl Broker for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            ordered: true,
            queue_groups: true,
            redelivery: false,
            dead_letters: true,
            patterns: true,
            overflow: false,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            message.validate(self.inner.body_bytes_max)?;
            self.members.check_open("publish")?;
            self.inner.send(&message).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            validate_pattern(topic)?;
            check_options("nats", &options)?;
            let place = self.members.place(topic)?;
            let member = self.inner.subscribe(topic, &options, &handler).await?;
            place.take(&member);
            Ok(Subscription::new(topic, member))
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let before = self.counts().dropped;
            let cut = self.members.close(deadline).await;
            self.life.close();
            let dropped = self.counts().dropped - before;
            if cut == 0 && dropped == 0 {
                return Ok(());
            }
            let text = format!("close: {cut} subscribers cut, {dropped} messages dropped");
            Err(Error::timeout(ID, text))
        })
    }

    fn counts(&self) -> Option<Counts> {
        Some(self.inner.tally.counts())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.life.close();
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Refuses what brokers on NATS do not do.
pub(super) fn check_options(name: &str, options: &SubscribeOptions) -> Result<()> {
    if options.overflow != Overflow::Block {
        let text = format!("the broker `{name}` has no overflow {:?}", options.overflow);
        return Err(Error::unimplemented(ID, text));
    }
    let is_named = |queue: &String| !queue.is_empty() && queue.len() <= QUEUE_BYTES_MAX;
    if options.queue.as_ref().is_some_and(|queue| !is_named(queue)) {
        let text = format!("a queue has a name of 1 to {QUEUE_BYTES_MAX} bytes");
        return Err(Error::bad_request(ID, text));
    }
    Ok(())
}

fn not_sent(what: &str, error: &async_nats::client::PublishError) -> Error {
    let text = format!("{what}: {error}");
    match error.kind() {
        async_nats::client::PublishErrorKind::MaxPayloadExceeded => Error::too_large(ID, text),
        _ => Error::unavailable(ID, text).with_retry(Retry::Safe),
    }
}
