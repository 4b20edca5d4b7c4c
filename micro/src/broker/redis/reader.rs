//! What fetches entries, on a connection of its own where it waits for them.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::broker::redis::entry::{self, Entry};
use crate::broker::redis::member::Member;
use crate::broker::redis::scripts;
use crate::broker::redis::worker::Item;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::driver::redis::{Line, is_no_group};

/// How long the server holds a read without entries.
const BLOCK: Duration = Duration::from_secs(5);

/// How long its answer may take after that.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a read that was interrupted may take to return.
const UNBLOCK_WAIT: Duration = Duration::from_secs(1);

/// How long a read waits for more handlers to be idle.
const BATCH_WAIT: Duration = Duration::from_millis(1);

/// The first and the longest pause between two tries to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Reads until the subscription drains or ends.
pub(super) async fn run(member: &Member, queue: &mpsc::Sender<Item>) {
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    // Progress: each turn reads until the connection is lost, or waits.
    while !member.life.is_draining() {
        let connecting = member.inner.redis.line();
        let line = tokio::select! {
            biased;
            () = member.life.draining() => return,
            line = connecting => line,
        };
        let outcome = match line {
            Ok(line) => read(member, &line, queue, &mut backoff).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return };
        tracing::debug!(topic = member.topic, %error, "cannot read, trying on");
        if is_no_group(&error) {
            // Somebody removed the group, or the server lost it: it goes on where it was. Where
            // nothing has come yet, what there is came after.
            let settled = member.holding.settled_up_to();
            let made = member.join(settled.as_deref().unwrap_or("0")).await;
            tracing::warn!(topic = member.topic, made = made.is_ok(), "the group was lost");
        }
        tokio::select! {
            () = member.life.draining() => return,
            () = clock::sleep(backoff.next_delay()) => {}
        }
    }
}

async fn read(
    member: &Member,
    line: &Line,
    queue: &mpsc::Sender<Item>,
    backoff: &mut Backoff,
) -> Result<()> {
    let number = line.number().await?;
    // What was delivered on a connection that broke never arrived.
    member.hand_over(queue, mine(member).await?).await;
    // Progress: each turn waits for room and then for entries.
    loop {
        let room = tokio::select! {
            biased;
            () = member.life.draining() => return Ok(()),
            room = room(member) => room,
        };
        let mut call = redis::cmd("XREADGROUP");
        call.arg("GROUP").arg(&member.group).arg(&member.consumer).arg("COUNT").arg(room);
        call.arg("BLOCK").arg(BLOCK.as_millis().to_string());
        call.arg("STREAMS").arg(&member.stream).arg(">");
        let reading = line.ask("read", &call, BLOCK.saturating_add(ANSWER));
        tokio::pin!(reading);
        let answer = tokio::select! {
            biased;
            answer = &mut reading => answer?,
            () = member.life.draining() => {
                unblock(member, number).await;
                // What it brings is left to others with all that is not settled.
                let _late = clock::timeout(UNBLOCK_WAIT, reading).await.is_ok();
                return Ok(());
            }
        };
        backoff.reset();
        member.hand_over(queue, entry::delivered(&member.topic, answer)?).await;
    }
}

/// Waits until there is room for entries and returns for how many.
///
/// Room for a few is waited on a little for more, so that quick handlers are fed in batches.
async fn room(member: &Member) -> usize {
    let plenty = member.concurrency.div_ceil(2);
    let mut until = None;
    // Progress: each turn, something was settled, or a pause is over.
    loop {
        let less = member.holding.less.notified();
        tokio::pin!(less);
        // Enabled before the room is measured, so that no ring falls in between.
        less.as_mut().enable();
        match member.room() {
            0 => less.await,
            room if room >= plenty => return room,
            _few => {
                let until = *until.get_or_insert_with(|| clock::after(clock::now(), BATCH_WAIT));
                if clock::timeout_at(until, less).await.is_err() {
                    return member.room().max(1);
                }
            }
        }
    }
}

/// Has the server end a read that it holds.
async fn unblock(member: &Member, number: i64) {
    let mut call = redis::cmd("CLIENT");
    call.arg("UNBLOCK").arg(number);
    if let Err(error) = member.inner.redis.ask("unsubscribe", &call).await {
        tracing::debug!(topic = member.topic, %error, "a read ends by itself");
    }
}

/// Returns what the server has for this subscription.
async fn mine(member: &Member) -> Result<Vec<Entry>> {
    let mut call = scripts::MINE.call(&[&member.stream]);
    call.arg(&member.group).arg(&member.consumer).arg(member.inner.limits.unacked_max);
    let found = member.inner.redis.run("read", &scripts::MINE, &call).await?;
    entry::counted(&member.topic, found)
}
