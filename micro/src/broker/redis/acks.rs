//! Acknowledgements, many at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::broker::redis::member::Member;
use crate::core::backoff::Backoff;
use crate::core::clock;

/// Entries that are acknowledged at once.
const BATCH: usize = 256;

/// The first and the longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Entries whose handlers have succeeded.
pub(super) type Acks = mpsc::Receiver<String>;

/// Acknowledges until nobody sends more; what fails is repeated for as long as the subscription
/// lives, and once after that.
pub(super) async fn acknowledge(member: Arc<Member>, mut acks: Acks) {
    let mut batch = Vec::new();
    while acks.recv_many(&mut batch, BATCH).await > 0 {
        let mut call = redis::cmd("XACK");
        call.arg(&member.stream).arg(&member.group).arg(&batch);
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        // Progress: each turn acknowledges, or waits; the end of the subscription ends it.
        loop {
            match member.inner.redis.ask("acknowledge", &call).await {
                Ok(_) => break,
                Err(error) if member.life.is_closed() => {
                    tracing::debug!(topic = member.topic, %error, "left without acknowledging");
                    break;
                }
                Err(error) => {
                    tracing::debug!(topic = member.topic, %error, "cannot acknowledge yet");
                    clock::sleep(backoff.next_delay()).await;
                }
            }
        }
        member.settle(batch.iter().map(String::as_str));
        batch.clear();
    }
}
