//! Events within one process.
//!
//! **Delivery.** At least once while the process lives: to each group that was subscribed when the
//! message was published. A message that nobody was subscribed to is counted and gone. Handlers
//! that fail get the message again, with a growing pause, up to five times in all; then, or when
//! they reject it, it goes to `<topic>.dead`. Messages of one publisher keep their order for a
//! subscription that handles one at a time; a retried one falls behind.
//!
//! **Durability.** None. What waits is lost with the process, and when the last subscription of
//! its group is closed; draining works it off first.
//!
//! **Limits.** [`BrokerLimits`]. Each group has room for so many messages and bytes, handled ones
//! included. Publishers wait for room in all groups before any gets the message, ten seconds at
//! most, unless the subscription chose another [`Overflow`](super::Overflow). A dead letter that
//! finds no room is tried again later, and its message keeps its own room until then.
//!
//! **Failure behaviour.** Publishing to a full group is a 429 and safe to repeat: nobody has the
//! message. Publishing to a closed broker is a 503. A handler that is cut, because its
//! subscription ends, leaves its message to the other members of the group.
//!
//! **Not supported.** Anything between processes.

mod counts;
pub(super) mod group;
mod held;
pub(super) mod member;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;
use crate::core::limits::BrokerLimits;
use crate::core::limits::Limits;
use crate::core::shutdown::TaskTracker;

use super::Broker;
use super::Capabilities;
use super::Handler;
use super::SubscribeOptions;
use super::dead_letter::DeadLetter;
use super::message::Message;
use super::receipt::Parcel;
use super::subscription::Subscription;
use super::topic::validate_pattern;

pub use self::counts::Counts;
#[cfg(feature = "nats")]
pub(super) use self::counts::Flight;
pub(super) use self::counts::Tally;
pub(super) use self::counts::count;
use self::group::Group;
use self::group::Reserved;
use self::group::Room;
use self::member::Member;
use self::routes::Routes;

/// A broker within one process; clones share it.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

struct Inner {
    limits: BrokerLimits,
    body_bytes_max: usize,
    /// How long a publisher waits for room.
    publish_timeout: Duration,
    cancel_timeout: Duration,
    tracker: TaskTracker,
    tally: Arc<Tally>,
    routes: ArcSwap<Routes>,
    /// Locked when subscriptions come and go. Lock order: this, then a group's state.
    members: Mutex<Members>,
    closed: AtomicBool,
    /// Takes dead letters instead of the groups here.
    undertaker: OnceLock<Weak<dyn Bury>>,
}

/// Publishes the dead letters of a broker that delivers with this one.
pub(super) trait Bury: Send + Sync {
    /// Publishes a dead letter. Cancel safe.
    fn bury(&self, dead: Message) -> BoxFuture<'_, Buried>;
}

/// What became of a dead letter that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buried {
    /// It is published, or nobody can read it.
    Done,
    /// It has to be tried again, after so long or else a growing pause.
    Again(Option<Duration>),
}

/// What became of a message that was to be given to all groups.
enum Given {
    /// They have it.
    All,
    /// None has it: this one has no room.
    Full(Arc<Group>),
}

#[derive(Default)]
struct Members {
    next_id: u64,
    live: HashMap<u64, Weak<Member>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Makes a broker with the default limits and tasks of its own.
    pub fn new() -> Self {
        Self::with_limits(&Limits::DEFAULT, TaskTracker::new())
    }

    /// Makes a broker whose tasks belong to `tracker`.
    pub fn with_limits(limits: &Limits, tracker: TaskTracker) -> Self {
        let inner = Inner {
            limits: limits.broker.clone(),
            body_bytes_max: limits.message.bytes_max,
            publish_timeout: limits.call.default_timeout,
            cancel_timeout: limits.shutdown.cancel_timeout,
            tracker,
            tally: Arc::default(),
            routes: ArcSwap::default(),
            members: Mutex::default(),
            closed: AtomicBool::new(false),
            undertaker: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns what has become of the messages so far.
    pub fn counts(&self) -> Counts {
        self.inner.tally.counts()
    }

    /// Has dead letters published elsewhere.
    pub(super) fn bury_with(&self, undertaker: Weak<dyn Bury>) {
        // Set once, when the broker that delivers with this one is made.
        let _first = self.inner.undertaker.set(undertaker);
    }

    /// Makes a subscription that gets what is pushed to its group and nothing else.
    pub(super) fn subscribe_apart(
        &self,
        topic: &str,
        options: SubscribeOptions,
        handler: &Handler,
    ) -> Result<Arc<Member>> {
        self.inner.join_apart(topic, options, handler)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.closed.load(SeqCst)
    }
}

impl Broker for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            ordered: true,
            queue_groups: true,
            redelivery: true,
            dead_letters: true,
            patterns: true,
            overflow: true,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            message.validate(self.inner.body_bytes_max)?;
            if self.inner.closed.load(SeqCst) {
                return Err(closed(&message.topic));
            }
            let deadline = clock::after(clock::now(), self.inner.publish_timeout);
            self.inner.route(message, deadline).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            let member = self.inner.join(topic, options, &handler)?;
            Ok(Subscription::new(topic, member))
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }

    fn counts(&self) -> Option<Counts> {
        Some(self.inner.tally.counts())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Gives a message to all groups that match, or to none; waits for room until `deadline`.
    async fn route(&self, message: Message, deadline: Instant) -> Result<()> {
        let message = Arc::new(message);
        let bytes = size_of(&message);
        let mut awaited: Option<(u64, Room)> = None;
        // Progress: each turn has waited for one more room; the deadline ends it.
        loop {
            let routes = self.routes.load_full();
            let group = match self.give(&routes, &message, awaited.take()) {
                Given::All => return Ok(()),
                Given::Full(group) => group,
            };
            // Nothing is held meanwhile: who waits for a slow group takes no room from others.
            let waiting = clock::timeout_at(deadline, group.reserve(bytes)).await;
            let room = waiting.map_err(|_elapsed| full(&message.topic, &group))?;
            awaited = room.map(|room| (group.id, room));
        }
    }

    /// Gives a message to all groups that match, unless one of those that make publishers wait is
    /// full. `awaited` is room in one of them.
    fn give(
        &self,
        routes: &Routes,
        message: &Arc<Message>,
        mut awaited: Option<(u64, Room)>,
    ) -> Given {
        let bytes = size_of(message);
        let mut rooms: Vec<(&Arc<Group>, Room)> = Vec::new();
        for group in routes.of(&message.topic).filter(|group| group.blocks()) {
            if let Some((_, room)) = awaited.take_if(|(id, _)| *id == group.id) {
                rooms.push((group, room));
                continue;
            }
            match group.try_reserve(bytes) {
                Reserved::Room(room) => rooms.push((group, room)),
                Reserved::Full => return Given::Full(Arc::clone(group)),
                Reserved::Gone | Reserved::Dropped | Reserved::Disconnected => {}
            }
        }
        let mut reached = false;
        // The others never make anybody wait: they are asked once, when nothing can fail.
        for group in routes.of(&message.topic).filter(|group| !group.blocks()) {
            match group.try_reserve(bytes) {
                Reserved::Room(room) => rooms.push((group, room)),
                Reserved::Gone | Reserved::Full => {}
                Reserved::Dropped => reached = true,
                Reserved::Disconnected => {
                    reached = true;
                    self.disconnect(group);
                }
            }
        }
        count(&self.tally.published);
        for (group, room) in rooms {
            reached |= group.push(Parcel::from(Arc::clone(message)), room).is_ok();
        }
        if !reached {
            count(&self.tally.unrouted);
        }
        Given::All
    }

    fn disconnect(&self, group: &Arc<Group>) {
        tracing::warn!(topic = group.pattern, "subscription is too slow and ends");
        self.remove(group);
        group.close();
    }

    /// Publishes a dead letter, if there is room for it.
    async fn bury(&self, letter: &DeadLetter) -> Buried {
        let DeadLetter { message, attempts, reason, .. } = letter;
        let (topic, id) = (&message.topic, &message.id);
        let dead = match letter.to_message() {
            Ok(dead) => dead,
            Err(error) => {
                tracing::error!(topic, id, %error, "dead letter is lost");
                return Buried::Done;
            }
        };
        if let (Some(dead), Some(undertaker)) = (&dead, self.undertaker.get()) {
            let Some(undertaker) = undertaker.upgrade() else { return Buried::Again(None) };
            let buried = undertaker.bury(dead.clone()).await;
            if buried != Buried::Done {
                tracing::warn!(topic, id, "cannot publish a dead letter yet");
                return buried;
            }
        } else if let Some(dead) = dead {
            let routes = self.routes.load();
            if let Given::Full(group) = self.give(&routes, &Arc::new(dead), None) {
                tracing::warn!(topic, id, slow = group.pattern, "no room for a dead letter yet");
                return Buried::Again(None);
            }
        }
        tracing::warn!(topic, id, attempts, ?reason, "message is given up");
        Buried::Done
    }

    fn join(
        self: &Arc<Self>,
        topic: &str,
        options: SubscribeOptions,
        handler: &Handler,
    ) -> Result<Arc<Member>> {
        let is_pattern = validate_pattern(topic)?;
        let mut members = self.members();
        if self.closed.load(SeqCst) {
            return Err(closed(topic));
        }
        if members.live.len() >= self.limits.subscriptions_max {
            return Err(exhausted(topic, "subscriptions", self.limits.subscriptions_max));
        }
        let concurrency = options.concurrency.get().min(self.limits.unacked_max.max(1));
        let group = self.group(&mut members, topic, options, is_pattern)?;
        let id = members.id();
        let member = Member::start(id, self, group, handler, concurrency);
        members.live.insert(id, Arc::downgrade(&member));
        Ok(member)
    }

    fn join_apart(
        self: &Arc<Self>,
        topic: &str,
        options: SubscribeOptions,
        handler: &Handler,
    ) -> Result<Arc<Member>> {
        let mut members = self.members();
        if self.closed.load(SeqCst) {
            return Err(closed(topic));
        }
        if members.live.len() >= self.limits.subscriptions_max {
            return Err(exhausted(topic, "subscriptions", self.limits.subscriptions_max));
        }
        let concurrency = options.concurrency.get().min(self.limits.unacked_max.max(1));
        let tally = Arc::clone(&self.tally);
        let group = Arc::new(Group::new(members.id(), topic, options, &self.limits, tally));
        group.join();
        let id = members.id();
        let member = Member::start(id, self, group, handler, concurrency);
        members.live.insert(id, Arc::downgrade(&member));
        Ok(member)
    }

    /// Joins the group of the queue, or a group of its own.
    fn group(
        &self,
        members: &mut Members,
        topic: &str,
        options: SubscribeOptions,
        is_pattern: bool,
    ) -> Result<Arc<Group>> {
        let routes = self.routes.load_full();
        let found = options.queue.as_deref().and_then(|queue| routes.find(topic, queue));
        if let Some(group) = found.filter(|group| group.join()) {
            return Ok(Arc::clone(group));
        }
        if routes.topics() >= self.limits.topics_max {
            return Err(exhausted(topic, "topics", self.limits.topics_max));
        }
        let tally = Arc::clone(&self.tally);
        let group = Arc::new(Group::new(members.id(), topic, options, &self.limits, tally));
        group.join();
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.add(Arc::clone(&group), is_pattern);
            routes
        });
        Ok(group)
    }

    fn remove(&self, group: &Group) {
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.remove(group.id);
            routes
        });
    }

    fn forget(&self, member: u64) {
        self.members().live.remove(&member);
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        // Handlers that still run may publish, and what they publish is handled too. Publishers that
        // never pause get half of the time: the rest is for what they have published.
        let now = clock::now();
        let half = clock::after(now, clock::remaining(now, deadline) / 2);
        let _in_time = clock::timeout_at(half, self.wait_idle()).await.is_ok();
        let before = self.tally.counts().dropped;
        self.closed.store(true, SeqCst);
        let members = self.live();
        for member in &members {
            member.stop_fetching();
        }
        let mut cut = 0;
        for member in &members {
            cut += member.finish(deadline).await;
        }
        let dropped = self.tally.counts().dropped - before;
        if cut == 0 && dropped == 0 {
            return Ok(());
        }
        let text = format!("close: {cut} subscribers cut, {dropped} messages dropped");
        Err(Error::timeout("micro.broker", text))
    }

    async fn wait_idle(&self) {
        loop {
            let members = self.live();
            let Some(busy) = members.iter().find(|member| !member.group.is_idle()) else { return };
            busy.group.wait_idle().await;
        }
    }

    fn live(&self) -> Vec<Arc<Member>> {
        self.members().live.values().filter_map(Weak::upgrade).collect()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// Returns the bytes that a message takes, within what is worth counting.
pub(super) fn size_of(message: &Message) -> usize {
    message.body.len() + message.metadata.bytes() + message.topic.len() + message.id.len()
}

pub(super) fn closed(topic: &str) -> Error {
    let text = format!("the broker is closed, {topic} is out of reach");
    Error::unavailable("micro.broker", text).with_retry(Retry::Safe)
}

fn full(topic: &str, group: &Group) -> Error {
    let queue = group.queue.as_deref().unwrap_or("no queue");
    let text = format!("publish to {topic}: {} ({queue}) has no room", group.pattern);
    Error::too_many_requests("micro.broker", text).with_retry(Retry::Safe)
}

fn exhausted(topic: &str, what: &str, limit: usize) -> Error {
    let text = format!("subscribe to {topic}: {what} are limited to {limit}");
    Error::too_many_requests("micro.broker", text).with_retry(Retry::Safe)
}
