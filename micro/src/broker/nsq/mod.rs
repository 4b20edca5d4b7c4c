//! Events on NSQ, by the protocol V2 of nsqd.
//!
//! A topic is a topic of NSQ, and a group its channel of that name; a subscription without a queue
//! has an ephemeral channel of its own. Messages are those of go-micro's broker of that name: JSON
//! with `Header` and `Body`.
//!
//! # Delivery
//! At least once to each group, from its first subscription on, whether its members run or not, as
//! far as each nsqd keeps what it has (see Durability). What is published to a topic that nobody
//! has ever subscribed to waits for the first that does. To a subscription without a queue it
//! delivers what it can while that is connected: nsqd keeps up to `--mem-queue-size` messages for
//! it and drops what is more without a word, retries among them; with `--mem-queue-size=0` that is
//! nearly everything. What a lost connection had, and what is published until it is back, does not
//! reach it. A service that needs each message has a queue. A message that a handler fails comes
//! again after a growing pause (or what the handler asks for, at most five minutes), to any member
//! of the group, five times in all; nsqd counts, across processes, and counts deliveries that were
//! cut, too. Then, or when it is rejected or is no message at all, it goes to `<topic>.dead`, and
//! is finished once nsqd has it there. A handler that takes long keeps its message: nsqd is told so
//! in time. Messages come in no particular order. A process handles as many messages of a
//! subscription as its concurrency says; each of several nsqds is asked for its share of that, and
//! what comes beyond it waits.
//!
//! # Durability
//! Publishing returns when one nsqd says that it has the message: there is no second copy. What
//! nsqd does with it is its operator's choice. By default it keeps up to 10,000 messages of each
//! topic and channel in memory (`--mem-queue-size`) and writes to disk what is more, and everything
//! when it ends in order. One that is killed, or whose machine fails, loses what it has in memory.
//! With `--mem-queue-size=0` messages that wait are on disk, and with `--sync-every=1` so that the
//! machine may fail; those that are with a handler or wait for another delivery are in memory even
//! then. This backend declares itself durable only where whoever runs the nsqds vouches for that:
//! `durable=true`.
//!
//! # Limits
//! [`BrokerLimits`]. A topic has 59 bytes, so that `<topic>.dead` has the 64 that NSQ allows; a
//! queue has 64, of letters, digits, dots, `-` and `_`. A message has 1 MiB as NSQ carries it, of
//! which its dead letter needs 8 KiB and a body takes a third more than its length; more is a 413.
//! A longer one of another program is not handled: it comes again every five minutes, and is
//! logged, until `message_bytes` is raised. A subscription is connected to 64 nsqds. 64 MiB of
//! messages are on their way to nsqds; with more, publishing waits, and is a 429 after five
//! seconds. A message can be kept from other members for nsqd's `--max-msg-timeout`, 15 minutes. In
//! a dead letter the time of the first delivery is that at which nsqd took the message.
//!
//! # When the server fails
//! Connections are made again with growing pauses of at most two seconds, and subscriptions
//! resumed. Publishing goes to another nsqd that is given; where there is none it waits five
//! seconds and is a 503, safe to repeat. A message that was sent and not confirmed is a 503, or a
//! 408 after fifteen seconds, whose outcome is unknown. Subscribing is a 503, safe to repeat, where
//! no nsqd takes it; one that is away is joined when it returns, and what is published to it before
//! that reaches the groups that it has. Handlers go on while their connection is gone, but cannot
//! acknowledge: their messages come again, though not at once. nsqd keeps what a lost connection
//! had for fifteen seconds after it was last told that the message is worked on; only a
//! subscription that ends in order, or whose handlers are cut, gives back what it has. An nsqd that
//! is silent is given up after twelve seconds; one that answers all but what is published after
//! fifteen, and is left alone for ten. While an nsqlookupd does not answer, the nsqds that were
//! found stay.
//!
//! # Configuration
//! `nsq://host:4150,other:4150?lookup=host:4161,other:4161`: the nsqds that are published to, by
//! turns, and subscribed at; further ones to subscribe at are found by `lookup`, the HTTP addresses
//! of nsqlookupds, which are asked every `lookup_seconds`, 15. `message_bytes` is the
//! `--max-msg-size` of the nsqds. With `durable=true` their operator says that they keep what they
//! have (see Durability). Users and passwords are refused. See [`NsqConfig`]. Their
//! `--max-req-timeout` must be five minutes at least, an hour by default, and their
//! `--max-msg-timeout` fifteen seconds.
//!
//! # Not supported
//! TLS to nsqd; AUTH; compression; deferred publishing; patterns; another
//! [`Overflow`](super::Overflow) than `Block`.
//!
//! # Tested against
//! A stand-in written from NSQ's public protocol documents; no real nsqd.

mod command;
mod config;
mod connection;
mod feed;
mod frame;
mod held;
mod leave;
mod line;
mod lookup;
mod member;
mod names;
mod nsqd;
mod ready;
mod unsettled;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::transport::Scope;

use super::Broker;
use super::Capabilities;
use super::Handler;
use super::Overflow;
use super::SubscribeOptions;
use super::http::document;
use super::memory::closed;
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;

pub use self::config::NsqConfig;
use self::member::{Finder, FirstTry, Lines, Member, Subscribed};
pub use self::nsqd::Nsqd;

const ERROR_ID: &str = "micro.broker";

/// What a dead letter has more than its message, at most, unless a message may have less than four
/// times as much: its reason and the facts.
const DEAD_BYTES: usize = 8 * 1024;

/// How long subscribing waits for nsqds, in all.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(6);

/// A broker on NSQ; clones share it.
///
/// ```
/// use std::sync::Arc;
///
/// use micro::broker::{Broker, Nsq, NsqConfig, Nsqd};
/// use micro::driver::Server;
/// use micro::transport::Scope;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let scope = Scope::default();
/// let nsqd = Arc::new(Nsqd::open(&Server::new("127.0.0.1", 4150), &scope.tasks));
/// let config = NsqConfig::default().with_lookup(Server::new("127.0.0.1", 4161));
/// let broker = Nsq::new(nsqd, &config, &scope);
/// assert!(broker.capabilities().redelivery);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Nsq {
    inner: Arc<Inner>,
}

struct Inner {
    nsqd: Arc<Nsqd>,
    finder: Option<Finder>,
    message_bytes_max: usize,
    is_durable: bool,
    body_bytes_max: usize,
    limits: BrokerLimits,
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

impl Nsq {
    /// Makes a broker that publishes to nsqds and subscribes there; its limits and tasks are those
    /// of `scope`.
    pub fn new(nsqd: Arc<Nsqd>, config: &NsqConfig, scope: &Scope) -> Self {
        let limits = &scope.limits;
        let interval = config.lookup_interval;
        let finder = config.lookup.clone().map(|lookup| Finder { lookup, interval });
        let inner = Inner {
            nsqd,
            finder,
            message_bytes_max: config.message_bytes_max.min(NsqConfig::MESSAGE_BYTES_MOST),
            is_durable: config.is_durable,
            body_bytes_max: limits.message.bytes_max,
            limits: limits.broker.clone(),
            cancel_timeout: limits.shutdown.cancel_timeout,
            tasks: scope.tasks.clone(),
            members: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Broker for Nsq {
    fn name(&self) -> &'static str {
        "nsq"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: self.inner.is_durable,
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
            let topic = &message.topic;
            message.validate(self.inner.body_bytes_max)?;
            names::check_topic(topic)?;
            if self.inner.closed.load(SeqCst) {
                return Err(closed(topic));
            }
            let document = document::write(&message)?;
            let most = self.inner.message_bytes_max;
            let most = most - DEAD_BYTES.min(most / 4);
            member::check_length(topic, &document, most)?;
            self.inner.nsqd.publish(topic, document.into()).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            let refused = |why: &str| {
                Error::unimplemented(ERROR_ID, format!("subscribe to {topic}: nsq {why}"))
            };
            if validate_pattern(topic)? {
                return Err(refused("has no patterns"));
            }
            if options.overflow != Overflow::Block {
                return Err(refused("keeps what is not handled yet"));
            }
            names::check_topic(topic)?;
            let subscribed = Arc::new(self.inner.subscribed(topic, options, handler)?);
            let id = self.inner.admit(topic)?;
            let left = Left { inner: Arc::downgrade(&self.inner), id };
            let deadline = clock::after(clock::now(), SUBSCRIBE_TIMEOUT);
            let tasks = &self.inner.tasks;
            let mut lines = Lines::new(&subscribed, tasks, self.inner.finder.clone());
            let found = lines.ask().await;
            let joined = self.inner.join(id, move || {
                let firsts = lines.update(&found);
                let leave = Box::new(move || left.leave());
                let cancel_timeout = self.inner.cancel_timeout;
                (Member::start(subscribed, lines, tasks, cancel_timeout, leave), firsts)
            });
            let (member, firsts) = joined.ok_or_else(|| closed(topic))?;
            // Dropped, it ends.
            let subscription = Subscription::new(topic, member);
            member::subscribed(firsts, deadline).await?;
            Ok(subscription)
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }
}

impl fmt::Debug for Nsq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nsq").field("nsqd", &self.inner.nsqd).finish_non_exhaustive()
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
    fn subscribed(
        &self,
        topic: &str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> Result<Subscribed> {
        let most = self.limits.unacked_max.max(1);
        let concurrency = options.concurrency.min(most.try_into().unwrap_or(options.concurrency));
        Ok(Subscribed {
            nsqd: Arc::clone(&self.nsqd),
            topic: topic.to_owned(),
            channel: names::channel(options.queue.as_deref())?,
            queue: options.queue,
            handler,
            concurrency,
            message_bytes_max: self.message_bytes_max,
            limits: self.limits.clone(),
            life: Shutdown::new(),
            tasks: TaskTracker::new(),
            free: Semaphore::new(concurrency.get()),
            lines: watch::Sender::new(0),
        })
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

    /// Begins a subscription and puts it into its place, both before or neither after the broker
    /// began to close.
    fn join(
        &self,
        id: u64,
        begin: impl FnOnce() -> (Arc<Member>, Vec<FirstTry>),
    ) -> Option<(Arc<Member>, Vec<FirstTry>)> {
        let mut members = self.members();
        if self.closing.load(SeqCst) {
            // What has begun nothing leaves its place as it is dropped, which needs the lock.
            drop(members);
            return None;
        }
        let (member, firsts) = begin();
        members.live.insert(id, Arc::downgrade(&member));
        Some((member, firsts))
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
