//! What a start has begun, until it is whole.

use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::service::backends::Backends;
use crate::service::running::Running;

/// Ends what a start has begun when it fails or is given up.
pub(super) struct Guard(Begun);

enum Begun {
    Nothing,
    /// There are tasks.
    Tasks(Shutdown, [TaskTracker; 2]),
    /// Everything is served and registered.
    Running(Running),
}

impl Guard {
    pub(super) fn new(backends: &Backends) -> Self {
        Self(Begun::Tasks(backends.shutdown.clone(), backends.trackers()))
    }

    pub(super) fn serves(&mut self, running: &Running) {
        self.0 = Begun::Running(running.clone());
    }

    pub(super) fn keep(mut self) {
        self.0 = Begun::Nothing;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        match &self.0 {
            Begun::Nothing => {}
            Begun::Tasks(shutdown, tasks) => {
                shutdown.close();
                tasks.iter().for_each(TaskTracker::abort_all);
            }
            Begun::Running(running) => {
                let running = running.clone();
                running.inner.backends.shutdown.close();
                // Outside of a runtime nothing of it runs any more. The stop of a closed lifecycle
                // is short, and its task must not be one of those that it ends.
                if tokio::runtime::Handle::try_current().is_ok() {
                    let stopping = async move { running.stop().await };
                    TaskTracker::new().spawn("stop", stopping).detach();
                }
            }
        }
    }
}
