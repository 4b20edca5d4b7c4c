//! Broker on streams of a Redis or Valkey server.
//!
//! # Delivery
//! At least once to each group. A queue is a group of the topic's stream, and lasts: what is
//! published while no member lives waits for the next one. A subscription without a queue has a group
//! of its own, which is removed when it ends, or five minutes after its process was last heard. What
//! is published to a topic without any group reaches nobody.
//!
//! A member reads as many entries as it has idle handlers. One whose process ended is given to
//! another member after `ack_timeout` without a sign of life; deliveries are counted by the server,
//! across members and processes. Retries pause longer and longer with the member that had them. Dead
//! letters go to the stream of `<topic>.dead` in the moment in which the entry is settled, and stay
//! there for their first reader.
//!
//! # Durability
//! As the server is configured: with `appendonly yes` and `appendfsync always` a publication that
//! returned is on its disk; with the usual `everysec` up to a second of them may be lost with the
//! server. A replica that takes over may lack the last ones. Set `maxmemory-policy noeviction`.
//!
//! # Limits
//! Entries of one stream: [`STREAM_ENTRIES_MAX`], or the option `entries`; a publication beyond
//! that is refused as a 429; a process looks at the length again after a sixteenth of what was
//! free, so many processes may go beyond it by a little. Entries that every group has settled are
//! removed within a second or so; a topic without any group keeps its entries until it has as many
//! as its limit, and then loses them all. Dead letters of one topic: [`DEAD_LETTERS_MAX`]; the
//! oldest go. Entries that a subscription has not settled: `unacked_max`, those that wait for
//! another delivery included. Each subscription has a connection.
//!
//! # When the server fails
//! A publication fails within a second where nothing was sent, and within five where no answer
//! came: repeating it then may deliver it twice. Subscriptions connect again and go on where they
//! were; a delivery whose acknowledgement was lost is acknowledged again, or comes twice. A group
//! that the server lost is made again where the subscription that notices it was.
//!
//! # Configuration
//! `redis://user:password@host:6379/database?prefix=micro&entries=100000`: the number of the
//! database, what the names of all keys begin with, and how many entries a stream holds.
//!
//! # Not supported
//! Patterns, TLS, Redis Cluster, Sentinel. Queues that nobody reads any more are removed by hand, with
//! `XGROUP DESTROY`; until then they hold up their topic at its limit.
//!
//! # Tested against
//! Redis 7.0.15.

mod acks;
mod entry;
mod grants;
mod held;
mod member;
mod reader;
mod scripts;
mod upkeep;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::broker::dead_letter::is_dead;
use crate::broker::memory::closed;
use crate::broker::message::Message;
use crate::broker::redis::grants::Grants;
use crate::broker::redis::member::Member;
use crate::broker::subscription::Subscription;
use crate::broker::topic::validate_pattern;
use crate::broker::{Broker, Capabilities, Handler, Overflow, SubscribeOptions};
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::{BrokerLimits, Limits};
use crate::driver;
use crate::driver::redis::reply;

/// Entries of one stream, unless told otherwise: 100,000, so that what waits for a queue without
/// members fills the memory of the server with some hundreds of messages of the longest kind at
/// worst, and with 100 MB of the usual kind.
pub const STREAM_ENTRIES_MAX: usize = 100_000;

/// Dead letters of one topic: 10,000, for people to read. The oldest give way.
pub const DEAD_LETTERS_MAX: usize = 10_000;

/// A broker on a server; clones share it.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Arc<driver::Redis>,
    prefix: String,
    entries_max: usize,
    grants: Grants,
    limits: BrokerLimits,
    body_bytes_max: usize,
    cancel_timeout: Duration,
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

impl Redis {
    /// Makes a broker; the names of its keys on the server begin with `prefix`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use micro::core::limits::Limits;
    /// use micro::core::shutdown::TaskTracker;
    /// use micro::driver::{Redis, Server};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let redis = Arc::new(Redis::open(&Server::new("127.0.0.1", 6379), &TaskTracker::new())?);
    /// let broker = micro::broker::Redis::new(redis, "micro", &Limits::default()).holding(1_000_000);
    /// # Ok::<(), micro::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(redis: Arc<driver::Redis>, prefix: impl Into<String>, limits: &Limits) -> Self {
        let inner = Inner {
            redis,
            prefix: prefix.into(),
            entries_max: STREAM_ENTRIES_MAX,
            grants: Grants::default(),
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            cancel_timeout: limits.shutdown.cancel_timeout,
            members: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets a stream hold so many entries, at least one; to be said before the broker is shared.
    #[must_use]
    pub fn holding(mut self, entries_max: usize) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.entries_max = entries_max.max(1);
        }
        self
    }
}

impl Inner {
    fn stream(&self, topic: &str) -> String {
        format!("{}:stream:{topic}", self.prefix)
    }

    /// Returns what the names of leases begin with.
    fn leases(&self) -> String {
        format!("{}:lease:", self.prefix)
    }

    async fn publish(&self, message: Message) -> Result<()> {
        message.validate(self.body_bytes_max)?;
        if self.closed.load(SeqCst) {
            return Err(closed(&message.topic));
        }
        let stream = self.stream(&message.topic);
        // The usual way: there is room, as far as was seen a moment ago.
        if self.grants.take(&message.topic) {
            let mut call = redis::cmd("XADD");
            call.arg(&stream).arg("*");
            entry::write_named(&mut call, &message);
            return self.redis.ask("publish", &call).await.map(drop);
        }
        let dead = is_dead(&message.topic);
        let most = if dead { DEAD_LETTERS_MAX } else { self.entries_max };
        let mut call = scripts::PUBLISH.call(&[&stream]);
        call.arg(self.leases()).arg(if dead { "1" } else { "0" }).arg(most);
        entry::write(&mut call, &message);
        let answer = self.redis.run("publish", &scripts::PUBLISH, &call).await;
        match usize::try_from(answer.and_then(reply::number)?) {
            Ok(room) => {
                self.grants.give(&message.topic, room);
                Ok(())
            }
            Err(_full) => {
                let text = format!("publish to {}: {most} messages wait", message.topic);
                Err(Error::too_many_requests("micro.broker", text).with_retry(Retry::Safe))
            }
        }
    }

    async fn subscribe(
        self: &Arc<Self>,
        topic: &str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> Result<Subscription> {
        if validate_pattern(topic)? {
            let text = format!("subscribe to {topic}: the broker `redis` has no patterns");
            return Err(Error::unimplemented("micro.broker", text));
        }
        if options.overflow != Overflow::Block {
            let text = format!("subscribe to {topic}: the broker `redis` only blocks");
            return Err(Error::unimplemented("micro.broker", text));
        }
        let concurrency = options.concurrency.get().min(self.limits.unacked_max.max(1));
        let member = {
            let mut members = self.members();
            if self.closing.load(SeqCst) {
                return Err(closed(topic));
            }
            members.live.retain(|_, member| member.strong_count() > 0);
            if members.live.len() >= self.limits.subscriptions_max {
                let most = self.limits.subscriptions_max;
                let text = format!("subscribe to {topic}: subscriptions are limited to {most}");
                return Err(Error::too_many_requests("micro.broker", text).with_retry(Retry::Safe));
            }
            members.next_id = members.next_id.wrapping_add(1);
            let id = members.next_id;
            let member = Arc::new(Member::new(id, self, topic, options.queue, concurrency));
            members.live.insert(id, Arc::downgrade(&member));
            member
        };
        if let Err(error) = member.join(member.begin()).await {
            member.never_began();
            return Err(error);
        }
        if self.closing.load(SeqCst) {
            member.never_began();
            return Err(closed(topic));
        }
        member.start(&handler);
        Ok(Subscription::new(topic, member))
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.closing.store(true, SeqCst);
        let members: Vec<_> = self.members().live.values().filter_map(Weak::upgrade).collect();
        for member in &members {
            member.life.drain();
        }
        let mut cut = 0;
        for member in &members {
            cut += member.finish(deadline).await;
        }
        // Handlers that were let finish may have published.
        self.closed.store(true, SeqCst);
        if cut == 0 {
            return Ok(());
        }
        Err(Error::timeout("micro.broker", format!("close: {cut} subscribers cut")))
    }

    fn forget(&self, member: u64) {
        self.members().live.remove(&member);
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            ordered: true,
            queue_groups: true,
            redelivery: true,
            dead_letters: true,
            patterns: false,
            overflow: false,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.publish(message))
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(self.inner.subscribe(topic, options, handler))
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.inner.members().live.len();
        f.debug_struct("Redis")
            .field("redis", &self.inner.redis)
            .field("subscriptions", &live)
            .finish_non_exhaustive()
    }
}
