//! Giving a message to one member of each of its groups.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::Weak;
use std::task::Poll;
use std::time::Duration;

use crate::broker::message::Message;
use crate::broker::receipt::Receipt;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::future::BoxFuture;

use super::ERROR_ID;
use super::Inner;
use super::link::Offered;
use super::post;
use super::seats::Group;
use super::seats::Seat;
use super::sent::count;
use super::until;
use super::wire::Word;

/// First and longest pause before a full group is asked again.
const ROOM_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// How long the answer to an offer takes at most, as a rule.
const ANSWER: Duration = Duration::from_millis(100);

/// A copy of a message on its way to a group.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) message: Arc<Message>,
    pub(super) group: Arc<Group>,
    /// Deliveries that count.
    pub(super) attempts: u32,
    /// Whether a member had it before.
    pub(super) again: bool,
}

impl Inner {
    /// Gives a message to all groups of its topic; waits for room as long as a call may take.
    pub(super) async fn publish(&self, message: Message) -> Result<()> {
        let deadline = until(self.publish_timeout());
        self.know(&message.topic, deadline).await?;
        count(&self.tally.published);
        let message = Arc::new(message);
        let groups = self.groups(&message.topic);
        let give = |(group, seats): (Group, Vec<Seat>)| -> BoxFuture<'_, Offered> {
            let (message, group) = (Arc::clone(&message), Arc::new(group));
            let sending = Sending { message, group, attempts: 0, again: false };
            Box::pin(async move { self.give(&sending, Some(seats), deadline).await })
        };
        let given = all(groups.into_iter().map(give).collect()).await;
        self.outcome(&message.topic, given)
    }

    /// Waits until the subscriptions are known, once.
    async fn know(&self, topic: &str, deadline: Instant) -> Result<()> {
        if self.view().load().revision > 0 {
            return Ok(());
        }
        let known = clock::timeout_at(deadline, self.view().ready()).await;
        let why = match known {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it does not answer".to_owned(),
        };
        let text = format!("publish to {topic}: nobody knows who subscribes: {why}");
        Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe))
    }

    /// Says what became of a message of which each group said something.
    fn outcome(&self, topic: &str, given: Vec<Offered>) -> Result<()> {
        let (mut taken, mut sent, mut failure) = (0, false, None);
        for offered in given {
            match offered {
                Offered::Taken => taken += 1,
                Offered::Gone => {}
                Offered::Full => {
                    count(&self.tally.refused);
                    let text = format!("publish to {topic}: a subscription has no room");
                    failure = failure.or(Some(Error::too_many_requests(ERROR_ID, text)));
                }
                Offered::Failed { error, sent: on_its_way } => {
                    count(&self.tally.refused);
                    sent |= on_its_way;
                    let text = format!("publish to {topic}: {error}");
                    failure = failure.or(Some(Error::unavailable(ERROR_ID, text)));
                }
            }
        }
        match failure {
            Some(error) if taken == 0 && !sent => Err(error.with_retry(Retry::Safe)),
            Some(error) => Err(error.with_retry(Retry::Unknown)),
            None => {
                if taken == 0 {
                    count(&self.tally.unrouted);
                }
                Ok(())
            }
        }
    }

    /// Gives a copy to a member of its group, waiting for room until `deadline`.
    ///
    /// `Gone` means that the group has no member. `seats` are its members, if they are known.
    pub(super) async fn give(
        &self,
        sending: &Sending,
        mut seats: Option<Vec<Seat>>,
        deadline: Instant,
    ) -> Offered {
        let mut passed_over: Vec<String> = Vec::new();
        let mut failure = None;
        let mut pause = ROOM_PAUSE.0;
        // Progress: each turn passes over a member for good, or waits; the deadline ends it.
        loop {
            let mut members = seats.take().unwrap_or_else(|| self.seats(&sending.group));
            members.retain(|seat| !passed_over.iter().any(|node| node == seat.node()));
            self.order(&mut members);
            let mut full = false;
            for seat in &members {
                match self.offer(seat, sending, deadline).await {
                    Offered::Taken => return Offered::Taken,
                    Offered::Full => full = true,
                    Offered::Gone => passed_over.push(seat.node().to_owned()),
                    failed @ Offered::Failed { .. } => {
                        self.links.shun(seat.node());
                        passed_over.push(seat.node().to_owned());
                        failure = Some(failed);
                    }
                }
            }
            if !full {
                return failure.unwrap_or(Offered::Gone);
            }
            // An offer that cannot be answered in time would leave open what became of it.
            if until(pause + ANSWER) >= deadline {
                clock::sleep_until(deadline).await;
                return Offered::Full;
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(ROOM_PAUSE.1);
        }
    }

    /// Offers a copy to one subscription.
    async fn offer(&self, seat: &Seat, sending: &Sending, deadline: Instant) -> Offered {
        let instance = match seat {
            Seat::Here(mailbox) => {
                let receipt = self.receipt(sending);
                let message = Arc::clone(&sending.message);
                return match mailbox.take(message, sending.attempts, receipt) {
                    Word::Full => Offered::Full,
                    Word::Gone => Offered::Gone,
                    Word::Taken | Word::Settled(_) => {
                        if !sending.again {
                            count(&self.tally.copies);
                        }
                        Offered::Taken
                    }
                };
            }
            Seat::Posted(instance) => {
                let posted = post::post(instance, &sending.message, deadline).await;
                if matches!(posted, Offered::Taken) {
                    if !sending.again {
                        count(&self.tally.copies);
                    }
                    count(&self.tally.posted);
                }
                return posted;
            }
            Seat::There(instance) => instance,
        };
        let link = self.links.to(self, instance);
        let Ok(place) = Arc::clone(&link.window).try_acquire_owned() else {
            return Offered::Full;
        };
        // A link that ended since is another one when it is asked for again.
        let Some(said) = link.offer(sending, place) else { return Offered::Full };
        match clock::timeout_at(deadline, said).await {
            Ok(Ok(offered)) => offered,
            Ok(Err(_ended)) => failed("the link to a subscription ended", true),
            Err(_elapsed) => failed("a subscription does not answer", true),
        }
    }

    /// Makes what tells of a copy that a subscription of this process takes.
    fn receipt(&self, sending: &Sending) -> Receipt {
        let (this, sending) = (Weak::clone(&self.this), sending.clone());
        Receipt::new(move |settled| {
            if let Some(inner) = this.upgrade() {
                inner.settled(sending, settled);
            }
        })
    }
}

fn failed(why: &str, sent: bool) -> Offered {
    Offered::Failed { error: Error::unavailable(ERROR_ID, why), sent }
}

/// Waits for all; each is first polled in order.
async fn all(mut futures: Vec<BoxFuture<'_, Offered>>) -> Vec<Offered> {
    if let [only] = futures.as_mut_slice() {
        return vec![only.await];
    }
    let mut done = Vec::with_capacity(futures.len());
    poll_fn(|task| {
        futures.retain_mut(|future| match future.as_mut().poll(task) {
            Poll::Ready(offered) => {
                done.push(offered);
                false
            }
            Poll::Pending => true,
        });
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}
