//! Where each task of the runtime waits, where tokio is built to tell.

use crate::core::limits::DebugLimits;
use crate::debug::dump::Facility;

/// How long the runtime may take to stop its workers; one that is held by a handler never does.
#[cfg(micro_taskdump)]
const DUMP_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Asks the runtime where its tasks wait.
///
/// All workers stop meanwhile, so that this is not for every day.
#[cfg(micro_taskdump)]
pub(super) async fn frames(limits: &DebugLimits) -> (Facility, Vec<String>) {
    use crate::core::clock;

    let runtime = tokio::runtime::Handle::current();
    let Ok(dump) = clock::timeout(DUMP_MAX, runtime.dump()).await else {
        let how = "a worker of the runtime is held by a task that does not yield; ask again";
        return (Facility::missing(how), Vec::new());
    };
    let traces = dump.tasks().iter().map(|task| task.trace().to_string());
    (Facility::present(), told(limits, traces))
}

/// Takes as many of the places where tasks wait, and as much of each, as a dump may tell.
#[cfg(any(micro_taskdump, test))]
fn told(limits: &DebugLimits, traces: impl Iterator<Item = String>) -> Vec<String> {
    use crate::debug::text::shortened;

    let told = traces.take(limits.dumped_tasks_max);
    told.map(|trace| shortened(trace, limits.backtrace_bytes_max)).collect()
}

/// Says how to get what this build cannot tell.
#[cfg(not(micro_taskdump))]
pub(super) async fn frames(limits: &DebugLimits) -> (Facility, Vec<String>) {
    let how = format!(
        "build with `RUSTFLAGS=\"--cfg tokio_unstable --cfg micro_taskdump\"` on Linux, and this \
         tells where up to {} tasks wait",
        limits.dumped_tasks_max
    );
    (Facility::missing(&how), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the limit, above it and ten times above it; the default and a lower one.
    #[test]
    fn l29_a_dump_tells_of_as_many_tasks_as_it_may() {
        for max in [3, DebugLimits::DEFAULT.dumped_tasks_max] {
            let limits = DebugLimits { dumped_tasks_max: max, ..DebugLimits::DEFAULT };
            for (tasks, found) in [(max - 1, max - 1), (max, max), (max + 1, max), (max * 10, max)]
            {
                let traces = (0..tasks).map(|task| format!("task {task}"));
                let told = told(&limits, traces);
                assert_eq!(told.len(), found, "{tasks} of {max}");
                assert_eq!(told.first().map(String::as_str), Some("task 0"));
            }
        }
    }
}
