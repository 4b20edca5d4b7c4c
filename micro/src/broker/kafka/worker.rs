//! What handles the messages of a subscription, one at a time.

use std::sync::Arc;

use crate::broker::Handler;
use crate::broker::before_retry::before_retry;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::memory::count;
use crate::broker::message::Message;
use crate::broker::pause::{RETRY_BASE, RETRY_MAX};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Result, Retry};
use crate::core::metadata::Metadata;
use crate::core::shutdown::Shutdown;

use super::Inner;
use super::desk::{Desk, Taken};

/// Characters of the reason in a dead letter that was too long with all of it.
const SHORT_REASON_MAX: usize = 64;

/// Handles one message at a time.
pub(super) struct Worker {
    pub(super) inner: Arc<Inner>,
    pub(super) queue: Option<String>,
    pub(super) desk: Arc<Desk>,
    pub(super) handler: Handler,
    pub(super) life: Shutdown,
}

impl Worker {
    pub(super) async fn run(self) {
        while let Some(taken) = self.next().await {
            // Cancel safety: what is cut stays unsettled, and comes again.
            tokio::select! {
                biased;
                () = self.handle(taken) => {}
                () = self.life.closed() => {
                    count(&self.inner.tally.returned);
                    return;
                }
            }
            // A handler that never waits lets others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn next(&self) -> Option<Taken> {
        if self.life.is_draining() {
            return None;
        }
        // Cancel safety: waiting for a message holds none.
        tokio::select! {
            biased;
            taken = self.desk.next() => Some(taken),
            () = self.life.draining() => None,
        }
    }

    async fn handle(&self, taken: Taken) {
        let (tally, limits) = (&self.inner.tally, &self.inner.limits);
        let (message, attempt) = (Arc::clone(&taken.item.message), taken.item.attempt);
        let now = clock::unix_now();
        let first = if attempt == 1 { now } else { taken.item.first };
        count(&tally.delivered);
        let delivery = Delivery::new(Arc::clone(&message), attempt);
        let reason = match deliver(&self.handler, delivery, limits.ack_timeout).await {
            Ack::Ack => {
                count(&tally.acked);
                return taken.settle();
            }
            Ack::Retry { after } if attempt < limits.deliveries_max => {
                count(&tally.retried);
                return taken.again(before_retry(attempt, after), first);
            }
            Ack::Retry { .. } => format!("not handled in {attempt} deliveries"),
            Ack::Reject { reason } => reason,
        };
        let letter = DeadLetter {
            queue: self.queue.clone(),
            attempts: attempt,
            first,
            last: now,
            ..DeadLetter::new(message, reason)
        };
        self.bury(&letter).await;
        count(&tally.dead);
        taken.settle();
    }

    /// Publishes a dead letter, however long that takes: until then its message is not settled, and
    /// comes again if the process ends.
    async fn bury(&self, letter: &DeadLetter) {
        let DeadLetter { message, reason, attempts, .. } = letter;
        let (topic, id) = (&message.topic, &message.id);
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        // Progress: each turn publishes or waits; the end of the subscription ends it.
        loop {
            let mut written = self.write(letter).await;
            if written.as_ref().is_err_and(|error| error.code() == 413) {
                written = self.write(&short(letter)).await;
            }
            match written {
                Ok(()) => break,
                Err(error) if error.retry() == Retry::Never => {
                    tracing::error!(topic, id, %error, "dead letter is refused, will try on");
                }
                Err(error) => tracing::warn!(topic, id, %error, "no dead letter yet"),
            }
            clock::sleep(backoff.next_delay()).await;
        }
        tracing::warn!(topic, id, attempts, reason, "message is given up");
    }

    /// Publishes a dead letter, unless its message was one.
    async fn write(&self, letter: &DeadLetter) -> Result<()> {
        match letter.to_message()? {
            Some(dead) => self.inner.send(&dead).await,
            None => Ok(()),
        }
    }
}

/// Returns a dead letter that is hardly longer than its message.
fn short(letter: &DeadLetter) -> DeadLetter {
    let message = Message { metadata: Metadata::new(), ..Message::clone(&letter.message) };
    let reason = letter.reason.chars().take(SHORT_REASON_MAX).collect();
    DeadLetter { message: Arc::new(message), reason, ..letter.clone() }
}
