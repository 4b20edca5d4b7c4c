//! What a process is doing, as far as it can tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::debug::panics::PanicReport;

/// What a process is doing, as far as it can tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Dump {
    /// The latest panics, the oldest first.
    pub panics: Vec<PanicReport>,
    /// How many panics there were.
    pub panics_seen: u64,
    /// The tasks of the process, counted by name.
    pub tasks: BTreeMap<String, usize>,
    /// The names of threads, counted; empty where the system does not tell.
    pub threads: BTreeMap<String, usize>,
    /// Whether it can be told where each task waits.
    pub task_frames: Facility,
    /// Where tasks wait, one tree of frames for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// Whether it can be told where each thread is.
    pub thread_frames: Facility,
}

/// Whether something can be told, and otherwise what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Facility {
    /// Whether it can be told.
    pub supported: bool,
    /// How to get it otherwise.
    pub how: String,
}

impl Facility {
    pub(super) fn missing(how: &str) -> Self {
        Self { supported: false, how: how.to_owned() }
    }

    #[cfg(micro_taskdump)]
    pub(super) fn present() -> Self {
        Self { supported: true, how: String::new() }
    }
}

impl Dump {
    /// Makes a dump of what is known without asking anybody: threads by name, and that their frames
    /// cannot be told.
    pub(super) fn of_threads() -> Self {
        Self {
            threads: threads(),
            thread_frames: Facility::missing(
                "attach a debugger to the process, such as `gdb -p PID -batch -ex 'thread apply \
                 all bt'`",
            ),
            ..Self::default()
        }
    }
}

/// Counts the threads of the process by the names the system has for them.
fn threads() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return names };
    for task in tasks.flatten() {
        if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
            *names.entry(name.trim().escape_debug().to_string()).or_default() += 1;
        }
    }
    names
}
