//! Keeps the groups of this process alive, and the tables small.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::broker::topic::validate_pattern;
use crate::core::clock::{self, Instant};
use crate::core::error::Result;
use crate::driver::postgres::{column, params};

use super::member::Member;
use super::statements as sql;
use super::{Inner, join};

/// Between two signs of life of the groups; a temporary one is removed after a minute without.
const BEAT_INTERVAL: Duration = Duration::from_secs(10);

/// A connection is this old before it is believed that who gave no sign of life is gone: after a
/// restart of the server all have had a chance to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A group with a queue is removed after so long without a member: two weeks.
const GROUP_SECONDS_MAX: f64 = 14.0 * 24.0 * 3600.0;

/// Dead letters that nobody is subscribed to: the latest ten thousand, of the last two weeks.
const UNCLAIMED_MAX: i64 = 10_000;

/// Statements of one cleaning, so that it ends.
const SWEEPS_MAX: usize = 100;

/// The connection that the keeper saw last, and since when.
struct Seen {
    generation: u64,
    since: Instant,
}

impl Inner {
    /// Keeps groups and tables, as long as it is polled.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut seen = Seen { generation: 0, since: clock::now() };
        // Progress: each turn waits, for a time that differs among processes.
        loop {
            let spread = fastrand::u64(0..=1000);
            clock::sleep(BEAT_INTERVAL + Duration::from_millis(spread)).await;
            if self.is_closed() {
                return;
            }
            if let Err(error) = self.beat(&mut seen).await {
                tracing::debug!(%error, "no sign of life could be given");
                continue;
            }
            if let Err(error) = self.sweep(&seen).await {
                tracing::debug!(%error, "the tables could not be cleaned");
            }
        }
    }

    /// Gives a sign of life for each group, and makes those again that were removed.
    async fn beat(&self, seen: &mut Seen) -> Result<()> {
        let members = self.live();
        let groups: HashSet<i64> =
            members.iter().map(|member| member.group.load(Ordering::Acquire)).collect();
        let groups: Vec<i64> = groups.into_iter().collect();
        let asked = self.database.rows_of_connection(sql::BEAT, params![groups]);
        let (rows, generation) = asked.await?;
        if generation != seen.generation {
            *seen = Seen { generation, since: clock::now() };
        }
        let there: HashSet<i64> = rows.iter().map(|row| column(row, 0)).collect::<Result<_>>()?;
        for member in members {
            if !there.contains(&member.group.load(Ordering::Acquire)) {
                self.join_again(&member).await?;
            }
        }
        Ok(())
    }

    async fn join_again(&self, member: &Member) -> Result<()> {
        let is_pattern = validate_pattern(&member.topic)?;
        let (topic, name) = (&member.topic, &member.group_name);
        let group = join::group(self, topic, (name, member.queue.is_none()), is_pattern).await?;
        let before = member.group.swap(group, Ordering::AcqRel);
        if member.life.is_draining() {
            return Ok(());
        }
        self.wakes.remove(before, member.id);
        self.wakes.add(group, member.id, &member.wake);
        member.wake.notify_one();
        tracing::warn!(topic, "the group was removed and is made again");
        Ok(())
    }

    async fn sweep(&self, seen: &Seen) -> Result<()> {
        if self.database.rows(sql::TURN, params![]).await?.is_empty() {
            return Ok(());
        }
        if clock::now().saturating_duration_since(seen.since) >= PATIENCE {
            let rows = self.database.rows(sql::EMPTY_GROUPS, params![GROUP_SECONDS_MAX]).await?;
            for row in &rows {
                let (topic, queue): (String, String) = (column(row, 0)?, column(row, 1)?);
                tracing::warn!(topic, queue, "a group without members is removed");
            }
        }
        for _ in 0..SWEEPS_MAX {
            if self.database.rows(sql::ORPHANS, params![]).await?.len() < sql::REMOVED_MAX {
                break;
            }
        }
        for _ in 0..SWEEPS_MAX {
            let params = params![UNCLAIMED_MAX, GROUP_SECONDS_MAX];
            if self.database.rows(sql::UNCLAIMED, params).await?.len() < sql::REMOVED_MAX {
                break;
            }
        }
        self.database.rows(sql::FULL_GROUPS, params![self.messages_max]).await.map(drop)
    }
}
