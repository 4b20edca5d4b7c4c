//! What those learn who must know of lost connections.

use tokio::sync::watch;

/// Counts connections of subscriptions that were made again; clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    reconnects: watch::Sender<u64>,
    gaps: watch::Sender<u64>,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { reconnects: watch::Sender::new(0), gaps: watch::Sender::new(0) }
    }
}

impl Gaps {
    /// Counts a connection that was made again, `with_session` if the server had kept what it had
    /// to deliver.
    pub(super) fn reconnected(&self, with_session: bool) {
        let more = |count: &mut u64| *count = count.saturating_add(1);
        if !with_session {
            self.gaps.send_modify(more);
        }
        self.reconnects.send_modify(more);
    }

    pub(super) fn reconnects(&self) -> watch::Receiver<u64> {
        self.reconnects.subscribe()
    }

    pub(super) fn gaps(&self) -> watch::Receiver<u64> {
        self.gaps.subscribe()
    }
}
