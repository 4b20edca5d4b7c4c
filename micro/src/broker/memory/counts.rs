//! What has become of the messages of a broker.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts since the broker was made.
///
/// `routed = acked + dead + dropped + returned + in_flight` holds whenever nothing is being published or
/// settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages accepted from publishers, which confirms them; dead letters are among them.
    pub published: u64,
    /// Messages that nobody was subscribed to; they are gone.
    pub unrouted: u64,
    /// Copies of messages, one for each group that gets one.
    pub routed: u64,
    /// Copies handed to a handler, each time.
    pub delivered: u64,
    /// Copies that a handler acknowledged.
    pub acked: u64,
    /// Failed deliveries that another was to follow.
    pub retried: u64,
    /// Copies given up as dead letters.
    pub dead: u64,
    /// Copies lost to overflow, or left behind when the last subscription of their group ended.
    pub dropped: u64,
    /// Copies given back, when a subscription ended, to be delivered to another one.
    pub returned: u64,
    /// Copies that wait or are being handled: how far subscriptions lag behind.
    pub in_flight: u64,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(in crate::broker) struct Tally {
    pub(in crate::broker) published: AtomicU64,
    pub(in crate::broker) unrouted: AtomicU64,
    pub(in crate::broker) routed: AtomicU64,
    pub(in crate::broker) delivered: AtomicU64,
    pub(in crate::broker) acked: AtomicU64,
    pub(in crate::broker) retried: AtomicU64,
    pub(in crate::broker) dead: AtomicU64,
    pub(in crate::broker) dropped: AtomicU64,
    pub(in crate::broker) returned: AtomicU64,
    in_flight: AtomicU64,
}

impl Tally {
    pub(in crate::broker) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Counts {
            published: read(&self.published),
            unrouted: read(&self.unrouted),
            routed: read(&self.routed),
            delivered: read(&self.delivered),
            acked: read(&self.acked),
            retried: read(&self.retried),
            dead: read(&self.dead),
            dropped: read(&self.dropped),
            returned: read(&self.returned),
            in_flight: read(&self.in_flight),
        }
    }

    /// Counts so many copies as dropped.
    #[cfg(feature = "nats")]
    pub(in crate::broker) fn drop_many(&self, copies: usize) {
        self.dropped.fetch_add(u64::try_from(copies).unwrap_or(u64::MAX), Relaxed);
    }
}

pub(in crate::broker) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Counts a copy as in flight for as long as it exists.
#[derive(Debug)]
pub(in crate::broker) struct Flight(Arc<Tally>);

impl Flight {
    pub(in crate::broker) fn new(tally: &Arc<Tally>) -> Self {
        count(&tally.in_flight);
        Self(Arc::clone(tally))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
