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
    use crate::debug::text::shortened;

    let runtime = tokio::runtime::Handle::current();
    let Ok(dump) = clock::timeout(DUMP_MAX, runtime.dump()).await else {
        let how = "a worker of the runtime is held by a task that does not yield; ask again";
        return (Facility::missing(how), Vec::new());
    };
    let text = |task: &tokio::runtime::dump::Task| {
        shortened(task.trace().to_string(), limits.backtrace_bytes_max)
    };
    let traces = dump.tasks().iter().take(limits.dumped_tasks_max).map(text).collect();
    (Facility::present(), traces)
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
