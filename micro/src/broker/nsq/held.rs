//! One message that nsqd has delivered, and what becomes of it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::before_retry::before_retry;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::http::document;
use crate::broker::message::Message;
use crate::broker::pause::{RETRY_BASE, RETRY_HINT_MAX};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::content_type::ContentType;

use super::command;
use super::frame::Raw;
use super::line::Line;

/// The longest pause before a dead letter is published again that nsqd did not take.
const BURY_MAX: Duration = Duration::from_secs(5);
/// Signs that a message is still worked on, in the time that nsqd waits for one.
const TOUCHES: u32 = 3;
/// The shortest pause between two signs that a message is still worked on.
const TOUCH_MIN: Duration = Duration::from_millis(50);

/// A message that nsqd has delivered and that is not settled.
pub(super) struct Held {
    line: Arc<Line>,
    raw: Raw,
}

/// What is to become of a message.
enum Settled {
    Done,
    Again(Duration),
    /// Its connection was lost: nsqd delivers it again.
    Lost,
}

impl Held {
    pub(super) fn new(line: Arc<Line>, raw: Raw) -> Self {
        Self { line, raw }
    }

    /// Runs the handler once there is one free, and settles the message.
    pub(super) async fn handle(self) {
        let id = self.raw.id;
        let settled = self.touching(self.work()).await;
        match settled {
            Settled::Done => self.line.settle(id, command::finish(id)).await,
            Settled::Again(pause) => self.line.settle(id, command::requeue(id, pause)).await,
            Settled::Lost => {}
        }
    }

    /// Waits for work, and tells nsqd meanwhile that the message is worked on.
    async fn touching<T>(&self, work: impl Future<Output = T>) -> T {
        let pause = (self.line.settings.message_timeout() / TOUCHES).max(TOUCH_MIN);
        let mut work = pin!(work);
        loop {
            // Cancel safety: the work goes on in the next turn.
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = clock::sleep(pause) => self.line.hint(command::touch(self.raw.id)),
            }
        }
    }

    async fn work(&self) -> Settled {
        let subscribed = &self.line.subscribed;
        // Cancel safety: whoever waits for a place has none yet.
        let free = tokio::select! {
            biased;
            () = self.line.lost() => return Settled::Lost,
            free = subscribed.free.acquire() => free,
        };
        // Never closed.
        let Ok(_free) = free else { return Settled::Lost };
        let id = self.raw.id.to_string();
        let (topic, most) = (&subscribed.topic, subscribed.limits.deliveries_max);
        let attempt = u32::from(self.raw.attempts).max(1);
        let message = match document::read_of(topic, &id, &self.raw.body) {
            Ok(message) => Arc::new(message),
            Err(error) => {
                tracing::error!(topic, id, %error, "what came is no message and is given up");
                let mut raw = Message::new(topic, ContentType::Bytes, self.raw.body.clone());
                raw.id = id;
                return self.bury(Arc::new(raw), attempt, error.to_string()).await;
            }
        };
        if attempt > most {
            // Its handlers took their process with them, or their connection was lost.
            let reason = format!("not handled in {most} deliveries");
            return self.bury(message, most, reason).await;
        }
        let delivery = Delivery::new(Arc::clone(&message), attempt);
        match deliver(&subscribed.handler, delivery, subscribed.limits.ack_timeout).await {
            Ack::Ack => Settled::Done,
            Ack::Retry { after } if attempt < most => Settled::Again(before_retry(attempt, after)),
            Ack::Retry { .. } => {
                let reason = format!("not handled in {attempt} deliveries");
                self.bury(message, attempt, reason).await
            }
            Ack::Reject { reason } => self.bury(message, attempt, reason).await,
        }
    }

    /// Publishes a dead letter; the message keeps its place until nsqd has that: where dead letters
    /// cannot be kept, no more messages are handled.
    async fn bury(&self, message: Arc<Message>, attempts: u32, reason: String) -> Settled {
        let subscribed = &self.line.subscribed;
        let last = clock::unix_now();
        let (queue, first) = (subscribed.queue.clone(), self.raw.taken.min(last));
        let letter =
            DeadLetter { queue, attempts, first, last, ..DeadLetter::new(message, reason) };
        let DeadLetter { message, reason, .. } = &letter;
        let (topic, id) = (&message.topic, &message.id);
        let mut backoff = Backoff::new(RETRY_BASE, BURY_MAX);
        // Progress: each turn publishes or waits; the end of the connection ends it, and the
        // message comes again.
        while !self.line.is_lost() {
            match subscribed.bury(&letter).await {
                Ok(()) => {
                    tracing::warn!(topic, id, attempts, reason, "message is given up");
                    return Settled::Done;
                }
                // Of another program: one of this has room for what a dead letter says.
                Err(error) if error.code() == 413 => {
                    tracing::error!(topic, id, reason, %error, "message cannot be given up");
                    return Settled::Again(RETRY_HINT_MAX);
                }
                Err(error) => tracing::warn!(topic, id, %error, "cannot publish a dead letter yet"),
            }
            clock::sleep(backoff.next_delay()).await;
        }
        Settled::Lost
    }
}
