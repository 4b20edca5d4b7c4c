//! Broker on publish and subscribe of a Redis or Valkey server: what is published reaches those that
//! listen at that moment.
//!
//! # Delivery
//! At most once: nothing is kept, delivered again or sent to dead letters, whatever a handler returns;
//! a failure is logged. Each subscription gets every message. A pattern is exactly what
//! [`matches`](super::matches) says: the server's wider pattern is filtered here.
//!
//! # Durability
//! None.
//!
//! # Limits
//! What waits for a subscription: `pending_messages_max` and `pending_bytes_max`; beyond that the
//! newest is dropped and [counted](RedisPubSub::dropped), since a publisher cannot be told. The
//! server cuts the connection of a process that reads too slowly, by its
//! `client-output-buffer-limit pubsub`.
//!
//! # When the server fails
//! A publication fails within a second where nothing was sent, and within five where no answer came.
//! Subscriptions are made again when the server is back; what was published meanwhile is lost, and
//! [`RedisPubSub::gaps`] tells that it happened.
//!
//! # Configuration
//! `redis-pubsub://user:password@host:6379/database?prefix=micro`: the number of the database and
//! what the names of all channels begin with; both are part of the channels' names.
//!
//! # Not supported
//! Queues (the server has none), TLS, Redis Cluster, Sentinel.
//!
//! # Tested against
//! Redis 7.0.15.

mod member;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::broker::memory::closed;
use crate::broker::message::Message;
use crate::broker::redis_pubsub::member::{Member, Waiting};
use crate::broker::subscription::Subscription;
use crate::broker::topic::{matches, validate_pattern};
use crate::broker::{Broker, Capabilities, Handler, Overflow, SubscribeOptions};
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::{BrokerLimits, Limits};
use crate::driver;
use crate::driver::redis::{Ear, Told};

/// A broker on a server, without memory; clones share it.
#[derive(Clone)]
pub struct RedisPubSub {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Arc<driver::Redis>,
    /// What the names of all channels begin with.
    channels: String,
    limits: BrokerLimits,
    body_bytes_max: usize,
    cancel_timeout: Duration,
    members: Mutex<Members>,
    closing: AtomicBool,
    closed: AtomicBool,
    dropped: AtomicU64,
    gaps: watch::Sender<u64>,
}

#[derive(Default)]
struct Members {
    next_id: u64,
    live: HashMap<u64, Weak<Member>>,
}

impl RedisPubSub {
    /// Makes a broker; the names of its channels on the server begin with `prefix`.
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
    /// let broker = micro::broker::RedisPubSub::new(redis, "micro", &Limits::default());
    /// assert_eq!(broker.dropped(), 0);
    /// # Ok::<(), micro::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(redis: Arc<driver::Redis>, prefix: impl AsRef<str>, limits: &Limits) -> Self {
        // Channels are of the whole server and not of a database.
        let channels = format!("{}:topic:{}:", prefix.as_ref(), redis.number());
        let inner = Inner {
            redis,
            channels,
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            cancel_timeout: limits.shutdown.cancel_timeout,
            members: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            gaps: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Counts the messages for which a subscription had no room.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(SeqCst)
    }

    /// Counts how often a subscription was made again after the server was away: each time, messages
    /// may have been missed.
    pub fn gaps(&self) -> watch::Receiver<u64> {
        self.inner.gaps.subscribe()
    }
}

impl Inner {
    async fn publish(&self, message: Message) -> Result<()> {
        message.validate(self.body_bytes_max)?;
        if self.closed.load(SeqCst) {
            return Err(closed(&message.topic));
        }
        let mut call = redis::cmd("PUBLISH");
        call.arg(format!("{}{}", self.channels, message.topic)).arg(wire::write(&message));
        self.redis.ask("publish", &call).await.map(drop)
    }

    async fn subscribe(
        self: &Arc<Self>,
        topic: &str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> Result<Subscription> {
        let is_pattern = validate_pattern(topic)?;
        check(topic, &options)?;
        let concurrency = options.concurrency.get().min(self.limits.unacked_max.max(1));
        let (waiting, messages) = Waiting::new(self);
        let member = {
            let mut members = self.members();
            if self.closing.load(SeqCst) {
                return Err(closed(topic));
            }
            if members.live.len() >= self.limits.subscriptions_max {
                let most = self.limits.subscriptions_max;
                let text = format!("subscribe to {topic}: subscriptions are limited to {most}");
                return Err(Error::too_many_requests("micro.broker", text).with_retry(Retry::Safe));
            }
            members.next_id = members.next_id.wrapping_add(1);
            let id = members.next_id;
            let parts = (waiting, messages);
            let member = Member::start((id, self), topic, parts, &handler, concurrency);
            members.live.insert(id, Arc::downgrade(&member));
            member
        };
        // Dropped unfinished, it ends what was begun.
        let subscription = Subscription::new(topic, Arc::<Member>::clone(&member));
        let ear = self.ear(topic, Arc::clone(&member.waiting));
        let channel = self.channel(topic, is_pattern);
        let listening = self.redis.listen(&channel, is_pattern, ear).await?;
        member.listens(listening);
        if self.closing.load(SeqCst) {
            return Err(closed(topic));
        }
        Ok(subscription)
    }

    /// Returns what the server is asked for; a pattern there covers more.
    fn channel(&self, topic: &str, is_pattern: bool) -> String {
        if !is_pattern {
            return format!("{}{topic}", self.channels);
        }
        let mut channel = String::new();
        for c in self.channels.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                channel.push('\\');
            }
            channel.push(c);
        }
        channel + &topic.replace('>', "*")
    }

    fn ear(self: &Arc<Self>, topic: &str, waiting: Arc<Waiting>) -> Ear {
        let (inner, pattern) = (Arc::downgrade(self), topic.to_owned());
        Arc::new(move |told| {
            let Some(inner) = inner.upgrade() else { return };
            let (channel, payload) = match told {
                Told::Message(channel, payload) => (channel, payload),
                Told::Gap => {
                    tracing::warn!(topic = pattern, "messages may have been missed");
                    inner.gaps.send_modify(|gaps| *gaps = gaps.saturating_add(1));
                    return;
                }
            };
            let Some(topic) = channel.strip_prefix(&inner.channels) else { return };
            if !matches(&pattern, topic) {
                return;
            }
            let Some(message) = wire::read(topic, payload) else {
                tracing::warn!(topic, "what was published is no message");
                return;
            };
            if !waiting.push(message) {
                inner.dropped.fetch_add(1, SeqCst);
            }
        })
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.closing.store(true, SeqCst);
        let members: Vec<_> = self.members().live.values().filter_map(Weak::upgrade).collect();
        for member in &members {
            member.stop_taking();
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

/// Refuses what the server cannot do.
fn check(topic: &str, options: &SubscribeOptions) -> Result<()> {
    let lacks = if options.queue.is_some() {
        "has no queues"
    } else if options.overflow != Overflow::Block {
        "has one way to overflow"
    } else {
        return Ok(());
    };
    let text = format!("subscribe to {topic}: the broker `redis-pubsub` {lacks}");
    Err(Error::unimplemented("micro.broker", text))
}

impl Broker for RedisPubSub {
    fn name(&self) -> &'static str {
        "redis-pubsub"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ordered: true, patterns: true, ..Capabilities::default() }
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

impl fmt::Debug for RedisPubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPubSub")
            .field("redis", &self.inner.redis)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
