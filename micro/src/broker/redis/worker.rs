//! What handles one delivery at a time, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use crate::broker::Handler;
use crate::broker::before_retry::before_retry;
use crate::broker::dead_letter::DeadLetter;
use crate::broker::delivery::{Ack, Delivery, deliver};
use crate::broker::pause::{RETRY_BASE, RETRY_MAX};
use crate::broker::redis::entry::{self, Entry};
use crate::broker::redis::member::Member;
use crate::broker::redis::{DEAD_LETTERS_MAX, scripts};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::driver::redis::reply;

/// An entry on its way to a handler.
pub(super) struct Item {
    entry: Entry,
    /// When it was delivered first and last, since 1970.
    first: Duration,
    last: Duration,
    /// Why it goes to the dead letters, once that is decided.
    given_up: Option<String>,
}

impl Item {
    pub(super) fn new(entry: Entry) -> Self {
        let now = clock::unix_now();
        // Of a delivery by others it is only known that it follows the publication.
        let first = if entry.deliveries > 1 { entry.made() } else { now };
        Self { entry, first: first.min(now), last: now, given_up: None }
    }
}

/// Handles one delivery at a time.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) member: Arc<Member>,
    pub(super) handler: Handler,
    pub(super) items: Arc<Mutex<mpsc::Receiver<Item>>>,
    pub(super) queue: mpsc::WeakSender<Item>,
    pub(super) acks: mpsc::Sender<String>,
}

impl Worker {
    pub(super) async fn run(self) {
        // Progress: each turn takes an item; the end of the subscription aborts it. What is held and
        // not settled then is left to others.
        while let Some(item) = self.next().await {
            self.handle(item).await;
        }
    }

    async fn next(&self) -> Option<Item> {
        self.items.lock().await.recv().await
    }

    async fn handle(&self, mut item: Item) {
        let (id, holding) = (item.entry.id.clone(), &self.member.holding);
        if item.given_up.is_none() {
            match self.decide(&mut item).await {
                Ack::Ack => {
                    // There is room for all that may be held. Before the rest: who waits for that
                    // ends this worker.
                    let _open = self.acks.send(id.clone()).await.is_ok();
                    return holding.rest(&id);
                }
                Ack::Retry { after } => {
                    holding.rest(&id);
                    return self.later(item, after);
                }
                Ack::Reject { reason } => item.given_up = Some(reason),
            }
        }
        let buried = self.bury(&item).await;
        holding.rest(&id);
        match buried {
            Ok(()) => self.member.settle([id.as_str()]),
            Err(error) => {
                tracing::warn!(topic = self.member.topic, id, %error, "no dead letter yet");
                self.later(item, None);
            }
        }
    }

    /// Runs the handler; too many deliveries are a rejection.
    async fn decide(&self, item: &mut Item) -> Ack {
        let (limits, attempt) = (&self.member.inner.limits, item.entry.deliveries);
        let spent = |attempt| Ack::reject(format!("not handled in {attempt} deliveries"));
        // Processes that had it ended without a word.
        if attempt > limits.deliveries_max {
            item.entry.deliveries = limits.deliveries_max;
            return spent(limits.deliveries_max);
        }
        item.last = clock::unix_now();
        let delivery = Delivery::new(Arc::clone(&item.entry.message), attempt);
        match deliver(&self.handler, delivery, limits.ack_timeout).await {
            Ack::Retry { .. } if attempt >= limits.deliveries_max => spent(attempt),
            decision => decision,
        }
    }

    /// Settles the entry and publishes its dead letter, at once or not at all.
    async fn bury(&self, item: &Item) -> Result<()> {
        let member = &self.member;
        let (message, reason) = (&item.entry.message, item.given_up.clone().unwrap_or_default());
        let letter = DeadLetter {
            queue: member.queue.clone(),
            attempts: item.entry.deliveries,
            first: item.first,
            last: item.last,
            ..DeadLetter::new(Arc::clone(message), reason.clone())
        };
        let (topic, id) = (&message.topic, &message.id);
        let dead = letter.to_message().unwrap_or_else(|error| {
            tracing::error!(topic, id, %error, "dead letter is lost");
            None
        });
        match dead {
            Some(dead) => {
                let mut call = scripts::BURY.call(&[&member.stream, &member.dead_stream()]);
                call.arg(&member.group).arg(&item.entry.id).arg(DEAD_LETTERS_MAX);
                entry::write(&mut call, &dead);
                member.inner.redis.run("dead letter", &scripts::BURY, &call).await?;
            }
            None => {
                let mut call = redis::cmd("XACK");
                call.arg(&member.stream).arg(&member.group).arg(&item.entry.id);
                member.inner.redis.ask("acknowledge", &call).await?;
            }
        }
        tracing::warn!(topic, id, attempts = item.entry.deliveries, ?reason, "message is given up");
        Ok(())
    }

    /// Has the item come back after what the handler asks for or a growing pause.
    ///
    /// It is unsettled meanwhile, so there are at most as many of these tasks as may be unsettled.
    fn later(&self, item: Item, after: Option<Duration>) {
        let pause = before_retry(item.entry.deliveries, after);
        let (member, queue) = (Arc::clone(&self.member), self.queue.clone());
        let back = async move {
            tokio::select! {
                biased;
                () = member.life.draining() => {}
                () = come_back(&member, &queue, item, pause) => {}
            }
        };
        self.member.inner.redis.tasks().spawn("broker.redis.retry", back).detach();
    }
}

async fn come_back(
    member: &Member,
    queue: &mpsc::WeakSender<Item>,
    mut item: Item,
    pause: Duration,
) {
    clock::sleep(pause).await;
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
    // Progress: each turn has an answer, or waits longer.
    while item.given_up.is_none() {
        match again(member, &item).await {
            Ok(true) => {
                item.entry.deliveries = item.entry.deliveries.saturating_add(1);
                break;
            }
            Ok(false) => {
                // Another member has taken it over.
                return member.settle([item.entry.id.as_str()]);
            }
            Err(_) => clock::sleep(backoff.next_delay()).await,
        }
    }
    if let Some(queue) = queue.upgrade() {
        member.holding.wake(&item.entry.id);
        // There is room for all that may be held.
        let _open = queue.send(item).await.is_ok();
    }
}

/// Counts another delivery on the server; `false` if the entry is no longer held.
async fn again(member: &Member, item: &Item) -> Result<bool> {
    let mut call = scripts::TOUCH.call(&[&member.stream]);
    call.arg(&member.group).arg(&member.consumer);
    call.arg(item.entry.deliveries.saturating_add(1)).arg(&item.entry.id);
    let kept = member.inner.redis.run("deliver again", &scripts::TOUCH, &call).await;
    Ok(reply::number(kept?)? > 0)
}
