//! Which subscriptions get a message, here and in other processes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::registry::Instance;

use super::Inner;
use super::mailbox::BROADCAST;
use super::mailbox::BROKER;
use super::mailbox::BROKER_HTTP;
use super::mailbox::LINK;
use super::mailbox::Mailbox;
use super::mailbox::OWNER;
use super::mailbox::TOPIC;

/// A group of subscriptions of which one gets a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) topic: String,
    /// `None` for a subscription that is a group of its own.
    pub(super) queue: Option<String>,
    /// The node, for a group that is one.
    pub(super) node: Option<String>,
}

/// A subscription that a copy can be given to.
#[derive(Clone, Debug)]
pub(super) enum Seat {
    /// Of this process.
    Here(Arc<Mailbox>),
    /// Of another process of this crate.
    There(Arc<Instance>),
    /// Of a process of go-micro.
    Posted(Arc<Instance>),
}

impl Seat {
    pub(super) fn node(&self) -> &str {
        match self {
            Self::Here(mailbox) => &mailbox.node,
            Self::There(instance) | Self::Posted(instance) => &instance.id,
        }
    }

    fn queue(&self) -> Option<&str> {
        match self {
            Self::Here(mailbox) => mailbox.queue.as_deref(),
            Self::There(instance) | Self::Posted(instance) => {
                Some(&*instance.version).filter(|version| *version != BROADCAST)
            }
        }
    }
}

/// The subscriptions of other processes by topic, as of one revision of the registry.
#[derive(Default)]
pub(super) struct Index {
    revision: u64,
    topics: HashMap<String, Vec<Seat>>,
}

impl Inner {
    /// Lists the groups of a topic with their members.
    pub(super) fn groups(&self, topic: &str) -> Vec<(Group, Vec<Seat>)> {
        let mut groups: Vec<(Group, Vec<Seat>)> = Vec::new();
        for seat in self.all(topic) {
            let queue = seat.queue();
            let present = groups
                .iter_mut()
                .find(|(group, _)| queue.is_some() && group.queue.as_deref() == queue);
            if let Some((_, seats)) = present {
                seats.push(seat);
                continue;
            }
            let group = Group {
                topic: topic.to_owned(),
                queue: queue.map(str::to_owned),
                node: queue.is_none().then(|| seat.node().to_owned()),
            };
            groups.push((group, vec![seat]));
        }
        groups
    }

    /// Lists the members of a group.
    pub(super) fn seats(&self, group: &Group) -> Vec<Seat> {
        let mut seats = self.all(&group.topic);
        seats.retain(|seat| match &group.node {
            Some(node) => seat.node() == node,
            None => seat.queue() == group.queue.as_deref(),
        });
        seats
    }

    /// Orders the members of a group: those out of reach a moment ago last, those with the least to
    /// do first, as far as it is known here, and equals at random.
    pub(super) fn order(&self, seats: &mut [Seat]) {
        if seats.len() < 2 {
            return;
        }
        fastrand::shuffle(seats);
        seats.sort_by_cached_key(|seat| match seat {
            Seat::Here(mailbox) => (false, mailbox.load()),
            Seat::There(instance) => {
                (self.links.is_shunned(&instance.id), self.links.load(&instance.id))
            }
            Seat::Posted(instance) => (self.links.is_shunned(&instance.id), 0),
        });
    }

    /// Lists the subscriptions to a topic.
    fn all(&self, topic: &str) -> Vec<Seat> {
        let mut seats: Vec<Seat> = self.mailboxes.of(topic).into_iter().map(Seat::Here).collect();
        seats.extend(self.index().topics.get(topic).into_iter().flatten().cloned());
        seats
    }

    /// Returns the subscriptions of other processes, ordered anew when the registry changed.
    fn index(&self) -> Arc<Index> {
        let snapshot = self.view().snapshot();
        let known = self.index.load_full();
        if known.revision == snapshot.revision {
            return known;
        }
        let mut topics: HashMap<String, Vec<Seat>> = HashMap::new();
        for instance in snapshot.instances.iter() {
            let fact = |key: &str| instance.metadata.get(key).map(String::as_str);
            let Some(topic) = fact(TOPIC) else { continue };
            // The own ones are known better than the registry knows them.
            if fact(OWNER) == Some(&self.mailboxes.owner) {
                continue;
            }
            let seat = if fact(LINK).is_some() {
                Seat::There(Arc::clone(instance))
            } else if fact(BROKER) == Some(BROKER_HTTP) {
                Seat::Posted(Arc::clone(instance))
            } else {
                continue;
            };
            topics.entry(topic.to_owned()).or_default().push(seat);
        }
        let index = Arc::new(Index { revision: snapshot.revision, topics });
        self.index.store(Arc::clone(&index));
        index
    }
}
