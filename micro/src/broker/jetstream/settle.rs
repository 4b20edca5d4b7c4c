//! What a handler decides, as the server is told it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;

use crate::broker::Handler;
use crate::broker::before_retry::before_retry;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::memory::count;
use crate::broker::message::Message;
use crate::broker::nats::queue::Queue;
use crate::broker::nats::replies::Request;
use crate::broker::nats::wire;
use crate::broker::pause::{RETRY_BASE, RETRY_MAX};
use crate::broker::topic::validate_topic;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Result, Retry};
use crate::core::metadata::Metadata;
use crate::core::shutdown::Shutdown;

use super::held::Held;
use super::pulled::{Facts, Pulled};
use super::{ANSWER_PATIENCE, Inner};

/// It is done.
const DONE: &[u8] = b"+ACK";

/// It is being worked on: the time to acknowledge begins again.
pub(super) const WORKING: &[u8] = b"+WPI";

/// It is to be delivered again, at once.
const AGAIN: &[u8] = b"-NAK";

/// It is not to be delivered again.
const NEVER: &[u8] = b"+TERM";

/// How long a message waits whose dead letter the server does not take: until its operator has made
/// room for such a letter.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Characters of the reason in a dead letter that was too long with all of it.
const SHORT_REASON_MAX: usize = 64;

/// How many times as often as a handler may fail a message is delivered before it is given up
/// without one: those deliveries came back because their process ended or was cut off.
const LOST_FACTOR: u32 = 3;

/// Handles one message at a time.
pub(super) struct Worker {
    pub(super) inner: Arc<Inner>,
    pub(super) group: Option<String>,
    pub(super) consumer: String,
    pub(super) queue: Arc<Queue<Pulled>>,
    pub(super) held: Arc<Held>,
    pub(super) handler: Handler,
    pub(super) life: Shutdown,
}

impl Worker {
    pub(super) async fn run(self) {
        while let Some(pulled) = self.next().await {
            let sequence = pulled.facts.sequence;
            // Cancel safety: what is cut is given back, and the delivery is repeated.
            tokio::select! {
                biased;
                () = self.handle(pulled) => {}
                () = self.life.closed() => {
                    return self.inner.give_back(&self.held, sequence).await;
                }
            }
            // A handler that never waits lets others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn next(&self) -> Option<Pulled> {
        if self.life.is_closed() {
            return None;
        }
        // Cancel safety: waiting for a message holds none. The end of a life is awaited only where
        // there is nothing to do.
        tokio::select! {
            biased;
            pulled = self.queue.next() => pulled,
            () = self.life.closed() => None,
        }
    }

    async fn handle(&self, pulled: Pulled) {
        let Pulled { raw, facts, _flight } = pulled;
        let topic = self.inner.places.topic(&raw.subject);
        let Some(topic) = topic.filter(|topic| validate_topic(topic).is_ok()) else {
            tracing::warn!(subject = %raw.subject, "message of another program is no event");
            self.inner.tally.drop_many(1);
            return self.settle(facts, Bytes::from_static(NEVER)).await;
        };
        let own_id = || Some(format!("{}:{}", self.inner.places.events, facts.sequence));
        let message = wire::read(topic, raw.headers.as_ref(), raw.payload, own_id);
        let message = Arc::new(message);
        let (tally, limits) = (&self.inner.tally, &self.inner.limits);
        let (attempt, most) = (facts.deliveries, limits.deliveries_max);
        if attempt > most.saturating_mul(LOST_FACTOR) {
            let reason = format!("not settled in {} deliveries", attempt - 1);
            return self.bury(&message, facts, reason).await;
        }
        count(&tally.delivered);
        let began = clock::now();
        let delivery = Delivery::new(Arc::clone(&message), attempt);
        let decided = deliver(&self.handler, delivery, limits.ack_timeout).await;
        self.held.learn(clock::now().saturating_duration_since(began));
        match decided {
            Ack::Ack => {
                count(&tally.acked);
                self.settle(facts, Bytes::from_static(DONE)).await;
            }
            Ack::Retry { after } if attempt < most => {
                count(&tally.retried);
                count(&tally.returned);
                let pause = before_retry(attempt, after);
                self.settle(facts, again_after(pause)).await;
            }
            Ack::Retry { .. } => {
                let reason = format!("not handled in {attempt} deliveries");
                self.bury(&message, facts, reason).await;
            }
            Ack::Reject { reason } => self.bury(&message, facts, reason).await,
        }
    }

    async fn settle(&self, facts: Facts, said: Bytes) {
        if let Some(reply) = self.held.remove(facts.sequence) {
            self.inner.tell(reply, said).await;
        }
    }

    /// Writes a dead letter, however long that takes, and then ends the deliveries.
    async fn bury(&self, message: &Arc<Message>, facts: Facts, reason: String) {
        let now = clock::unix_now();
        let attempts = facts.deliveries;
        let letter = DeadLetter {
            queue: self.group.clone(),
            attempts,
            // Of an earlier delivery it is known only that it was not before this.
            first: if attempts == 1 { now } else { facts.stored.min(now) },
            last: now,
            ..DeadLetter::new(Arc::clone(message), reason)
        };
        let (topic, id) = (&message.topic, &message.id);
        let mut written = self.write(&letter, facts).await;
        if written.as_ref().is_err_and(|error| error.code() == 413) {
            written = self.write(&short(&letter), facts).await;
        }
        if let Err(error) = written {
            tracing::error!(topic, id, %error, "dead letter is refused, its message comes again");
            count(&self.inner.tally.returned);
            return self.settle(facts, again_after(REFUSED_PAUSE)).await;
        }
        count(&self.inner.tally.dead);
        tracing::warn!(topic, id, attempts, reason = letter.reason, "message is given up");
        let Some(subject) = self.held.reply(facts.sequence) else { return };
        // The answer tells that it never comes back; without it, it is buried once more, which the
        // stream of dead letters takes for the same.
        let body = Bytes::from_static(NEVER);
        let request = Request { subject: subject.into_string(), headers: None, body };
        let _unknown = self.inner.replies.ask(request, ANSWER_PATIENCE).await.is_err();
        self.held.remove(facts.sequence);
    }

    /// Writes a dead letter, unless its message was one, and tries until the server has it or
    /// refuses it for good.
    async fn write(&self, letter: &DeadLetter, facts: Facts) -> Result<()> {
        let Some(dead) = letter.to_message()? else { return Ok(()) };
        let publication = format!("{}:{}", self.consumer, facts.sequence);
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        // Progress: each turn writes it, or waits; the end of the subscription ends it, and the
        // message comes back.
        loop {
            let deadline = clock::after(clock::now(), self.inner.publish_timeout);
            let (topic, id) = (&dead.topic, &dead.id);
            match self.inner.store(&dead, &publication, deadline).await {
                Ok(_) => {
                    count(&self.inner.tally.published);
                    return Ok(());
                }
                Err(error) if error.retry() == Retry::Never => return Err(error),
                Err(error) => tracing::warn!(topic, id, %error, "no dead letter yet"),
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }
}

impl Inner {
    /// Tells the server something, if not at once then by its next connection.
    pub(super) async fn tell(&self, reply: Subject, said: Bytes) {
        let client = self.replies.nats().client_now();
        let told = clock::timeout(ANSWER_PATIENCE, client.publish(reply, said)).await;
        if !matches!(told, Ok(Ok(()))) {
            // The message is delivered again when its time is over.
            tracing::debug!("what became of a message was not told");
        }
    }

    /// Has a message delivered again at once, to whoever asks.
    pub(super) async fn give_back(&self, held: &Held, sequence: u64) {
        if let Some(reply) = held.remove(sequence) {
            count(&self.tally.returned);
            self.tell(reply, Bytes::from_static(AGAIN)).await;
        }
    }
}

/// Returns a dead letter that is hardly longer than its message.
fn short(letter: &DeadLetter) -> DeadLetter {
    let message = Message { metadata: Metadata::new(), ..Message::clone(&letter.message) };
    let reason = letter.reason.chars().take(SHORT_REASON_MAX).collect();
    DeadLetter { message: Arc::new(message), reason, ..letter.clone() }
}

fn again_after(pause: Duration) -> Bytes {
    Bytes::from(format!("-NAK {{\"delay\":{}}}", pause.as_nanos().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::content_type::ContentType;

    #[test]
    fn a_short_dead_letter_leads_back_to_its_message() {
        let mut message = Message::new("a.b", ContentType::Json, Bytes::from_static(b"{}"));
        message.metadata.insert("tenant", "acme").unwrap();
        let message = Arc::new(message);
        let letter = DeadLetter::new(Arc::clone(&message), "x".repeat(SHORT_REASON_MAX * 10));
        let dead = short(&letter).to_message().unwrap().unwrap();
        let read = DeadLetter::from_message(&dead).unwrap();
        assert_eq!((&read.message.id, &read.message.body), (&message.id, &message.body));
        assert_eq!(read.reason.len(), SHORT_REASON_MAX);
        assert!(read.message.metadata.is_empty());
    }

    #[test]
    fn another_delivery_is_asked_for_in_nanoseconds() {
        let said = again_after(Duration::from_millis(1500));
        assert_eq!(said, Bytes::from_static(b"-NAK {\"delay\":1500000000}"));
    }
}
