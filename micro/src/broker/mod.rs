//! Events: publishing to topics, and subscribing to them alone or in groups.
//!
//! A [`Message`] goes to every group of subscribers whose topic or pattern matches, and within a
//! group to one member. What a handler returns decides what becomes of its delivery: [`Ack`]. A
//! message that keeps failing goes to the topic's dead letters, `<topic>.dead`.
//!
//! Exactly-once is never claimed: a message may be delivered again after a failure whose outcome is
//! unknown. [`Dedupe`] helps handlers that must not act twice.

#[cfg(any(
    feature = "kafka",
    feature = "nats",
    feature = "nsq",
    feature = "postgres",
    feature = "pubsub",
    feature = "rabbitmq",
    feature = "redis"
))]
mod before_retry;
mod dead_letter;
mod dedupe;
mod delivery;
mod event;
mod http;
mod inbox;
#[cfg(feature = "nats")]
mod jetstream;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod member;
mod memory;
mod message;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nsq")]
mod nsq;
mod pause;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "pubsub")]
mod pubsub;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod receipt;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_pubsub;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

pub use self::dead_letter::DEAD_SUFFIX;
pub use self::dead_letter::DeadLetter;
pub use self::dedupe::Dedupe;
pub use self::dedupe::First;
pub use self::delivery::Ack;
pub use self::delivery::Delivery;
pub use self::delivery::deliver;
pub use self::event::Decision;
pub use self::event::Event;
pub use self::event::RawEvent;
pub use self::http::Headers;
pub use self::http::Http;
pub use self::http::Sent;
pub use self::inbox::INBOX_ENDPOINT;
pub use self::inbox::INBOX_NODE;
pub use self::inbox::INBOX_SERVICE;
pub use self::inbox::Inbox;
#[cfg(feature = "nats")]
pub use self::jetstream::JetStream;
#[cfg(feature = "nats")]
pub use self::jetstream::JetStreamOptions;
#[cfg(feature = "kafka")]
pub use self::kafka::{Kafka, KafkaClient, KafkaConfig};
pub use self::memory::Counts;
pub use self::memory::Memory;
pub use self::message::MESSAGE_ID_BYTES_MAX;
pub use self::message::Message;
#[cfg(feature = "mqtt")]
pub use self::mqtt::{Mqtt, MqttOptions};
#[cfg(feature = "nats")]
pub use self::nats::Nats;
#[cfg(feature = "nsq")]
pub use self::nsq::{Nsq, NsqConfig, Nsqd};
#[cfg(feature = "postgres")]
pub use self::postgres::Postgres;
#[cfg(feature = "pubsub")]
pub use self::pubsub::{PubSub, PubSubConfig, PubSubEndpoint};
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::{RabbitMq, RabbitMqConfig, Unrouted};
#[cfg(feature = "redis")]
pub use self::redis::{DEAD_LETTERS_MAX, Redis, STREAM_ENTRIES_MAX};
#[cfg(feature = "redis")]
pub use self::redis_pubsub::RedisPubSub;
pub use self::subscription::Control;
pub use self::subscription::Subscription;
pub use self::topic::TOPIC_BYTES_MAX;
pub use self::topic::Topic;
pub use self::topic::matches;
pub use self::topic::validate_pattern;
pub use self::topic::validate_topic;
pub use crate::core::descriptor::Overflow;

/// What handles the deliveries of a subscription; see [`deliver`] for how a backend calls it.
pub type Handler = Arc<dyn Fn(Delivery) -> BoxFuture<'static, Ack> + Send + Sync>;

/// A backend that carries messages from publishers to subscribers.
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `memory`.
    fn name(&self) -> &'static str;

    /// Returns what the backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Hands a message over, and returns when the backend has it as safely as it ever will.
    ///
    /// An error with `Retry::Safe` means that no subscriber gets the message; with
    /// `Retry::Unknown` some may, so repeating it may deliver it twice. An invalid topic is a 400,
    /// a body over the limit a 413, a backend that is full a 429, a closed one a 503. Messages that
    /// one task publishes one after the other are in this order. Dropping the future leaves open
    /// whether the message is published; each group has it or has not, never a part of it.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>>;

    /// Subscribes to a topic, or to a pattern where [`Capabilities::patterns`] says so.
    ///
    /// When it returns, messages published from then on arrive. A pattern on a backend without
    /// patterns is a 501. The subscription ends when the handle is drained, closed or dropped.
    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>>;

    /// Lets subscribers finish until `deadline`, then takes no more messages and ends.
    ///
    /// Repeating it is no error. If handlers had to be cut or messages are left behind that the
    /// backend does not keep, it ends all the same and the error (408) counts them.
    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>>;

    /// Returns what takes in the messages that other processes bring to the port of this one, if
    /// the backend is reached that way.
    fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        None
    }

    /// Returns what has become of the messages of this process so far, if the backend counts.
    ///
    /// Decorators pass it on. It must not wait: it is asked whenever somebody reads the numbers of
    /// the process.
    fn counts(&self) -> Option<Counts> {
        None
    }
}

/// What a broker backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A published message survives the end of every process.
    pub durable: bool,
    /// A subscription that handles one delivery at a time gets the messages of a topic in their
    /// order; one that is retried falls behind.
    pub ordered: bool,
    /// Of the subscriptions with one queue name, one gets each message.
    pub queue_groups: bool,
    /// [`Ack::Retry`] and a lost consumer lead to another delivery; otherwise each message is
    /// delivered at most once.
    pub redelivery: bool,
    /// Messages that fail for good go to `<topic>.dead`.
    pub dead_letters: bool,
    /// Subscriptions take patterns.
    pub patterns: bool,
    /// Subscriptions may choose any [`Overflow`]; otherwise another than [`Overflow::Block`] is a
    /// 501.
    pub overflow: bool,
}

/// How a subscription gets its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The group of which one member gets each message; without it every subscription does.
    pub queue: Option<String>,
    /// Deliveries handled at a time: 1. It is cut to the backend's limit of unacknowledged
    /// messages.
    pub concurrency: NonZeroUsize,
    /// What happens when messages come faster than they are handled. Members of one group should
    /// agree: the first one's word counts.
    pub overflow: Overflow,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { queue: None, concurrency: NonZeroUsize::MIN, overflow: Overflow::default() }
    }
}

impl SubscribeOptions {
    /// Joins a queue group.
    #[must_use]
    pub fn with_queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Handles so many deliveries at a time.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: NonZeroUsize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Chooses what happens when messages come faster than they are handled.
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}
