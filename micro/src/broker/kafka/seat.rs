//! How a subscription gets its place: where it begins to read, and its part of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::core::clock::{self, Instant};
use crate::core::error::Result;
use crate::core::shutdown::Shutdown;

use super::client::{Shared, Watching, log};
use super::desk::Desk;
use super::failure;

/// How long the handlers of partitions that others get may go on before they do; what they settle
/// later counts for nothing.
const REVOKE_PATIENCE: Duration = Duration::from_secs(2);

/// How long asking how far a group is may take while its partitions are divided.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

pub(super) type Consumer = BaseConsumer<Dividing>;

/// Who subscribes to what.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) topic: String,
    /// Its name among the consumers on the servers.
    pub(super) group: String,
    /// It shares the messages with others of the same name.
    pub(super) is_member: bool,
}

impl Seat {
    /// Makes the client and has it read: as a member of the group, which begins where the topic ends
    /// if it is new, or alone from the end of the topic.
    ///
    /// Blocks.
    pub(super) fn open(
        &self,
        shared: &Shared,
        (desk, life): (&Arc<Desk>, &Shutdown),
        until: Instant,
    ) -> Result<Consumer> {
        let what = || format!("subscribe to {}", self.topic);
        let failed = |error: KafkaError| failure::before(&what(), &error);
        let dividing = Dividing {
            topic: self.topic.clone(),
            desk: Arc::clone(desk),
            life: life.clone(),
            watching: shared.watching(),
        };
        let settings = shared.settings.consumer(&self.group, self.is_member);
        let consumer = Consumer::from_config_and_context(&settings, dividing).map_err(failed)?;
        // In this order: whoever else seeds the group at this moment has looked at the end of the
        // topic before it found no offset, so that it never goes beyond what this one promises.
        let ends = ends(&consumer, &self.topic, until).map_err(failed)?;
        if self.is_member {
            self.seed(&consumer, &ends, until)?;
            consumer.subscribe(&[&self.topic]).map_err(failed)?;
        } else {
            let partitions = partitions_of(&ends);
            consumer.assign(&ends).map_err(failed)?;
            desk.assign(&partitions, |_| BTreeMap::new());
        }
        Ok(consumer)
    }

    /// Has a group that is new begin where the topic ends.
    fn seed(&self, consumer: &Consumer, ends: &TopicPartitionList, until: Instant) -> Result<()> {
        let failed =
            |error: KafkaError| failure::before(&format!("begin the group {}", self.group), &error);
        let committed = consumer.committed_offsets(ends.clone(), left(until)).map_err(failed)?;
        if committed.elements().iter().any(|one| matches!(one.offset(), Offset::Offset(_))) {
            return Ok(());
        }
        // Bounded by the library: by the time that an answer may take, and the session's.
        match consumer.commit(ends, CommitMode::Sync) {
            // The group has members: another one has seeded it.
            Err(error) if is_elsewhere(&error) => Ok(()),
            outcome => outcome.map_err(failed),
        }
    }

    /// Reads partitions that were added to the topic, from their beginning, where no group does so.
    pub(super) fn follow(&self, consumer: &Consumer, desk: &Desk) {
        let Ok(found) = consumer.fetch_metadata(Some(&self.topic), LOOK_PATIENCE) else { return };
        let here = desk.here();
        let all = found.topics().iter().flat_map(|topic| topic.partitions());
        let all: BTreeSet<i32> = all.map(|partition| partition.id()).collect();
        let mut added = TopicPartitionList::new();
        for partition in all.difference(&here) {
            // Of the list alone: an offset that is out of range is no failure here.
            let offset = Offset::Beginning;
            let _never = added.add_partition_offset(&self.topic, *partition, offset).is_err();
        }
        if added.count() == 0 {
            return;
        }
        match consumer.incremental_assign(&added) {
            Ok(()) => {
                desk.add(&partitions_of(&added));
                tracing::info!(topic = self.topic, "topic has more partitions");
            }
            Err(error) => tracing::warn!(topic = self.topic, %error, "cannot read all partitions"),
        }
    }
}

/// Tells whether a commit was refused because the group has members.
fn is_elsewhere(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::RebalanceInProgress
        )
    )
}

/// Returns where each partition of a topic ends.
fn ends(consumer: &Consumer, topic: &str, until: Instant) -> KafkaResult<TopicPartitionList> {
    let found = consumer.fetch_metadata(Some(topic), left(until))?;
    let mut wanted = TopicPartitionList::new();
    let partitions = found.topics().iter().filter(|found| found.name() == topic);
    for partition in partitions.flat_map(|topic| topic.partitions()) {
        wanted.add_partition_offset(topic, partition.id(), Offset::End)?;
    }
    if wanted.count() == 0 {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
    }
    let ends = consumer.offsets_for_times(wanted, left(until))?;
    for end in ends.elements() {
        end.error()?;
        if !matches!(end.offset(), Offset::Offset(_)) {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable));
        }
    }
    Ok(ends)
}

fn left(until: Instant) -> Duration {
    // A time of nothing would be forever.
    clock::remaining(clock::now(), until).max(Duration::from_millis(1))
}

fn partitions_of(list: &TopicPartitionList) -> BTreeSet<i32> {
    list.elements().iter().map(|one| one.partition()).collect()
}

/// Follows how a group divides its partitions. What it is told comes within a poll, in the thread of
/// the subscription.
pub(super) struct Dividing {
    topic: String,
    desk: Arc<Desk>,
    life: Shutdown,
    watching: Watching,
}

impl Dividing {
    fn leave(&self, consumer: &Consumer, partitions: &BTreeSet<i32>) {
        let is_lost = consumer.assignment_lost();
        // Handlers that are cut settle nothing more.
        let patience =
            if is_lost || self.life.is_closed() { Duration::ZERO } else { REVOKE_PATIENCE };
        self.desk.suspend(partitions, patience);
        if !is_lost {
            // Committed as the partitions are given up, before others begin.
            store(consumer, &self.topic, &self.desk.last_news(partitions));
        }
        tracing::debug!(topic = self.topic, ?partitions, is_lost, "partitions are given up");
    }

    fn take_over(&self, consumer: &Consumer, partitions: &BTreeSet<i32>) {
        tracing::debug!(topic = self.topic, ?partitions, "partitions are taken over");
        self.desk.assign(partitions, |kept| {
            let mut wanted = TopicPartitionList::new();
            for partition in kept {
                wanted.add_partition(&self.topic, *partition);
            }
            // Not known is taken for beyond what is held, so that it is read again.
            let Ok(found) = consumer.committed_offsets(wanted, LOOK_PATIENCE) else {
                return BTreeMap::new();
            };
            let offset = |offset| if let Offset::Offset(at) = offset { at } else { -1 };
            found.elements().iter().map(|one| (one.partition(), offset(one.offset()))).collect()
        });
    }
}

/// Has offsets committed with the next commit.
pub(super) fn store(consumer: &Consumer, topic: &str, offsets: &[(i32, i64)]) {
    if offsets.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        let offset = Offset::Offset(*offset);
        let _never = list.add_partition_offset(topic, *partition, offset).is_err();
    }
    if let Err(error) = consumer.store_offsets(&list) {
        // Others have a partition: they read again what was settled here.
        tracing::debug!(topic, %error, "offsets are not stored");
    }
}

impl ClientContext for Dividing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watching.note_refusal(&error, reason);
        tracing::debug!(topic = self.topic, %error, reason, "kafka");
    }
}

impl ConsumerContext for Dividing {
    fn pre_rebalance(&self, consumer: &Consumer, change: &Rebalance<'_>) {
        match change {
            Rebalance::Assign(list) => self.take_over(consumer, &partitions_of(list)),
            Rebalance::Revoke(list) => self.leave(consumer, &partitions_of(list)),
            Rebalance::Error(error) => {
                tracing::warn!(topic = self.topic, %error, "the group cannot divide its partitions");
            }
        }
    }
}
