//! What a process measures of itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use micro::prelude::*;

/// Handlers and streams that exist in this process.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts a handler or a stream for as long as it exists.
#[derive(Debug)]
pub struct Alive(());

impl Alive {
    /// Counts one more.
    pub fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Default for Alive {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Figures of a process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Gauges {
    /// Handlers and streams that hold an [`Alive`].
    pub alive: usize,
    /// Tasks of the runtime.
    pub tasks: usize,
    /// Open file descriptors.
    pub files: usize,
    /// Resident memory in KiB.
    pub resident_kib: usize,
}

impl Gauges {
    /// Measures this process.
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Self {
            alive: ALIVE.load(Ordering::SeqCst),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            resident_kib: resident.unwrap_or_default(),
        }
    }
}
