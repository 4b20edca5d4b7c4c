//! What the async runtime says of itself.

use serde::{Deserialize, Serialize};

use crate::debug::pace::nanos;

/// What the tokio runtime says of itself; the parts of it that are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuntimeStats {
    /// Worker threads.
    pub workers: u64,
    /// Tasks that have not ended, those of the process itself included.
    pub tasks: u64,
    /// Tasks that wait in the queue all workers share.
    pub queued: u64,
    /// Nanoseconds that workers were busy, all together.
    pub busy_ns: u64,
    /// How often a worker found nothing to do.
    pub parks: u64,
}

impl RuntimeStats {
    /// Reads the runtime this is called in; `None` outside of one.
    pub fn read() -> Option<Self> {
        let metrics = tokio::runtime::Handle::try_current().ok()?.metrics();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let mut stats = Self {
            workers: count(metrics.num_workers()),
            tasks: count(metrics.num_alive_tasks()),
            queued: count(metrics.global_queue_depth()),
            ..Self::default()
        };
        #[cfg(target_has_atomic = "64")]
        for worker in 0..metrics.num_workers() {
            stats.busy_ns += nanos(metrics.worker_total_busy_duration(worker));
            stats.parks += metrics.worker_park_count(worker);
        }
        Some(stats)
    }
}
