//! What is on NATS.

mod config;
mod driver;
mod raw;
mod registry;
mod store;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro::core::shutdown::TaskTracker;
use micro::driver::{Nats, Server as Place};
use micro_tests::server::{Server, nats};

pub(crate) fn trials() -> Vec<Trial> {
    let groups = [driver::trials(), registry::trials(), store::trials(), config::trials()];
    groups.into_iter().flatten().collect()
}

/// Makes tests of functions, named as they are.
macro_rules! tests {
    ($($name:ident)*) => {
        pub(super) fn trials() -> Vec<libtest_mimic::Trial> {
            let group = module_path!().rsplit("::").next().unwrap();
            vec![$(micro_tests::server::trial(
                &format!("nats::{group}::{}", stringify!($name)),
                &micro_tests::server::NATS,
                $name,
            ),)*]
        }
    };
}
use tests;

/// A server of a test, and the tasks of those who use it.
struct Ground {
    server: Mutex<Server>,
    tasks: TaskTracker,
}

impl Ground {
    fn start() -> Arc<Self> {
        Arc::new(Self { server: Mutex::new(nats()), tasks: TaskTracker::new() })
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    fn port(&self) -> u16 {
        self.server().port()
    }

    /// Makes another connection, as another process would.
    fn connect(&self) -> Arc<Nats> {
        Arc::new(Nats::open(&Place::new("127.0.0.1", self.port()), &self.tasks).unwrap())
    }

    /// Kills the server and starts it again.
    fn restart(&self) {
        self.server().kill();
        self.server().start_again();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.server(), f)
    }
}

/// How long something may take that has to happen: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waited = clock::timeout(PATIENCE, async {
        while !holds().await {
            clock::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never was so that {what}");
}

/// How long a server is paused.
fn pause() -> Duration {
    match std::env::var("MICRO_LONG").as_deref() {
        Ok("1") => Duration::from_secs(30),
        _ => Duration::from_secs(3),
    }
}
