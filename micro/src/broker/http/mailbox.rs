//! The subscriptions of this process, as other processes find and reach them.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

use crate::broker::SubscribeOptions;
use crate::broker::inbox::INBOX_SERVICE;
use crate::broker::memory::group::Group;
use crate::broker::memory::group::Reserved;
use crate::broker::memory::member::Member;
use crate::broker::memory::size_of;
use crate::broker::message::Message;
use crate::broker::receipt::Parcel;
use crate::broker::receipt::Receipt;
use crate::broker::receipt::Settled;
use crate::broker::subscription::Control;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;
use crate::core::shutdown::Shutdown;
use crate::registry::Lease;
use crate::registry::Node;
use crate::registry::Record;
use crate::registry::Registry;

use super::ERROR_ID;
use super::Inner;
use super::address::Reached;
use super::wire::Word;

/// The version of nodes without a queue.
pub(super) const BROADCAST: &str = "ff.http.broadcast";

/// Metadata of a node: what it speaks, as go-micro reads it, and its topic.
pub(super) const BROKER: &str = "broker";
pub(super) const BROKER_HTTP: &str = "http";
pub(super) const TOPIC: &str = "topic";

/// Metadata of a node of this crate: that it takes links, and of which broker it is.
pub(super) const LINK: &str = "link";
pub(super) const OWNER: &str = "owner";

/// Characters of the topic in the id of a node, so that the id stays within its limit.
const TOPIC_IN_ID: usize = 200;

/// One subscription of this process.
pub(super) struct Mailbox {
    pub(super) node: String,
    pub(super) topic: String,
    pub(super) queue: Option<String>,
    group: Arc<Group>,
    member: Arc<Member>,
    lease: Lease,
    /// Draining: nothing of other processes is taken any more.
    pub(super) ended: Shutdown,
}

impl Mailbox {
    /// Takes a copy without waiting, by the policy of the subscription.
    ///
    /// The receipt speaks only of a copy that is taken.
    pub(super) fn take(&self, message: Arc<Message>, attempts: u32, receipt: Receipt) -> Word {
        let parcel = Parcel { attempts, receipt: Some(receipt), message };
        self.put(parcel)
    }

    /// Returns how many copies wait for a handler or have one.
    pub(super) fn load(&self) -> usize {
        self.group.load()
    }

    fn put(&self, parcel: Parcel) -> Word {
        let refuse = |parcel: Parcel, word| {
            if let Some(receipt) = parcel.receipt {
                receipt.void();
            }
            word
        };
        if parcel.message.topic != self.topic {
            return refuse(parcel, Word::Gone);
        }
        match self.group.try_reserve(size_of(&parcel.message)) {
            Reserved::Room(room) => match self.group.push(parcel, room) {
                Ok(()) => Word::Taken,
                Err(parcel) => refuse(parcel, Word::Gone),
            },
            Reserved::Full => refuse(parcel, Word::Full),
            Reserved::Gone => refuse(parcel, Word::Gone),
            Reserved::Dropped => {
                if let Some(receipt) = parcel.receipt {
                    receipt.settle(Settled::Dropped);
                }
                Word::Taken
            }
            Reserved::Disconnected => {
                tracing::warn!(topic = self.topic, "subscription is too slow and ends");
                self.end();
                refuse(parcel, Word::Gone)
            }
        }
    }

    /// Takes a message that nobody waits to hear of.
    pub(super) fn post(&self, message: Message) -> Result<()> {
        match self.put(Parcel::from(Arc::new(message))) {
            Word::Full => {
                let text = format!("the subscription to {} has no room", self.topic);
                Err(Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe))
            }
            Word::Gone => Err(unknown(&self.node)),
            Word::Taken | Word::Settled(_) => Ok(()),
        }
    }

    /// Leaves the registry and takes nothing of other processes any more.
    fn leave(&self) {
        self.ended.drain();
        self.lease.end();
        self.group.hand_back();
    }

    /// Ends at once.
    fn end(&self) {
        self.ended.drain();
        self.lease.end();
        self.member.stop();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The subscriptions of this process by node.
pub(super) struct Mailboxes {
    /// Tells the nodes of this broker from those of others.
    pub(super) owner: String,
    live: Mutex<HashMap<String, Arc<Mailbox>>>,
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self { owner: format!("{:032x}", fastrand::u128(..)), live: Mutex::default() }
    }
}

impl Mailboxes {
    /// Finds the mailbox of a node that takes what other processes bring.
    ///
    /// # Errors
    ///
    /// 404, safe to repeat elsewhere, if there is none.
    pub(super) fn find(&self, node: &str) -> Result<Arc<Mailbox>> {
        let found = self.lock().get(node).cloned();
        found.filter(|mailbox| !mailbox.ended.is_draining()).ok_or_else(|| unknown(node))
    }

    /// Lists the mailboxes of a topic, those that left the registry too.
    pub(super) fn of(&self, topic: &str) -> Vec<Arc<Mailbox>> {
        let live = self.lock();
        live.values().filter(|mailbox| mailbox.topic == topic).cloned().collect()
    }

    pub(super) fn leave(&self) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        all.iter().for_each(|mailbox| mailbox.leave());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Mailbox>>> {
        // Every critical section leaves the map whole, so a poisoned lock is still sound.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(node: &str) -> Error {
    let text = format!("there is no subscription {}", node.escape_debug());
    Error::not_found(ERROR_ID, text).with_retry(Retry::Safe)
}

/// The owner of a mailbox, behind the handle of its subscription.
pub(super) struct Kept {
    inner: Weak<Inner>,
    mailbox: Arc<Mailbox>,
}

impl Kept {
    /// Opens the mailbox of a subscription and starts to register it.
    pub(super) fn register(
        inner: &Arc<Inner>,
        (topic, options): (&str, &SubscribeOptions),
        reached: &Reached,
        member: Arc<Member>,
    ) -> Result<Arc<Self>> {
        let owner = &inner.mailboxes.owner;
        let topic_in_id: String = topic.chars().take(TOPIC_IN_ID).collect();
        let node = format!("{topic_in_id}-{:032x}", fastrand::u128(..));
        let record = record(&node, (topic, options), reached, owner);
        let registry: Arc<dyn Registry> = Arc::new(inner.registry.clone());
        let scope = &inner.scope;
        let lease = Lease::start(registry, record, &scope.limits, &scope.tasks)
            .inspect_err(|_refused| member.stop())?;
        let mailbox = Arc::new(Mailbox {
            node: node.clone(),
            topic: topic.into(),
            queue: options.queue.clone(),
            group: Arc::clone(&member.group),
            member,
            lease,
            ended: Shutdown::new(),
        });
        inner.mailboxes.lock().insert(node, Arc::clone(&mailbox));
        Ok(Arc::new(Self { inner: Arc::downgrade(inner), mailbox }))
    }

    /// Waits until publishers know of the subscription.
    pub(super) async fn registered(&self) -> Result<()> {
        self.mailbox.lease.registered().await?;
        if let Some(propagation) = self.inner.upgrade().map(|inner| inner.propagation()) {
            clock::sleep(propagation).await;
        }
        Ok(())
    }

    fn remove(&self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.mailboxes.lock().remove(&self.mailbox.node);
        }
    }
}

impl Control for Kept {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.remove();
            self.mailbox.leave();
            let drained = self.mailbox.member.drain(deadline).await;
            // A node that cannot be removed in time expires.
            let _removed = clock::timeout_at(deadline, self.mailbox.lease.close()).await;
            drained
        })
    }

    fn stop(&self) {
        self.remove();
        self.mailbox.end();
    }

    fn is_active(&self) -> bool {
        self.mailbox.member.is_active()
    }
}

fn record(
    node: &str,
    (topic, options): (&str, &SubscribeOptions),
    reached: &Reached,
    owner: &str,
) -> Record {
    // go-micro posts to nodes whose broker is `http` and to no others.
    let broker = if reached.is_http { BROKER_HTTP } else { "micro" };
    let facts =
        [(BROKER, broker), (TOPIC, topic), ("secure", "false"), (LINK, "1"), (OWNER, owner)];
    let facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let node = Node {
        id: node.to_owned(),
        address: reached.address.clone(),
        metadata: BTreeMap::from(facts),
    };
    Record {
        name: INBOX_SERVICE.to_owned(),
        version: options.queue.clone().unwrap_or_else(|| BROADCAST.to_owned()),
        nodes: vec![node],
        ..Record::default()
    }
}
