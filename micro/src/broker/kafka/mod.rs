//! Events on Kafka: kept by the servers in the partitions of a topic, each read in order.
//!
//! A topic has the same name on the servers, where `a.b` and `a_b` may not both be. A record's value
//! is go-micro's document, `{"Header": {..}, "Body": "<base64>"}`, so that its plugin for Kafka and
//! this broker read each other; a value that is none is taken for the body of a message whose metadata
//! are the record's headers. The queue `mailer` of the topic `orders.created` is the consumer group
//! `mailer:orders.created`: a group for each topic, so that a subscription that comes or goes divides
//! the partitions of its own topic alone.
//!
//! # Delivery
//! At least once, to each group. A group is made by its first subscription and begins where the topic
//! ends; it keeps its place while no member is there. A subscription without a queue reads all
//! partitions from their ends on, under a name that no other has, and leaves nothing behind.
//!
//! The servers keep one number for each partition of a group: all before it is settled. A
//! subscription tells them the number before the first message that is not settled, handles others
//! beyond it meanwhile, and holds a message that is to be delivered again until its pause is over.
//! What is settled beyond that number is delivered again if the process ends, and so is what was
//! settled in the last half second. Deliveries are counted within the process: a message whose
//! handler ends the process is delivered without end. One that fails
//! [`BrokerLimits::deliveries_max`] times, or is rejected, goes to `<topic>.dead`, and is settled once
//! that is confirmed.
//!
//! A topic has no order of its messages, its partitions have: with `key=tenant`, messages with the
//! same value of the metadata `tenant` are in one partition, and a subscription that handles one at a
//! time gets them in their order; one that comes again falls behind. A topic of one partition keeps
//! the order of all, and one member of a group gets them.
//!
//! When members come or go, a group divides its partitions anew. Members start nothing more, have two
//! seconds for what runs, and commit. What they hold of a partition that they keep they go on with;
//! of one that others get, what is not settled by then is delivered again there. A slow handler is
//! no reason to lose a partition.
//!
//! Where the log of a partition goes back, because its topic was made anew or its end was lost with a
//! server, it is read from there on, and what was held of it is let go.
//!
//! # Durability
//! As the topics are configured: publishing returns when all copies that are in sync have the message,
//! which at `replicas=3` and `min.insync.replicas=2` survives the loss of a server. Each message is
//! written once, in the order of its publisher, although it is sent again. The servers write to disk
//! when their operating system does.
//!
//! # Limits
//! [`KafkaConfig::message_bytes_max`]; a longer message is a 413 before it is sent. 10,000 messages or
//! 64 MiB wait to be sent; more are a 503 that is safe to repeat. A subscription has fetched about
//! [`BrokerLimits::pending_bytes_max`] ahead, holds [`BrokerLimits::unacked_max`] messages, those that
//! wait for another delivery among them, and runs 10,000 messages ahead of the first one of a
//! partition that is not settled. It is a client of its own, with a thread, a few of the library's and
//! one for each server. Servers keep the place of a group without members for 7 days by default; then
//! it begins anew.
//!
//! # When the server fails
//! Once they are known to be away, whatever is asked fails after two seconds with a 503 that is safe
//! to repeat; a topic that is not there yet is waited for five seconds in all. Until that is known,
//! and for what was under way, messages are sent again for [`CallLimits::default_timeout`], 10 s, and
//! one second later their outcome is unknown. Subscribing takes up to 30 s more than its topic, most of
//! which the group may take to give a member its part. A user whom the servers refuse is named in the
//! 503. Closing does not wait for servers that are away: the thread of a subscription, and its last
//! commit, may outlive it until the library gives up. Subscriptions go on by themselves. Others get the messages of a member that died when
//! its session times out.
//!
//! # Configuration
//! `kafka://user:password@host:9092,host2:9092?partitions=8&replicas=3&message_bytes_max=1000000&session_timeout=10s&key=tenant`;
//! no path. User and password are sent as they are (SASL PLAIN). Topics are made when they are first
//! published or subscribed to; servers that cannot be asked to make them as to partitions and replicas
//! make them as they are configured.
//!
//! # Not supported
//! Patterns; [`Overflow`] other than `Block`; transactions; TLS.
//!
//! # Tested against
//! The mock cluster of librdkafka 2.12.1; no real Kafka. It makes topics by itself, divides groups and
//! fails on demand; it does not check users, nor make topics with the partitions asked for.
//!
//! [`CallLimits::default_timeout`]: crate::core::limits::CallLimits::default_timeout

mod client;
mod config;
mod desk;
mod failure;
mod held;
mod pump;
mod seat;
mod settings;
mod topics;
mod wire;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::{BrokerLimits, Limits};
use crate::core::shutdown::{Shutdown, TaskTracker};

use super::member::{Member, Members};
use super::memory::{Counts, Tally, count};
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;
use super::{Broker, Capabilities, Handler, Overflow, SubscribeOptions};

pub use self::client::KafkaClient;
pub use self::config::KafkaConfig;
use self::desk::Desk;
use self::pump::Pump;
use self::seat::Seat;
use self::topics::Topics;
use self::worker::Worker;

const ID: &str = "micro.broker";

/// How long whatever is asked waits for servers that are away.
const UP_PATIENCE: Duration = Duration::from_secs(2);

/// How long a topic may take until it is there.
const TOPIC_PATIENCE: Duration = Duration::from_secs(5);

/// How much longer than its client a publisher waits to learn what came of a message.
const OUTCOME_GRACE: Duration = Duration::from_secs(1);

/// How long a subscription may take in all: its thread has shorter times for each step.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a queue's name, at most.
const QUEUE_BYTES_MAX: usize = 128;

/// Bytes that a message takes beyond its value: the library counts its framing.
const FRAME_BYTES: usize = 512;

/// A broker on Kafka.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::broker::{Kafka, KafkaClient, KafkaConfig};
/// use micro::core::limits::Limits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::Server;
///
/// # fn example() -> micro::Result<()> {
/// let (tasks, limits) = (TaskTracker::new(), Limits::DEFAULT);
/// let server = Server::new("127.0.0.1", KafkaConfig::PORT);
/// let client = KafkaClient::open(&server, KafkaConfig::default(), &limits, &tasks)?;
/// let broker = Kafka::new(&Arc::new(client), &limits, tasks);
/// # Ok(())
/// # }
/// ```
pub struct Kafka {
    inner: Arc<Inner>,
    members: Members,
}

/// What subscriptions share.
struct Inner {
    client: Arc<KafkaClient>,
    limits: BrokerLimits,
    body_bytes_max: usize,
    publish_timeout: Duration,
    cancel_timeout: Duration,
    topics: Topics,
    tally: Arc<Tally>,
    tasks: TaskTracker,
}

impl Kafka {
    /// Makes a broker on a client, without I/O; its tasks belong to `tasks`.
    pub fn new(client: &Arc<KafkaClient>, limits: &Limits, tasks: TaskTracker) -> Self {
        let inner = Inner {
            client: Arc::clone(client),
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            publish_timeout: limits.call.default_timeout,
            cancel_timeout: limits.shutdown.cancel_timeout,
            topics: Topics::new(limits.broker.topics_max),
            tally: Arc::default(),
            tasks,
        };
        Self { inner: Arc::new(inner), members: Members::new(limits.broker.subscriptions_max) }
    }

    /// Returns what has become of the messages so far; `routed` counts what came to subscriptions
    /// here, `returned` the deliveries that were cut.
    pub fn counts(&self) -> Counts {
        self.inner.tally.counts()
    }
}

impl Inner {
    /// Publishes a message and waits until the servers have it.
    async fn send(&self, message: &Message) -> Result<()> {
        let topic = &message.topic;
        let value = wire::write(message)?;
        let shared = &self.client.shared;
        let key = shared.config.key.as_deref().and_then(|key| message.metadata.get(key));
        let most = shared.config.message_bytes_max;
        let bytes = value.len() + key.map_or(0, str::len) + FRAME_BYTES;
        if bytes > most {
            let text =
                format!("publish to {topic}: {bytes} bytes with framing, the limit is {most}");
            return Err(Error::too_large(ID, text));
        }
        let what = format!("publish to {topic}");
        let now = clock::now();
        shared.up(&what, clock::after(now, UP_PATIENCE)).await?;
        self.topics.ensure(shared, topic, clock::after(now, TOPIC_PATIENCE)).await?;
        let outcome = shared.send(topic, key, &value)?;
        let patience = self.publish_timeout.saturating_add(OUTCOME_GRACE);
        let error = match clock::timeout(patience, outcome).await {
            Ok(Ok(Ok(()))) => {
                count(&self.tally.published);
                return Ok(());
            }
            Ok(Ok(Err(error))) => failure::of_delivery(&what, &error),
            // The client has ended, or is stuck.
            Ok(Err(_)) | Err(_) => {
                let text = format!("{what}: its outcome is unknown");
                Error::unavailable(ID, text).with_retry(Retry::Unknown)
            }
        };
        match error.retry() {
            Retry::Safe => self.topics.forget(topic),
            Retry::Unknown => shared.doubt(),
            Retry::Never => {}
        }
        Err(error)
    }

    async fn subscribe(
        self: &Arc<Self>,
        topic: &str,
        options: &SubscribeOptions,
        handler: &Handler,
    ) -> Result<Arc<Member>> {
        let shared = &self.client.shared;
        let now = clock::now();
        shared.up(&format!("subscribe to {topic}"), clock::after(now, UP_PATIENCE)).await?;
        self.topics.ensure(shared, topic, clock::after(now, TOPIC_PATIENCE)).await?;
        let most = self.limits.unacked_max.max(1);
        let concurrency = options.concurrency.get().min(most);
        let desk = Arc::new(Desk::new(most, self.limits.pending_bytes_max));
        let life = Shutdown::new();
        // Dropped unfinished, this ends what was begun.
        let ending = Ending(life.clone());
        let group = match &options.queue {
            Some(queue) => format!("{queue}:{topic}"),
            None => format!("micro-own-{:032x}", fastrand::u128(..)),
        };
        let is_member = options.queue.is_some();
        let pump = Pump {
            inner: Arc::clone(self),
            seat: Seat { topic: topic.to_owned(), group, is_member },
            desk: Arc::clone(&desk),
            life: life.clone(),
        };
        let (opened, ended) = pump.start()?;
        let opened = clock::timeout(SUBSCRIBE_PATIENCE, opened).await;
        opened.unwrap_or(Ok(Err(no_answer(topic)))).unwrap_or_else(|_| Err(no_answer(topic)))?;
        let worker = || Worker {
            inner: Arc::clone(self),
            queue: options.queue.clone(),
            desk: Arc::clone(&desk),
            handler: Arc::clone(handler),
            life: life.clone(),
        };
        let workers = (0..concurrency).map(|_| self.tasks.spawn("broker.kafka", worker().run()));
        let workers = workers.collect();
        let keeper = self.tasks.spawn("broker.kafka.thread", keep(ending, ended));
        Ok(Member::new(topic, life, workers, keeper, self.cancel_timeout))
    }
}

fn no_answer(topic: &str) -> Error {
    let text = format!("subscribe to {topic}: no answer");
    Error::unavailable(ID, text).with_retry(Retry::Safe)
}

/// Ends a subscription when it is dropped.
struct Ending(Shutdown);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Lasts as long as the thread of a subscription, and ends that when it is aborted itself.
async fn keep(ending: Ending, ended: oneshot::Receiver<()>) {
    let _ended = ended.await.is_err();
    drop(ending);
}

/// Refuses what this broker does not do.
fn check(topic: &str, options: &SubscribeOptions) -> Result<()> {
    let refused = |lacks: &str| {
        let text = format!("subscribe to {topic}: the broker `kafka` {lacks}");
        Error::unimplemented(ID, text)
    };
    if validate_pattern(topic)? {
        return Err(refused("takes no patterns"));
    }
    if options.overflow != Overflow::Block {
        return Err(refused("has one way to overflow"));
    }
    let is_named = |queue: &String| {
        !queue.is_empty() && queue.len() <= QUEUE_BYTES_MAX && !queue.chars().any(char::is_control)
    };
    if options.queue.as_ref().is_some_and(|queue| !is_named(queue)) {
        let text = format!("a queue has a name of 1 to {QUEUE_BYTES_MAX} bytes");
        return Err(Error::bad_request(ID, text));
    }
    Ok(())
}

impl Broker for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            ordered: false,
            queue_groups: true,
            redelivery: true,
            dead_letters: true,
            patterns: false,
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
            check(topic, &options)?;
            let place = self.members.place(topic)?;
            let member = self.inner.subscribe(topic, &options, &handler).await?;
            place.take(&member);
            Ok(Subscription::new(topic, member))
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.members.close(deadline).await {
                0 => Ok(()),
                cut => Err(Error::timeout(ID, format!("close: {cut} subscribers cut"))),
            }
        })
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("client", &self.inner.client)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
