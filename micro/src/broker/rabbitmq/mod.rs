//! Events on RabbitMQ, by AMQP 0-9-1.
//!
//! Messages go to a topic exchange, `micro`, with their topic as the key; each group has a quorum
//! queue, `<topic>:<queue>`, and a subscription without a queue has a queue of its own for as long
//! as it is connected.
//!
//! # Delivery
//! At least once to each group, from its first subscription on, whether its members run or not. To a
//! subscription without a queue while it is connected: what is published between the loss of its
//! connection and its return does not reach it. A message that a handler fails comes again after a
//! growing pause (or what the handler asks for, at most five minutes), to any member of the group,
//! five times in all; the queue counts, across processes. Then, or when it is rejected, it goes to
//! `<topic>.dead`, by an exchange of its own, `micro.dead`. Dead letters wait in the group `dead` of
//! that topic: subscribe to `<topic>.dead` with the queue `dead` to take what has waited. Messages of
//! one publisher keep their order for a subscription that handles one at a time; those that come
//! again, after a failure or a lost connection, may fall behind. A process handles as many messages
//! of a subscription as its concurrency says, and the server delivers no more to it.
//!
//! # Durability
//! Publishing returns when the server confirms: the queue of each group has the message on disk, on
//! a majority of its replicas. A message that waits for another delivery stays unacknowledged and
//! is never copied, so that no crash loses it. Exchanges and queues of groups survive restarts of
//! the server. What is published to a topic that nobody has ever subscribed to is dropped, unless
//! publishers are told to [refuse](Unrouted) it.
//!
//! # Limits
//! [`BrokerLimits`]. A queue holds 1,000,000 messages; when it is full, publishing is a 429. Messages
//! that wait for another delivery are 256 for each subscription; with more, their handlers count as
//! busy. The names of topic and queue have 255 bytes together. Keys of metadata have 255 bytes and
//! are not `CC`, `BCC`, `x-death` or `x-delivery-count`, which the server acts on. In a dead letter
//! the time of the first delivery is that to the process which gave the message up, of its latest
//! 1,000 such messages.
//!
//! # When the server fails
//! The connections are made again with growing pauses of at most two seconds, exchanges and queues
//! declared again, and subscriptions resumed. Publishing meanwhile waits five seconds and is a 503,
//! safe to repeat; a message that was sent and not confirmed is a 503, or a 408 after fifteen
//! seconds (or `call.default_timeout` if that is longer), whose outcome is unknown. Handlers go on while their connection is gone,
//! but cannot acknowledge: their messages come again. A server that is silent is given up after
//! twenty seconds; one that is short of memory or disk makes publishing a 429, safe to repeat, while
//! handlers go on. A server that is killed within half a second of the first subscription of a group
//! may come back with a queue that it cannot use; its operator has to delete it.
//!
//! # Configuration
//! `rabbitmq://user:password@host:5672/vhost?exchange=micro&unrouted=refuse`, with several hosts of
//! a cluster separated by commas. The user is `guest` and the virtual host `/` where none is given.
//! See [`RabbitMqConfig`]. Policies of the server apply to the queues, beside what is declared.
//!
//! # Not supported
//! TLS to the server; another [`Overflow`](super::Overflow) than `Block`; streams and classic mirrored queues.
//!
//! # Tested against
//! RabbitMQ 3.10.8, one node.

mod config;
mod firsts;
mod held;
mod member;
mod names;
mod publisher;
mod session;
mod topology;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::shutdown::Shutdown;
use crate::core::shutdown::TaskTracker;
use crate::driver::Amqp;
use crate::driver::AmqpHost;
use crate::transport::Scope;

use super::Broker;
use super::Capabilities;
use super::Handler;
use super::Overflow;
use super::SubscribeOptions;
use super::memory::closed;
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;

pub use self::config::{RabbitMqConfig, Unrouted};
use self::firsts::Firsts;
use self::member::Member;
use self::member::PAUSED_MAX;
use self::member::Subscribed;
use self::names::Exchanges;
use self::publisher::Placed;
use self::publisher::Publisher;
use self::publisher::unrouted;
use self::session::Session;

const ERROR_ID: &str = "micro.broker";

/// A broker on RabbitMQ; clones share it.
///
/// ```
/// use micro::broker::{Broker, RabbitMq, RabbitMqConfig};
/// use micro::driver::{Amqp, Server};
/// use micro::transport::Scope;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let scope = Scope::default();
/// let amqp = Amqp::open(&Server::new("127.0.0.1", 5672), &scope.tasks)?;
/// let broker = RabbitMq::new(&amqp, &RabbitMqConfig::default(), &scope)?;
/// assert!(broker.capabilities().durable);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RabbitMq {
    inner: Arc<Inner>,
}

struct Inner {
    host: Arc<AmqpHost>,
    exchanges: Exchanges,
    publisher: Arc<Publisher>,
    unrouted: Unrouted,
    limits: BrokerLimits,
    body_bytes_max: usize,
    cancel_timeout: Duration,
    tasks: TaskTracker,
    members: Mutex<Members>,
    /// No further subscriptions.
    closing: AtomicBool,
    /// No further messages.
    closed: AtomicBool,
}

#[derive(Default)]
struct Members {
    next_id: u64,
    live: HashMap<u64, Weak<Member>>,
}

impl RabbitMq {
    /// Makes a broker over the connections of a driver; its limits and tasks are those of `scope`.
    ///
    /// # Errors
    /// 412 for names that the protocol has no room for.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(amqp: &Amqp, config: &RabbitMqConfig, scope: &Scope) -> Result<Self> {
        let limits = &scope.limits;
        let exchanges = Exchanges::new(&config.exchange)?;
        let publishing = amqp.publishing_host(&config.virtual_host)?;
        let timeout = limits.call.default_timeout;
        let inner = Inner {
            host: amqp.host(&config.virtual_host)?,
            publisher: Arc::new(Publisher::new(publishing, exchanges.clone(), timeout)),
            exchanges,
            unrouted: config.unrouted,
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            cancel_timeout: limits.shutdown.cancel_timeout,
            tasks: scope.tasks.clone(),
            members: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Broker for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
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
            if self.inner.closed.load(SeqCst) {
                return Err(closed(&message.topic));
            }
            match self.inner.unrouted {
                Unrouted::Drop => self.inner.publisher.anywhere(&message).await,
                Unrouted::Refuse => match self.inner.publisher.somewhere(&message).await? {
                    Placed::Kept => Ok(()),
                    Placed::Unrouted => Err(unrouted(&message.topic)),
                },
            }
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
            if options.overflow != Overflow::Block {
                let text = format!("subscribe to {topic}: rabbitmq keeps what is not handled yet");
                return Err(Error::unimplemented(ERROR_ID, text));
            }
            let subscribed = Arc::new(self.inner.subscribed(topic, options, handler));
            let id = self.inner.admit(topic)?;
            let left = Left { inner: Arc::downgrade(&self.inner), id };
            let session = Session::open(&subscribed).await?;
            let leave = Box::new(move || left.leave());
            let (tasks, patience) = (&self.inner.tasks, self.inner.cancel_timeout);
            let member = Member::start(&subscribed, session, tasks, patience, leave);
            let is_open = self.inner.join(id, &member);
            // Dropped, it ends.
            let subscription = Subscription::new(topic, member);
            if is_open { Ok(subscription) } else { Err(closed(topic)) }
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq")
            .field("host", &self.inner.host)
            .field("exchange", &self.inner.exchanges.alive.as_str())
            .finish_non_exhaustive()
    }
}

/// A place among the subscriptions, given back when it is left or dropped.
struct Left {
    inner: Weak<Inner>,
    id: u64,
}

impl Left {
    fn leave(&self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.members().live.remove(&self.id);
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Inner {
    fn subscribed(&self, topic: &str, options: SubscribeOptions, handler: Handler) -> Subscribed {
        let most = self.limits.unacked_max.max(1).min(usize::from(u16::MAX));
        let concurrency = options.concurrency.min(most.try_into().unwrap_or(options.concurrency));
        Subscribed {
            host: Arc::clone(&self.host),
            exchanges: self.exchanges.clone(),
            publisher: Arc::clone(&self.publisher),
            topic: topic.to_owned(),
            queue: options.queue,
            handler,
            concurrency,
            limits: self.limits.clone(),
            life: Shutdown::new(),
            tasks: TaskTracker::new(),
            free: Arc::new(Semaphore::new(concurrency.get())),
            paused: Arc::new(Semaphore::new(PAUSED_MAX)),
            firsts: Firsts::default(),
        }
    }

    /// Takes a place for a subscription.
    fn admit(&self, topic: &str) -> Result<u64> {
        let mut members = self.members();
        if self.closing.load(SeqCst) {
            return Err(closed(topic));
        }
        let most = self.limits.subscriptions_max;
        if members.live.len() >= most {
            let text = format!("subscribe to {topic}: subscriptions are limited to {most}");
            return Err(Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe));
        }
        members.next_id = members.next_id.wrapping_add(1);
        let id = members.next_id;
        members.live.insert(id, Weak::new());
        Ok(id)
    }

    /// Puts a subscription into its place; `false` if the broker closes.
    fn join(&self, id: u64, member: &Arc<Member>) -> bool {
        let mut members = self.members();
        members.live.insert(id, Arc::downgrade(member));
        !self.closing.load(SeqCst)
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        let members: Vec<_> = {
            let members = self.members();
            self.closing.store(true, SeqCst);
            members.live.values().filter_map(Weak::upgrade).collect()
        };
        for member in &members {
            member.stop_fetching();
        }
        let mut cut = 0;
        for member in &members {
            cut += member.finish(deadline).await;
        }
        // Handlers that were still running could publish until here.
        self.closed.store(true, SeqCst);
        if cut == 0 {
            return Ok(());
        }
        Err(Error::timeout(ERROR_ID, format!("close: {cut} subscribers cut")))
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
