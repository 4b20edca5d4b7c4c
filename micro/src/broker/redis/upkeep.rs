//! What a subscription does from time to time: it keeps what it has, takes over what others left,
//! and removes what is settled.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::broker::redis::entry;
use crate::broker::redis::held::Counted;
use crate::broker::redis::member::{LEASE, Member};
use crate::broker::redis::scripts;
use crate::broker::redis::worker::Item;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::driver::redis::reply;

/// Pause between two looks for what others left.
const TICK: Duration = Duration::from_millis(500);

/// How long a stream is not trimmed at most: other groups may have settled since.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// How long a consumer without entries may be silent before it is taken for gone: an hour.
const CONSUMER_IDLE: Duration = Duration::from_secs(3600);

/// Pause between two looks for such consumers.
const BANISH_EVERY: Duration = Duration::from_secs(300);

/// Works for as long as it is polled; the subscription leaves what was begun.
pub(super) async fn run(member: &Member, queue: &mpsc::Sender<Item>) {
    let mut due = Due::new(clock::now());
    let mut cursor = "0-0".to_owned();
    // Progress: each turn waits for a tick.
    loop {
        clock::sleep(TICK).await;
        if let Err(error) = turn(member, queue, &mut due, &mut cursor).await {
            tracing::debug!(topic = member.topic, %error, "upkeep has to wait");
        }
    }
}

/// When what is done next.
struct Due {
    touch: Instant,
    trim: Instant,
    renew: Instant,
    banish: Instant,
}

impl Due {
    fn new(now: Instant) -> Self {
        Self { touch: now, trim: now, renew: now, banish: now }
    }
}

async fn turn(
    member: &Member,
    queue: &mpsc::Sender<Item>,
    due: &mut Due,
    cursor: &mut String,
) -> Result<()> {
    let (now, idle) = (clock::now(), member.inner.limits.ack_timeout);
    if now >= due.touch {
        touch(member).await?;
        due.touch = clock::after(now, idle / 3);
    }
    if now >= due.renew && member.queue.is_none() {
        renew(member).await?;
        due.renew = clock::after(now, LEASE / 10);
    }
    let room = member.room();
    if room > 0 {
        let mut call = scripts::CLAIM.call(&[&member.stream]);
        call.arg(&member.group).arg(&member.consumer).arg(idle.as_millis().to_string());
        call.arg(&*cursor).arg(room);
        let claimed = member.inner.redis.run("claim", &scripts::CLAIM, &call).await?;
        let [next, entries] = reply::tuple(claimed)?;
        *cursor = reply::text(next)?;
        member.hand_over(queue, entry::counted(&member.topic, entries)?).await;
    }
    if member.has_settled() || now >= due.trim {
        member.trim().await?;
        due.trim = clock::after(now, TRIM_EVERY);
    }
    if now >= due.banish {
        let mut call = scripts::BANISH.call(&[&member.stream]);
        call.arg(&member.group).arg(CONSUMER_IDLE.as_millis().to_string());
        member.inner.redis.run("upkeep", &scripts::BANISH, &call).await?;
        due.banish = clock::after(now, BANISH_EVERY);
    }
    Ok(())
}

/// Tells the server that what is held is in good hands.
async fn touch(member: &Member) -> Result<()> {
    let ids = member.holding.ids(Counted::All);
    if ids.is_empty() {
        return Ok(());
    }
    let mut call = scripts::TOUCH.call(&[&member.stream]);
    call.arg(&member.group).arg(&member.consumer).arg("").arg(ids);
    member.inner.redis.run("upkeep", &scripts::TOUCH, &call).await.map(drop)
}

/// Renews the lease of a group of one subscription.
async fn renew(member: &Member) -> Result<()> {
    let mut call = redis::cmd("SET");
    call.arg(member.lease()).arg("1").arg("PX").arg(LEASE.as_millis().to_string());
    member.inner.redis.ask("upkeep", &call).await.map(drop)
}
