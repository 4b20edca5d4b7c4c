//! Copies whose subscription ended or was lost before they were settled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;

use crate::broker::dead_letter::DeadLetter;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;

use super::Inner;
use super::give::Sending;
use super::link::Offered;
use super::seats::Group;
use super::sent::count;
use super::until;

/// First and longest pause before a copy is offered to its group again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a copy waits for another member of its group: as long as a process takes to restart.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long each member may take to make room.
const OFFER: Duration = Duration::from_secs(5);

/// The copies that look for another member.
#[derive(Default)]
pub(super) struct Returns {
    /// How many each group has.
    groups: Mutex<HashMap<Arc<Group>, usize>>,
    idle: Notify,
}

impl Returns {
    /// Counts one more copy of a group, unless it has `max`.
    fn enter(&self, group: &Arc<Group>, max: usize) -> bool {
        let mut groups = self.lock();
        let count = groups.entry(Arc::clone(group)).or_default();
        let fits = *count < max;
        *count += usize::from(fits);
        fits
    }

    fn leave(&self, group: &Arc<Group>) {
        let mut groups = self.lock();
        if let Some(count) = groups.get_mut(group) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                groups.remove(group);
            }
        }
        let idle = groups.is_empty();
        drop(groups);
        if idle {
            self.idle.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Group>, usize>> {
        // Every critical section leaves the map whole, so a poisoned lock is still sound.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all found a member or were lost, at most until `deadline`; returns how many
    /// still look for one. Cancel safe.
    pub(super) async fn idle(&self, deadline: Instant) -> usize {
        loop {
            let idle = self.idle.notified();
            let left = self.lock().values().sum();
            if left == 0 || clock::timeout_at(deadline, idle).await.is_err() {
                return left;
            }
        }
    }
}

/// Counts a copy for as long as it looks for a member.
struct Counted(Arc<Inner>, Arc<Group>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.returns.leave(&self.1);
    }
}

impl Inner {
    /// Gives copies to other members of their group, in a task; never waits.
    pub(super) fn returned(self: &Arc<Self>, sendings: Vec<Sending>) {
        // As many as one member may have had.
        let max = self.window();
        let mut accepted = Vec::with_capacity(sendings.len());
        // Outside of a runtime nothing delivers any more.
        let runs = tokio::runtime::Handle::try_current().is_ok();
        for sending in sendings {
            if runs && self.returns.enter(&sending.group, max) {
                let counted = Counted(Arc::clone(self), Arc::clone(&sending.group));
                accepted.push((sending, counted));
            } else {
                self.lose(&sending, "too many look for another member");
            }
        }
        if accepted.is_empty() {
            return;
        }
        let inner = Arc::clone(self);
        let giving = async move {
            for (sending, counted) in accepted {
                inner.give_again(sending).await;
                drop(counted);
            }
        };
        self.scope.tasks.spawn("broker.returns", giving).detach();
    }

    /// Finds another member for a copy, or gives it up.
    async fn give_again(&self, mut sending: Sending) {
        sending.again = true;
        let most = self.scope.limits.broker.deliveries_max;
        let end = until(PATIENCE);
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        // Progress: each turn offers the copy and waits; patience ends it.
        loop {
            if sending.attempts >= most {
                return self.give_up(&sending, end).await;
            }
            match self.give(&sending, None, end.min(until(OFFER))).await {
                Offered::Taken => return count(&self.tally.given_again),
                // A subscription without a queue that is not there any more has no heir.
                Offered::Gone if sending.group.node.is_some() => {
                    return self.lose(&sending, "its subscription ended");
                }
                Offered::Gone | Offered::Full | Offered::Failed { .. } => {}
            }
            if clock::now() >= end {
                return self.lose(&sending, "its group has no other member");
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }

    /// Publishes the dead letter of a copy whose receivers were lost too often.
    async fn give_up(&self, sending: &Sending, end: Instant) {
        let mut letter = DeadLetter::new(
            Arc::clone(&sending.message),
            format!("not settled in {} deliveries, the last of which was lost", sending.attempts),
        );
        letter.queue = sending.group.queue.clone();
        letter.attempts = sending.attempts;
        letter.last = clock::unix_now();
        letter.first = letter.last;
        let Ok(Some(dead)) = letter.to_message() else {
            return self.lose(sending, "it was lost too often");
        };
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        while let Err(error) = Box::pin(self.publish(dead.clone())).await {
            if clock::now() >= end {
                tracing::warn!(%error, "cannot publish a dead letter");
                return self.lose(sending, "it was lost too often");
            }
            clock::sleep(backoff.next_delay()).await;
        }
        count(&self.tally.dead);
    }

    fn lose(&self, sending: &Sending, why: &str) {
        count(&self.tally.lost);
        let (topic, id) = (&sending.message.topic, &sending.message.id);
        tracing::warn!(topic, id, why, "a message is lost");
    }
}
