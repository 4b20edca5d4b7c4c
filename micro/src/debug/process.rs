//! What the system says of the process.

use std::fs;

use serde::{Deserialize, Serialize};

/// What the system says of the process; what it does not say is not there.
///
/// Read from `/proc`, so that there is nothing of it on systems without.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ProcessStats {
    /// Bytes of memory in use.
    pub memory: Option<u64>,
    /// Milliseconds of processor time used, by all threads.
    pub cpu_ms: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub fds: Option<u64>,
    /// File descriptors that may be open.
    pub fds_max: Option<u64>,
}

/// Milliseconds of a tick of `/proc/self/stat`: its unit is a hundredth of a second on every
/// Linux.
const TICK_MS: u64 = 10;

impl ProcessStats {
    /// Reads the state of this moment.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            memory: field(&status, "VmRSS:").map(|kib| kib * 1024),
            cpu_ms: ticks(&stat).map(|ticks| ticks * TICK_MS),
            threads: field(&status, "Threads:"),
            // One of them is the directory that is being read.
            fds: entries("/proc/self/fd").map(|count| count.saturating_sub(1)),
            fds_max: field(&limits, "Max open files"),
        }
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the time used in user and in system mode: fields 14 and 15. The name in field 2 may
/// hold anything but is closed by the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn entries(path: &str) -> Option<u64> {
    u64::try_from(fs::read_dir(path).ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 4";
        assert_eq!(ticks(&format!("42 (a) b (c) {rest}")), Some(42));
        assert_eq!(ticks("42"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let stats = ProcessStats::read();
        assert!(stats.memory.unwrap() > 100_000, "{stats:?}");
        assert!(stats.threads.unwrap() >= 1 && stats.cpu_ms.is_some(), "{stats:?}");
        let _file = fs::File::open("/proc/self/status").unwrap();
        assert!(stats.fds.unwrap() >= 1 && stats.fds < stats.fds_max, "{stats:?}");
    }
}
