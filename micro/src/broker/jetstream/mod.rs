//! Events on JetStream: kept by the server until each group has handled them.
//!
//! All topics share one stream, so that a pattern covers several of them and a subscription is one
//! consumer; a stream for each topic would cost the server files for each, and a pattern a consumer
//! for each. A topic is a subject below the stream's name, such as `micro-events.orders.created`.
//! Dead letters have a stream of their own, since they are kept although nobody has subscribed to
//! them. The id of a message travels as `Micro-Message-Id`, and with its topic as `Nats-Msg-Id`, the
//! kind of its body as `Content-Type`, its metadata as headers.
//!
//! # Delivery
//! At least once, to each group that was subscribed when the message was published, whether or not
//! a member is there; a group ends when its consumer is removed from the server. A subscription
//! without a queue is a group of its own: it misses nothing while it is cut off for up to five
//! minutes, and ends with its handle. A handler that fails gets the message again after a growing
//! pause, up to [`BrokerLimits::deliveries_max`] times in all; then, or when it rejects it, the
//! message goes to `<topic>.dead`. The server counts deliveries: one whose process ended, or which
//! came back unhandled, counts too, but only a failing handler gives a message up, until there were
//! three times as many. Messages keep their order for a subscription that handles one at a time;
//! one that comes again falls behind.
//!
//! Publishing returns when the stream has the message. While that is unknown it is sent again with
//! its id, which the stream takes once within two minutes for each topic; so does a publisher that
//! publishes a message again after an unknown outcome. A message that went to the dead letters may
//! be published again and is delivered again.
//!
//! # Durability
//! As the server is configured: it acknowledges what it has written, but by default tells the disk
//! to keep it only every two minutes. With `sync_interval: always` an acknowledged message
//! survives the loss of power; with `replicas` the loss of a server.
//!
//! # Limits
//! [`JetStreamOptions`]: bytes and age of the streams. A full stream refuses events with a 429 that
//! is safe to repeat. A message may be as long as the server takes, by default 1 MiB with its
//! headers; a longer one is a 413. A dead letter that is too long leaves out the metadata of its
//! message; a message whose dead letter is refused all the same comes again every minute. A
//! subscription fetches what its handlers do in 50 ms, at most [`BrokerLimits::unacked_max`]
//! messages and about [`BrokerLimits::pending_bytes_max`] bytes, and tells the server of what waits
//! and is being handled, so that it is not delivered again meanwhile. A group has at most 4,096
//! messages unsettled, those that wait for another delivery among them.
//!
//! # When the server fails
//! Publishing and subscribing fail after two seconds with a 503 that is safe to repeat; what was
//! under way is sent again, for ten seconds in all, after which its outcome is unknown.
//! Subscriptions go on by themselves when the server is there again; a consumer that it has lost is
//! made again. What was handled and not yet acknowledged is delivered again.
//!
//! # Configuration
//! `jetstream://user:password@host:4222?stream=shop&replicas=3&bytes_max=1073741824&age_max=7d`,
//! several hosts separated by commas; no path. The streams are made where they are not there; those
//! that are there stay as they are, so that an operator may make them otherwise. Shares its
//! connection with whatever else is on the server.
//!
//! # Not supported
//! [`Overflow`] other than `Block`; ordered consumers, which do without acknowledgements; TLS.
//!
//! # Tested against
//! nats-server 2.15.1 with `sync_interval: always`, one server; not a cluster.

mod api;
mod held;
mod intake;
mod options;
mod place;
mod publish;
mod pulled;
mod settle;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::{BrokerLimits, Limits};
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::driver::Nats;

use super::member::{Member, Members};
use super::memory::{Counts, Tally};
use super::message::Message;
use super::nats::check_options;
use super::nats::queue::Queue;
use super::nats::replies::Replies;
use super::subscription::Subscription;
use super::topic::validate_pattern;
use super::{Broker, Capabilities, Handler, SubscribeOptions};

use self::api::Consumer;
use self::held::Held;
use self::intake::{Intake, State};
pub use self::options::JetStreamOptions;
use self::place::Places;
use self::settle::Worker;

/// How long an answer of the server may take; then nobody knows.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

const ID: &str = "micro.broker";

/// A broker on JetStream.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::broker::{self, JetStreamOptions};
/// use micro::core::limits::Limits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
///
/// # fn example() -> micro::Result<()> {
/// let tasks = TaskTracker::new();
/// let nats = Arc::new(driver::Nats::open(&Server::new("127.0.0.1", 4222), &tasks)?);
/// let options = JetStreamOptions::default();
/// let broker = broker::JetStream::new(&nats, options, &Limits::DEFAULT, tasks)?;
/// # Ok(())
/// # }
/// ```
pub struct JetStream {
    inner: Arc<Inner>,
    members: Members,
    life: Shutdown,
}

/// What subscriptions share.
struct Inner {
    limits: BrokerLimits,
    options: JetStreamOptions,
    body_bytes_max: usize,
    publish_timeout: Duration,
    cancel_timeout: Duration,
    places: Places,
    replies: Arc<Replies>,
    /// Whether the streams are known to be there.
    are_made: AtomicBool,
    making: tokio::sync::Mutex<()>,
    tally: Arc<Tally>,
    tasks: TaskTracker,
}

impl JetStream {
    /// Makes a broker on a connection, without I/O; its tasks belong to `tasks`.
    ///
    /// # Errors
    /// 412 for options that no server takes.
    pub fn new(
        nats: &Arc<Nats>,
        options: JetStreamOptions,
        limits: &Limits,
        tasks: TaskTracker,
    ) -> Result<Self> {
        options.check()?;
        let life = Shutdown::new();
        let inner = Inner {
            limits: limits.broker.clone(),
            places: Places::new(&options.stream),
            options,
            body_bytes_max: limits.message.bytes_max,
            publish_timeout: limits.call.default_timeout,
            cancel_timeout: limits.shutdown.cancel_timeout,
            replies: Arc::new(Replies::new(Arc::clone(nats), &tasks, &life)),
            are_made: AtomicBool::new(false),
            making: tokio::sync::Mutex::default(),
            tally: Arc::default(),
            tasks,
        };
        let members = Members::new(limits.broker.subscriptions_max);
        Ok(Self { inner: Arc::new(inner), members, life })
    }

    /// Returns what has become of the messages so far; `routed` counts what came to subscriptions
    /// here, each delivery, `returned` what was left to another delivery.
    pub fn counts(&self) -> Counts {
        self.inner.tally.counts()
    }
}

impl Inner {
    async fn subscribe(
        self: &Arc<Self>,
        topic: &str,
        options: &SubscribeOptions,
        handler: &Handler,
    ) -> Result<Arc<Member>> {
        self.make_streams().await?;
        let client = self.replies.client().await?;
        let session = self.replies.session();
        let inbox = client.new_inbox();
        let (stream, filter) = self.places.of(topic);
        let name = match &options.queue {
            Some(queue) => place::consumer(topic, queue),
            None => format!("own-{}", inbox.rsplit('.').next().unwrap_or_default()),
        };
        let consumer = Consumer {
            stream: stream.to_owned(),
            name,
            filter,
            ack_wait: self.limits.ack_timeout,
            is_own: options.queue.is_none(),
        };
        let subscriber = client.subscribe(format!("{inbox}.*")).await.map_err(|error| {
            let text = format!("subscribe to {topic}: {error}");
            Error::unavailable(ID, text).with_retry(Retry::Safe)
        })?;
        api::make_consumer(self.replies.nats(), &consumer, 0).await?;
        let most = self.limits.unacked_max.max(1);
        let concurrency = options.concurrency.get().min(most);
        let held = Arc::new(Held::new(concurrency, most, self.limits.pending_bytes_max));
        // Limit: what `held` lets in.
        let queue = Arc::new(Queue::new(usize::MAX, usize::MAX));
        let life = Shutdown::new();
        let worker = || Worker {
            inner: Arc::clone(self),
            group: options.queue.clone(),
            consumer: consumer.name.clone(),
            queue: Arc::clone(&queue),
            held: Arc::clone(&held),
            handler: Arc::clone(handler),
            life: life.clone(),
        };
        let workers =
            (0..concurrency).map(|_| self.tasks.spawn("broker.jetstream", worker().run()));
        let workers = workers.collect();
        let intake = Intake {
            inner: Arc::clone(self),
            topic: topic.to_owned(),
            consumer,
            queue,
            held,
            life: life.clone(),
            state: State::new(inbox, session),
        };
        let intake = self.tasks.spawn("broker.jetstream.intake", intake.run(subscriber));
        Ok(Member::new(topic, life, workers, intake, self.cancel_timeout))
    }
}

impl Broker for JetStream {
    fn name(&self) -> &'static str {
        "jetstream"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            ordered: true,
            queue_groups: true,
            redelivery: true,
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
            check_options("jetstream", &options)?;
            let place = self.members.place(topic)?;
            let member = self.inner.subscribe(topic, &options, &handler).await?;
            place.take(&member);
            Ok(Subscription::new(topic, member))
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let cut = self.members.close(deadline).await;
            self.life.close();
            if cut == 0 {
                return Ok(());
            }
            Err(Error::timeout(ID, format!("close: {cut} subscribers cut")))
        })
    }

    fn counts(&self) -> Option<Counts> {
        Some(self.inner.tally.counts())
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        self.life.close();
    }
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("stream", &self.inner.places.events)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
