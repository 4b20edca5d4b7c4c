//! One message that the servers have delivered, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::broker::before_retry::before_retry;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::Ack;
use crate::broker::delivery::Delivery;
use crate::broker::delivery::deliver;
use crate::broker::message::Message;
use crate::broker::pause::RETRY_BASE;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::metadata::Metadata;

use super::desk::Verdict;
use super::member::Subscribed;
use super::messages::PubsubMessage;
use super::messages::ReceivedMessage;
use super::wire;

/// How many times as often as a handler may fail a message is delivered before it is given up
/// without one: those deliveries came back because their process ended, was cut off, or had no time
/// for them.
const LOST_FACTOR: u32 = 3;

/// The longest pause that is waited for here, to the millisecond: below it the whole seconds that the
/// servers can wait are too coarse.
const HERE_MAX: Duration = Duration::from_secs(10);

/// The longest pause of the servers.
const SECONDS_MAX: i32 = 600;

/// The longest pause before a dead letter is published again that the servers did not take.
const BURY_MAX: Duration = Duration::from_secs(5);

/// Seconds for which a message waits whose dead letter the servers refuse: until their operator has
/// seen to it.
const REFUSED_SECONDS: i32 = 60;

/// Characters of the reason in a dead letter that was too long with all of it.
const SHORT_REASON_MAX: usize = 64;

/// A message that was taken.
#[derive(Debug)]
pub(super) struct Came {
    /// What the server calls it.
    pub(super) id: String,
    raw: PubsubMessage,
    /// Counts its deliveries; zero where the server does not.
    attempt: u32,
}

/// What is to become of a message after a delivery.
enum Decided {
    Done,
    Again(Option<Duration>),
    GivenUp(String),
}

impl Came {
    /// Takes a delivery, with what settles it beside.
    pub(super) fn new(received: ReceivedMessage) -> (Self, String) {
        let raw = received.message.unwrap_or_default();
        let attempt = u32::try_from(received.delivery_attempt).unwrap_or_default();
        // Invariant of the API: a message that was published has an id.
        (Self { id: raw.message_id.clone(), raw, attempt }, received.ack_id)
    }

    /// Returns how many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.raw.attributes.iter();
        self.raw.data.len() + attributes.map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }

    /// Runs the handler and settles the message; `free` is given back when the handler is done.
    pub(super) async fn handle(self, to: Arc<Subscribed>, free: OwnedSemaphorePermit) {
        let Self { id, raw, attempt } = self;
        let attempt = if attempt == 0 { to.counts.count(&id) } else { attempt };
        let (taken_at, at) = (wire::taken_at(&raw), clock::unix_now());
        let message = Arc::new(wire::read(&to.topic, raw));
        match decide(&to, &message, attempt).await {
            Decided::Done => {
                to.counts.forget(&id);
                to.settle(&id, Verdict::Done).await;
            }
            Decided::Again(after) => {
                pause(&to, &id, before_retry(attempt, after), free).await;
            }
            Decided::GivenUp(reason) => {
                let letter = DeadLetter {
                    queue: to.queue.clone(),
                    attempts: attempt,
                    // Of an earlier delivery it is known only that it was not before this.
                    first: if attempt == 1 { at } else { taken_at.unwrap_or(at).min(at) },
                    last: at,
                    ..DeadLetter::new(message, reason)
                };
                bury(&to, &id, &letter).await;
            }
        }
    }
}

async fn decide(to: &Subscribed, message: &Arc<Message>, attempt: u32) -> Decided {
    let most = to.limits.deliveries_max;
    if attempt > most.saturating_mul(LOST_FACTOR) {
        return Decided::GivenUp(format!("not settled in {} deliveries", attempt - 1));
    }
    let began = clock::now();
    let delivery = Delivery::new(Arc::clone(message), attempt);
    let ack = deliver(&to.handler, delivery, to.limits.ack_timeout).await;
    to.held.learn(clock::now().saturating_duration_since(began));
    match ack {
        Ack::Ack => Decided::Done,
        Ack::Retry { after } if attempt < most => Decided::Again(after),
        Ack::Retry { .. } => Decided::GivenUp(format!("not handled in {attempt} deliveries")),
        Ack::Reject { reason } => Decided::GivenUp(reason),
    }
}

/// Has a message delivered again after a pause, to any member of the group: a short one is waited
/// for here, a long one by the servers.
async fn pause(to: &Subscribed, id: &str, pause: Duration, free: OwnedSemaphorePermit) {
    if pause > HERE_MAX {
        return to.settle(id, Verdict::Again(seconds(pause))).await;
    }
    let due = clock::after(clock::now(), pause);
    // With more of them than there may be, the handlers count as busy.
    let Ok(_place) = to.paused.acquire().await else { return };
    drop(free);
    to.held.pause(id);
    // Cancel safety: both arms only wait.
    tokio::select! {
        biased;
        () = to.life.draining() => {}
        () = clock::sleep_until(due) => {}
    }
    to.settle(id, Verdict::Again(0)).await;
}

/// Publishes a dead letter and acknowledges the message, which keeps its place until then: where dead
/// letters cannot be kept, no more messages are handled.
async fn bury(to: &Subscribed, id: &str, letter: &DeadLetter) {
    let (topic, name) = (&letter.message.topic, &letter.message.id);
    let mut written = write(to, letter).await;
    if written.as_ref().is_err_and(|error| error.code() == 413) {
        written = write(to, &short(letter)).await;
    }
    let DeadLetter { attempts, reason, .. } = letter;
    match written {
        Ok(()) => {
            tracing::warn!(topic, id = name, attempts, reason, "message is given up");
            to.counts.forget(id);
            to.settle(id, Verdict::Done).await;
        }
        Err(error) => {
            tracing::error!(topic, id = name, %error, "dead letter is refused");
            to.settle(id, Verdict::Again(REFUSED_SECONDS)).await;
        }
    }
}

/// Publishes a dead letter, unless its message was one, and tries until the servers have it or refuse
/// it for good.
async fn write(to: &Subscribed, letter: &DeadLetter) -> Result<()> {
    let Some(dead) = letter.to_message()? else { return Ok(()) };
    let mut backoff = Backoff::new(RETRY_BASE, BURY_MAX);
    // Progress: each turn publishes or waits; the end of the subscription ends it, and the message
    // comes again.
    loop {
        match to.publisher.publish(&dead).await {
            Ok(()) => return Ok(()),
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(error) => {
                let (topic, id) = (&dead.topic, &letter.message.id);
                tracing::warn!(topic, id, %error, "cannot publish a dead letter yet");
            }
        }
        clock::sleep(backoff.next_delay()).await;
    }
}

/// Returns a dead letter that is hardly longer than its message.
fn short(letter: &DeadLetter) -> DeadLetter {
    let message = Message { metadata: Metadata::new(), ..Message::clone(&letter.message) };
    let reason = letter.reason.chars().take(SHORT_REASON_MAX).collect();
    DeadLetter { message: Arc::new(message), reason, ..letter.clone() }
}

/// Returns the whole seconds that the servers wait for a pause, at least as long.
fn seconds(pause: Duration) -> i32 {
    let whole = pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0));
    i32::try_from(whole).unwrap_or(SECONDS_MAX).min(SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::content_type::ContentType;

    #[test]
    fn the_servers_wait_whole_seconds_and_at_most_as_long_as_they_can() {
        let most = Duration::from_secs(600);
        for (pause, wanted) in [
            (Duration::ZERO, 0),
            (Duration::from_millis(10_001), 11),
            (most, 600),
            (most + Duration::from_millis(1), 600),
            (most * 10, 600),
            (Duration::MAX, 600),
        ] {
            assert_eq!(seconds(pause), wanted, "{pause:?}");
        }
    }

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
    fn a_delivery_is_weighed_with_its_attributes() {
        let message = PubsubMessage {
            data: Bytes::from_static(b"123"),
            attributes: [("k".to_owned(), "vv".to_owned())].into(),
            message_id: "7".to_owned(),
            publish_time: None,
        };
        let ack_id = "x".to_owned();
        let received = ReceivedMessage { ack_id, message: Some(message), delivery_attempt: 2 };
        let (came, ack_id) = Came::new(received);
        assert_eq!((came.bytes(), came.attempt, came.id.as_str()), (6, 2, "7"));
        assert_eq!(ack_id, "x");
        assert_eq!(Came::new(ReceivedMessage::default()).0.bytes(), 0);
    }
}
