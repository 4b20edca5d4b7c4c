//! The thread of a subscription: it brings messages and tells the servers what is settled.
//!
//! The library's calls may wait for the servers, so that none of them is made by a task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::oneshot;

use crate::broker::memory::count;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result};
use crate::core::shutdown::Shutdown;

use super::desk::Desk;
use super::seat::{Consumer, Seat, store};
use super::settings::REFRESH_INTERVAL;
use super::{ID, Inner, wire};

/// How long a subscription may take until it reads.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long a member waits for its part of the group before it is said to be subscribed: the group
/// is told to begin by then, so that it misses nothing later.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

/// How long the thread waits for a message before it looks at all else.
const TICK: Duration = Duration::from_millis(100);

/// How often it tells what is settled.
const TELL_INTERVAL: Duration = Duration::from_millis(50);

/// What the thread of a subscription works with.
pub(super) struct Pump {
    pub(super) inner: Arc<Inner>,
    pub(super) seat: Seat,
    pub(super) desk: Arc<Desk>,
    pub(super) life: Shutdown,
}

impl Pump {
    /// Starts the thread. The first answer comes when the subscription is made, the second when the
    /// thread has ended.
    ///
    /// While the servers are away the thread may outlive the close of its broker: leaving a group
    /// and the last commit wait for them for a time that the library bounds. What that commit would
    /// have told is delivered again.
    pub(super) fn start(self) -> Result<(oneshot::Receiver<Result<()>>, oneshot::Receiver<()>)> {
        let (opened, is_open) = oneshot::channel();
        let (end, has_ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("kafka".to_owned());
        let run = move || {
            let life = self.life.clone();
            self.run(opened);
            life.close();
            drop(end);
        };
        match thread.spawn(run) {
            Ok(_detached) => Ok((is_open, has_ended)),
            Err(error) => Err(Error::unavailable(ID, format!("no thread: {error}"))),
        }
    }

    fn run(self, opened: oneshot::Sender<Result<()>>) {
        let until = clock::after(clock::now(), OPEN_PATIENCE);
        let shared = &self.inner.client.shared;
        let consumer = match self.seat.open(shared, (&self.desk, &self.life), until) {
            Ok(consumer) => consumer,
            Err(error) => {
                // Whoever asked may have gone.
                let _unheard = opened.send(Err(error)).is_err();
                return;
            }
        };
        let mut opened = Some(opened);
        let joined_by = clock::after(clock::now(), JOIN_PATIENCE);
        let mut at = Times { told: clock::now(), refreshed: clock::now() };
        let mut paused = BTreeSet::new();
        // Progress: each turn waits for a message for a limited time; the end of the subscription
        // ends it.
        while !self.life.is_closed() {
            let is_made = self.desk.is_assigned() || clock::now() >= joined_by;
            if let Some(opened) = opened.take_if(|_| is_made) {
                let _unheard = opened.send(Ok(())).is_err();
            }
            self.upkeep(&consumer, &mut at);
            let wait = self.make_room(&consumer, &mut paused);
            match consumer.poll(wait) {
                None => {}
                Some(Ok(record)) => self.bring(&record),
                Some(Err(error)) => self.failed(&error),
            }
        }
        store(&consumer, &self.seat.topic, &self.desk.news());
        // Leaves the group, after a last commit.
        drop(consumer);
    }

    /// Tells what is settled, and looks for more partitions.
    fn upkeep(&self, consumer: &Consumer, at: &mut Times) {
        let now = clock::now();
        if self.seat.is_member {
            if now.duration_since(at.told) >= TELL_INTERVAL {
                at.told = now;
                store(consumer, &self.seat.topic, &self.desk.news());
            }
        } else if now.duration_since(at.refreshed) >= REFRESH_INTERVAL {
            at.refreshed = now;
            self.seat.follow(consumer, &self.desk);
        }
    }

    /// Has the client fetch nothing that there is no room for, and returns how long to wait for a
    /// message.
    ///
    /// Short waits for room are spent here, without a poll. In longer ones the partitions are
    /// paused, which costs another fetch, and the client is polled on, so that the servers know
    /// that the member is there.
    fn make_room(&self, consumer: &Consumer, paused: &mut BTreeSet<i32>) -> Duration {
        let here = self.desk.here();
        let is_draining = self.life.is_draining();
        let full = self.desk.is_full() && !self.desk.wait_for_room(TICK);
        let wanted = if full || is_draining { here } else { self.desk.too_far(paused) };
        let list = |partitions: &mut dyn Iterator<Item = &i32>| {
            let mut list = TopicPartitionList::new();
            for partition in partitions {
                list.add_partition(&self.seat.topic, *partition);
            }
            list
        };
        let pause = list(&mut wanted.difference(paused));
        // Those that were taken away, too: the client has a partition paused when it comes back.
        let resume = list(&mut paused.difference(&wanted));
        let outcomes = [
            (pause.count() > 0).then(|| consumer.pause(&pause)),
            (resume.count() > 0).then(|| consumer.resume(&resume)),
        ];
        for error in outcomes.into_iter().flatten().filter_map(std::result::Result::err) {
            tracing::debug!(topic = self.seat.topic, %error, "partitions go on");
        }
        *paused = wanted;
        // Once it drains, its end is all that is waited for; where it is full, it has waited.
        if full {
            Duration::from_millis(1)
        } else if is_draining {
            TICK / 10
        } else {
            TICK
        }
    }

    fn bring(&self, record: &BorrowedMessage<'_>) {
        if self.life.is_draining() {
            return;
        }
        let message = wire::read(&self.seat.topic, record);
        if self.desk.put(record.partition(), record.offset(), message) {
            count(&self.inner.tally.routed);
        }
    }

    fn failed(&self, error: &KafkaError) {
        let topic = &self.seat.topic;
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            tracing::error!(topic, %error, "a subscription ends: its client has failed for good");
            self.life.close();
            return;
        }
        // The client tries on by itself.
        tracing::debug!(topic, %error, "no messages at the moment");
    }
}

/// When something was done last.
struct Times {
    told: Instant,
    refreshed: Instant,
}
