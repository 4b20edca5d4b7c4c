//! From the client to the handlers of one subscription.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message as Raw, Subscriber};
use futures_util::{FutureExt, StreamExt};

use crate::broker::Handler;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::memory::{Flight, count};
use crate::broker::message::Message;
use crate::broker::topic::{matches, validate_topic};
use crate::core::clock;
use crate::core::shutdown::Shutdown;

use super::queue::{Queue, Sized};
use super::{ANSWER_PATIENCE, Inner, wire};

/// Messages that are taken from the client at a time, so that the lock is taken once for many.
const BATCH_MAX: usize = 256;

/// A message that waits for a handler.
pub(super) struct Item {
    raw: Raw,
    _flight: Flight,
}

impl Sized for Item {
    fn bytes(&self) -> usize {
        self.raw.length
    }
}

/// Moves messages from the client to the queue, so that the client never throws any away.
pub(super) struct Intake {
    pub(super) inner: Arc<Inner>,
    pub(super) topic: String,
    pub(super) queue: Arc<Queue<Item>>,
    pub(super) life: Shutdown,
}

impl Intake {
    pub(super) async fn run(self, mut subscriber: Subscriber) {
        let mut dropped = 0;
        let mut is_draining = false;
        let mut sessions = self.inner.replies.nats().sessions();
        loop {
            let is_lost = is_draining && !sessions.borrow().is_up;
            // Cancel safety: messages are moved as soon as they are taken from the client.
            let first = tokio::select! {
                biased;
                () = self.life.closed() => break,
                () = self.life.draining(), if !is_draining => {
                    is_draining = true;
                    // What is on its way still comes; without a connection nothing is.
                    if sessions.borrow_and_update().is_up {
                        let drained = clock::timeout(ANSWER_PATIENCE, subscriber.drain()).await;
                        if !matches!(drained, Ok(Ok(()))) {
                            break;
                        }
                    }
                    continue;
                }
                first = subscriber.next() => first,
                _changed = sessions.changed(), if is_draining => None,
                () = std::future::ready(()), if is_lost => None,
            };
            let Some(first) = first else { break };
            let more = std::iter::from_fn(|| subscriber.next().now_or_never().flatten());
            let batch = std::iter::once(first).chain(more).take(BATCH_MAX);
            let wanted = batch.filter(|raw| covers(&self.topic, &raw.subject));
            let late = self.queue.push_all(wanted.map(|raw| self.item(raw)));
            self.inner.tally.drop_many(late);
            dropped = self.report(dropped, late);
        }
        self.queue.end();
        if self.life.is_closed() {
            self.inner.tally.drop_many(self.queue.clear().len());
        }
    }

    fn item(&self, raw: Raw) -> Item {
        count(&self.inner.tally.routed);
        Item { raw, _flight: Flight::new(&self.inner.tally) }
    }

    /// Says that messages are dropped: at the first, and whenever their number has doubled.
    fn report(&self, before: usize, late: usize) -> usize {
        let dropped = before + late;
        if late > 0 && (before == 0 || dropped.ilog2() > before.ilog2()) {
            tracing::warn!(topic = self.topic, dropped, "subscription is too slow");
        }
        dropped
    }
}

/// Tells whether a subject is a topic that a subscription is meant to get.
///
/// A pattern that begins with a wildcard does not get what programs use among themselves, such as
/// the answers in `_INBOX`.
fn covers(pattern: &str, subject: &str) -> bool {
    if !pattern.contains(['*', '>']) {
        return true;
    }
    let is_internal = pattern.starts_with(['*', '>']) && subject.starts_with('_');
    !is_internal && validate_topic(subject).is_ok() && matches(pattern, subject)
}

/// Handles one message at a time.
pub(super) struct Worker {
    pub(super) inner: Arc<Inner>,
    pub(super) group: Option<String>,
    pub(super) queue: Arc<Queue<Item>>,
    pub(super) handler: Handler,
    pub(super) life: Shutdown,
    pub(super) ack_timeout: Duration,
}

impl Worker {
    pub(super) async fn run(self) {
        while let Some(Item { raw, _flight }) = self.next().await {
            // Cancel safety: there is no other delivery, so that what is cut is lost and counted.
            tokio::select! {
                biased;
                () = self.handle(raw) => {}
                () = self.life.closed() => {
                    self.inner.tally.drop_many(1);
                    return;
                }
            }
            // A handler that never waits lets others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn next(&self) -> Option<Item> {
        if self.life.is_closed() {
            return None;
        }
        // Cancel safety: waiting for a message holds none. The end of a life is awaited only where
        // there is nothing to do.
        tokio::select! {
            biased;
            item = self.queue.next() => item,
            () = self.life.closed() => None,
        }
    }

    async fn handle(&self, raw: Raw) {
        let topic = raw.subject.into_string();
        let message = wire::read(topic, raw.headers.as_ref(), raw.payload, || None);
        let message = Arc::new(message);
        count(&self.inner.tally.delivered);
        let delivery = Delivery::new(Arc::clone(&message), 1);
        let reason = match deliver(&self.handler, delivery, self.ack_timeout).await {
            Ack::Ack => return count(&self.inner.tally.acked),
            Ack::Reject { reason } => reason,
            // No other delivery follows here: better a dead letter than nothing.
            Ack::Retry { .. } => "the handler failed, and core NATS delivers once".to_owned(),
        };
        self.bury(message, reason).await;
    }

    async fn bury(&self, message: Arc<Message>, reason: String) {
        let now = clock::unix_now();
        let letter = DeadLetter {
            queue: self.group.clone(),
            attempts: 1,
            first: now,
            last: now,
            ..DeadLetter::new(message, reason)
        };
        let (topic, id) = (&letter.message.topic, &letter.message.id);
        let buried = match letter.to_message() {
            Ok(Some(dead)) => self.inner.send(&dead).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match buried {
            Ok(()) => {
                count(&self.inner.tally.dead);
                tracing::warn!(topic, id, reason = letter.reason, "message is given up");
            }
            Err(error) => {
                self.inner.tally.drop_many(1);
                tracing::error!(topic, id, %error, "dead letter is lost");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gets_topics_and_nothing_internal() {
        for (pattern, subject, is_covered) in [
            ("a", "a", true),
            (">", "a.b", true),
            (">", "_INBOX.a", false),
            ("*.a", "_INBOX.a", false),
            (">", "$JS.API.INFO", false),
            ("_x.>", "_x.a", true),
            ("a.*", "a.b.dead", false),
            ("a.>", "a.b.dead", false),
            ("a.*.dead", "a.b.dead", true),
        ] {
            assert_eq!(covers(pattern, subject), is_covered, "{pattern} {subject}");
        }
    }
}
