//! What has become of the messages that a process published.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts since the broker was made.
///
/// `copies = acked + dead + dropped + lost + posted + unsettled` holds whenever nothing is being
/// published or settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Messages handed to `publish`, dead letters among them.
    pub published: u64,
    /// Messages that nobody was subscribed to; they are gone.
    pub unrouted: u64,
    /// Copies that a member of a group took, each counted once.
    pub copies: u64,
    /// Copies that `publish` could give to no member of their group, and said so.
    pub refused: u64,
    /// Copies that a handler acknowledged.
    pub acked: u64,
    /// Copies that went to the dead letters.
    pub dead: u64,
    /// Copies lost to the overflow policy of a subscription.
    pub dropped: u64,
    /// Copies whose subscription ended or was lost, and that no other one took.
    pub lost: u64,
    /// Copies that go-micro took, which does not say what becomes of them.
    pub posted: u64,
    /// Copies taken and not settled.
    pub unsettled: u64,
    /// Times that a copy was given to another member.
    pub given_again: u64,
}

/// The counters behind [`Sent`].
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) published: AtomicU64,
    pub(super) unrouted: AtomicU64,
    pub(super) copies: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) acked: AtomicU64,
    pub(super) dead: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) posted: AtomicU64,
    pub(super) given_again: AtomicU64,
}

impl Tally {
    pub(super) fn read(&self) -> Sent {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let mut sent = Sent {
            published: read(&self.published),
            unrouted: read(&self.unrouted),
            copies: read(&self.copies),
            refused: read(&self.refused),
            acked: read(&self.acked),
            dead: read(&self.dead),
            dropped: read(&self.dropped),
            lost: read(&self.lost),
            posted: read(&self.posted),
            unsettled: 0,
            given_again: read(&self.given_again),
        };
        let ends = [sent.acked, sent.dead, sent.dropped, sent.lost, sent.posted];
        sent.unsettled = sent.copies.saturating_sub(ends.iter().sum());
        sent
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
