//! How many subscriptions have not ended, those that were dropped among them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::core::clock;
use crate::core::clock::Instant;

/// Counts the subscriptions of a broker that are not over; clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<watch::Sender<usize>>);

/// Counts as one until it is dropped.
#[derive(Debug)]
pub(super) struct One(Running);

impl Running {
    pub(super) fn one(&self) -> One {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        One(self.clone())
    }

    /// Waits until all are over or the deadline passes; returns whether they are.
    pub(super) async fn wait(&self, deadline: Instant) -> bool {
        let mut count = self.0.subscribe();
        let over = count.wait_for(|count| *count == 0);
        matches!(clock::timeout_at(deadline, over).await, Ok(Ok(_)))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_are_over_when_the_last_is_dropped() {
        let running = Running::default();
        let soon = || clock::after(clock::now(), Duration::from_secs(1));
        assert!(running.wait(soon()).await);
        let (first, second) = (running.one(), running.one());
        drop(first);
        assert!(!running.wait(soon()).await);
        let (is_over, ()) = tokio::join!(running.wait(soon()), async { drop(second) });
        assert!(is_over);
    }
}
