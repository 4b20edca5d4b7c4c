//! One message that the server has delivered, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicAckOptions;
use lapin::options::BasicNackOptions;
use lapin::options::BasicRejectOptions;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;

use crate::broker::before_retry::before_retry;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::Ack;
use crate::broker::delivery::Delivery;
use crate::broker::delivery::deliver;
use crate::broker::message::Message;
use crate::broker::pause::RETRY_BASE;
use crate::core::backoff::Backoff;
use crate::core::clock;

use super::session::Came;
use super::session::Line;
use super::wire;

/// The longest pause before a dead letter is published again that the server did not take.
const BURY_MAX: Duration = Duration::from_secs(5);

/// A message that the server has delivered and that is not acknowledged.
pub(super) struct Held {
    line: Arc<Line>,
    sender: mpsc::Sender<Came>,
    came: Came,
}

/// What is to become of a message after a delivery.
enum Decided {
    Done,
    Again(Option<Duration>),
    GivenUp(String),
}

impl Held {
    pub(super) fn new(line: Arc<Line>, sender: mpsc::Sender<Came>, came: Came) -> Self {
        Self { line, sender, came }
    }

    /// Runs the handler and settles the message; `free` is given back when the handler is done.
    pub(super) async fn handle(mut self, free: OwnedSemaphorePermit) {
        let subscribed = Arc::clone(&self.line.subscribed);
        let message = match wire::read(&mut self.came.delivery) {
            Ok(message) => message,
            Err(error) => return self.refuse(&error).await,
        };
        let attempt =
            wire::returns(&self.came.delivery).saturating_add(self.came.repeats).saturating_add(1);
        let at = clock::unix_now();
        match self.decide(&message, attempt).await {
            Decided::Done => {
                self.acknowledge().await;
                if attempt > 1 {
                    subscribed.firsts.take(&message.id);
                }
            }
            Decided::Again(after) => {
                subscribed.firsts.keep(&message.id, at);
                self.pause(&message, attempt, after, free).await;
            }
            Decided::GivenUp(reason) => {
                let letter = DeadLetter {
                    queue: subscribed.queue.clone(),
                    attempts: attempt.min(subscribed.limits.deliveries_max),
                    first: subscribed.firsts.take(&message.id).unwrap_or(at),
                    last: at,
                    ..DeadLetter::new(message, reason)
                };
                self.bury(&letter).await;
            }
        }
    }

    async fn decide(&self, message: &Arc<Message>, attempt: u32) -> Decided {
        let subscribed = &self.line.subscribed;
        let most = subscribed.limits.deliveries_max;
        if attempt > most {
            // Its handlers took their process with them, or had no time to decide.
            return Decided::GivenUp(format!("not handled in {most} deliveries"));
        }
        let delivery = Delivery::new(Arc::clone(message), attempt);
        match deliver(&subscribed.handler, delivery, subscribed.limits.ack_timeout).await {
            Ack::Ack => Decided::Done,
            Ack::Retry { after } if attempt < most => Decided::Again(after),
            Ack::Retry { .. } => Decided::GivenUp(format!("not handled in {attempt} deliveries")),
            Ack::Reject { reason } => Decided::GivenUp(reason),
        }
    }

    async fn acknowledge(&self) {
        let acked = self.came.delivery.acker.ack(BasicAckOptions::default()).await;
        if !matches!(acked, Ok(true)) {
            let topic = &self.line.subscribed.topic;
            tracing::debug!(topic, "a message comes again: its channel was lost");
        }
    }

    /// Has the message delivered again after what the handler asks for or a growing pause: to any
    /// member of a group, and to this subscription where it is alone.
    async fn pause(
        self,
        message: &Message,
        attempt: u32,
        after: Option<Duration>,
        free: OwnedSemaphorePermit,
    ) {
        let pause = before_retry(attempt, after);
        let due = clock::after(clock::now(), pause);
        let subscribed = &self.line.subscribed;
        let Ok(_paused) = Arc::clone(&subscribed.paused).acquire_owned().await else { return };
        drop(free);
        if let Err(error) = self.line.stand_in(due, &self.sender).await {
            let (topic, id) = (&message.topic, &message.id);
            tracing::debug!(topic, id, %error, "a message comes again: its channel was lost");
            return;
        }
        if subscribed.queue.is_none() {
            let Came { mut delivery, repeats } = self.came;
            delivery.data = message.body.to_vec();
            let again = Came { delivery, repeats: repeats.saturating_add(1) };
            let _over = self.sender.send(again).await.is_err();
            return;
        }
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let _lost = self.came.delivery.acker.nack(options).await.is_err();
    }

    /// Publishes a dead letter and acknowledges the message, which keeps its place until then:
    /// where dead letters cannot be kept, no more messages are handled.
    async fn bury(&self, letter: &DeadLetter) {
        let DeadLetter { message, reason, attempts, .. } = letter;
        let (topic, id) = (&message.topic, &message.id);
        let mut backoff = Backoff::new(RETRY_BASE, BURY_MAX);
        // Progress: each turn publishes or waits; the end of the channel ends it, and the message
        // comes again.
        while self.line.channel.status().connected() {
            match self.line.subscribed.publisher.dead(letter).await {
                Ok(()) => {
                    tracing::warn!(topic, id, attempts, reason, "message is given up");
                    return self.acknowledge().await;
                }
                Err(error) => {
                    tracing::warn!(topic, id, %error, "cannot publish a dead letter yet");
                }
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }

    /// Refuses what is no message: the server drops it, or puts it where its operator says.
    async fn refuse(&self, error: &crate::core::error::Error) {
        let topic = &self.line.subscribed.topic;
        tracing::error!(topic, %error, "what came is no message and is refused");
        let refused = self.came.delivery.acker.reject(BasicRejectOptions::default());
        let _lost = refused.await.is_err();
    }
}
