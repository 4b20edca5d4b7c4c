//! Events between processes without a server: go-micro's HTTP broker, found through the registry.
//!
//! A subscription is a node of the service `micro.http.broker`: its version is the queue, or
//! `ff.http.broadcast` without one, its metadata names the topic. A publisher looks them up and
//! gives a copy of the message to one node of each queue and to every node without one. Between
//! processes of this crate the copies of a subscription travel on one exchange of the transport,
//! and what becomes of each travels back on it. Processes of go-micro post and are posted to:
//! `POST /?id=<node>` with `{"Header": {..}, "Body": "<base64>"}`.
//!
//! **Delivery.** At least once to each group that was registered when the message was published, as
//! long as its publisher or the process that took the copy lives. `publish` returns when a member
//! of each group has the message. The publisher keeps the copy until it is settled, and gives it to
//! another member when that one ends or is lost; a group without a member is waited for for 30
//! seconds. A subscription without a queue that is lost takes what it had with it. Retries and dead
//! letters are made where the handler runs. Messages of one publisher keep their order for a
//! subscription that handles one at a time; those that are given again fall behind. To and from
//! go-micro there is no way back: a message that was posted counts as delivered.
//!
//! **Durability.** None: a message is lost with its publisher and its receiver.
//!
//! **Limits.** [`BrokerLimits`](crate::core::limits::BrokerLimits). A subscription has room for
//! `pending_messages_max` copies and `pending_bytes_max`, those that are handled included; past
//! either its publishers wait, for ten seconds at most, or what the subscription's
//! [`Overflow`](super::Overflow) says happens. Of each group as many copies as one member may have
//! wait to be given again; more are lost and counted. Bodies are 32 KiB shorter than the longest
//! message.
//!
//! **Failure behaviour.** A group that takes no copy makes `publish` fail: safe to repeat if no
//! other has one, else unknown. A member that cannot be reached is passed over for another one. A
//! registry that is down stops nothing between nodes already known. When a process stops, it leaves
//! the registry first, then works off what it took, and gives back what waits for another try.
//!
//! **Not supported.** Patterns. Subscribing where others cannot dial: a process without a port of
//! its own, such as a client, listens on loopback, for processes of this crate only.

mod address;
pub(super) mod document;
mod door;
mod give;
mod link;
mod links;
mod mailbox;
mod post;
mod returns;
mod seats;
mod sent;
mod taking;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::metadata::Metadata;
use crate::core::stream::BoxSource;
use crate::core::stream::RawStream;
use crate::registry::Cached;
use crate::registry::Registry;
use crate::registry::View;
use crate::transport::Scope;
use crate::transport::Transport;

use super::Broker;
use super::Capabilities;
use super::Handler;
use super::SubscribeOptions;
use super::inbox::INBOX_SERVICE;
use super::inbox::Inbox;
use super::memory::Buried;
use super::memory::Bury;
use super::memory::Counts;
use super::memory::Memory;
use super::memory::closed;
use super::message::Message;
use super::subscription::Subscription;
use super::topic::validate_pattern;

use self::address::Reach;
use self::links::Links;
use self::mailbox::Kept;
use self::mailbox::Mailboxes;
use self::returns::Returns;
use self::seats::Index;
pub use self::sent::Sent;
use self::sent::Tally;

/// The id of the errors made here.
const ERROR_ID: &str = "micro.broker";

/// What a copy of a message has on the way beside its body, at most.
const ENVELOPE_BYTES_MAX: usize = 32 * 1024;

/// The shortest time that a registration gets to reach the publishers.
const VISIBLE_MIN: Duration = Duration::from_millis(10);

/// Makes the headers of each link, such as `authorization`.
pub type Headers = Arc<dyn Fn() -> BoxFuture<'static, Result<Metadata>> + Send + Sync>;

/// A broker between processes; clones share it.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Cached,
    /// The subscriptions of all processes, once somebody asked for them.
    view: OnceLock<Arc<View>>,
    index: ArcSwap<Index>,
    scope: Scope,
    /// Delivers to the handlers of this process.
    engine: Memory,
    reach: Reach,
    mailboxes: Mailboxes,
    links: Links,
    returns: Returns,
    tally: Tally,
    /// For what has to outlive a borrow, such as a receipt.
    this: Weak<Self>,
}

impl Http {
    /// Makes a broker that finds others in `registry` and reaches them by `transport`; its tasks
    /// and limits are those of `scope`.
    pub fn new(registry: Arc<dyn Registry>, transport: Arc<dyn Transport>, scope: Scope) -> Self {
        Self::with_headers(registry, transport, scope, None)
    }

    /// Makes a broker that brings headers such as `authorization` to the processes of this crate
    /// that it publishes to.
    pub fn with_headers(
        registry: Arc<dyn Registry>,
        transport: Arc<dyn Transport>,
        scope: Scope,
        headers: Option<Headers>,
    ) -> Self {
        let engine = Memory::with_limits(&scope.limits, scope.tasks.clone());
        let registry = Cached::with_limits(registry, scope.tasks.clone(), &scope.limits.registry);
        let inner = Arc::new_cyclic(|this: &Weak<Inner>| Inner {
            registry,
            view: OnceLock::new(),
            index: ArcSwap::default(),
            engine: engine.clone(),
            reach: Reach::new(Arc::clone(&transport)),
            mailboxes: Mailboxes::default(),
            links: Links::new(transport, scope.clone(), headers),
            returns: Returns::default(),
            tally: Tally::default(),
            scope,
            this: Weak::clone(this),
        });
        let undertaker: Weak<dyn Bury> = Arc::<Inner>::downgrade(&inner);
        engine.bury_with(undertaker);
        Self { inner }
    }

    /// Returns what has become of the copies that this process's subscriptions were given.
    pub fn counts(&self) -> Counts {
        self.inner.engine.counts()
    }

    /// Returns what has become of the messages that this process published.
    pub fn sent(&self) -> Sent {
        self.inner.tally.read()
    }
}

impl Broker for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            ordered: true,
            queue_groups: true,
            redelivery: true,
            dead_letters: true,
            patterns: false,
            overflow: true,
        }
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        let limit = self.inner.scope.limits.message.bytes_max.saturating_sub(ENVELOPE_BYTES_MAX);
        Box::pin(async move {
            message.validate(limit)?;
            if self.inner.engine.is_closed() {
                return Err(closed(&message.topic));
            }
            self.inner.publish(message).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            if validate_pattern(topic)? {
                let text = format!("subscribe to {topic}: the http broker knows no patterns");
                return Err(Error::unimplemented(ERROR_ID, text));
            }
            let reached = self.inner.reached().await?;
            let member = self.inner.engine.subscribe_apart(topic, options.clone(), &handler)?;
            let kept = Kept::register(&self.inner, (topic, &options), &reached, member)?;
            // Whatever ends the wait ends the subscription too.
            let subscription = Subscription::new(topic, Arc::<Kept>::clone(&kept));
            kept.registered().await?;
            Ok(subscription)
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.close(deadline))
    }

    fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        Some(Arc::<Inner>::clone(&self.inner))
    }

    /// Returns what became of the copies that were given to this process, beside how many messages
    /// it published and how many of them nobody was subscribed to.
    fn counts(&self) -> Option<Counts> {
        let Sent { published, unrouted, .. } = self.inner.tally.read();
        Some(Counts { published, unrouted, ..self.inner.engine.counts() })
    }
}

impl Inner {
    /// Returns the subscriptions of all processes; the first call must be made in a runtime.
    fn view(&self) -> &Arc<View> {
        self.view.get_or_init(|| self.registry.view(INBOX_SERVICE))
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.leave();
        let worked_off = self.engine.close(deadline).await;
        // Nothing is left to be given that others took: they have it. What came back needs a place.
        let left = self.returns.idle(deadline).await;
        self.links.retire_all();
        worked_off?;
        if left > 0 {
            let text = format!("close: {left} messages found no other member of their group");
            return Err(Error::timeout(ERROR_ID, text));
        }
        Ok(())
    }

    /// How many copies of one publisher a subscription may hold: one more than it has room for, so
    /// that it is the one to say what becomes of that.
    fn window(&self) -> usize {
        self.scope.limits.broker.pending_messages_max.saturating_add(1)
    }

    /// How long a publisher waits for room.
    fn publish_timeout(&self) -> Duration {
        self.scope.limits.call.default_timeout
    }

    /// How long a registration takes to reach the publishers.
    fn propagation(&self) -> Duration {
        self.registry.inner().capabilities().propagation.max(VISIBLE_MIN)
    }
}

impl Bury for Inner {
    fn bury(&self, dead: Message) -> BoxFuture<'_, Buried> {
        Box::pin(async move {
            let topic = dead.topic.clone();
            match self.publish(dead).await {
                Ok(()) => Buried::Done,
                Err(error) => {
                    tracing::debug!(topic, %error, "cannot publish a dead letter");
                    Buried::Again(None)
                }
            }
        })
    }
}

impl Inbox for Inner {
    fn reached_at(&self, address: &str, is_http: bool) {
        self.reach.set(address, is_http);
    }

    fn link(&self, node: &str, copies: RawStream) -> Result<BoxSource> {
        let mailbox = self.mailboxes.find(node)?;
        Ok(taking::taking(mailbox, copies, self.window()))
    }

    fn post(&self, node: &str, document: &Bytes) -> Result<()> {
        let message = document::read(document)?;
        self.mailboxes.find(node)?.post(message)
    }

    fn leave(&self) {
        self.mailboxes.leave();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("sent", &self.tally.read()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("sent", &self.sent())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns where peers reach this process; without a port of its own it listens.
    async fn reached(&self) -> Result<address::Reached> {
        if let Some(reached) = self.reach.get() {
            return Ok(reached.clone());
        }
        let inbox = self.this.upgrade().ok_or_else(|| closed("the inbox"))?;
        let door = Arc::new(door::Door::new(inbox));
        self.reach.listen(door, &self.scope).await
    }
}

/// Returns the end of a wait that may not take longer than a call.
fn until(limit: Duration) -> Instant {
    clock::after(clock::now(), limit)
}
