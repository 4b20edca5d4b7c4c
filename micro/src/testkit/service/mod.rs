//! A process within a test: services on backends in memory, typed clients of them, and a way to
//! wait until all that was set off has ended.
//!
//! Calls and events pass through the same frames, codecs, checks and rules as between processes;
//! there is no socket, no file and no setting from outside.

mod account;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;

use crate::broker::{self, Topic};
use crate::client::Client;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::registry;
use crate::server::{Serve, Subscriber};
use crate::service::{FromService, Report, Running, Service as Process};
use crate::store;
use crate::testkit::service::account::Anybody;
use crate::transport;

pub use self::account::AsAccount;

/// How long [`Environment::settled`] waits: longer than every pause between two deliveries that a
/// test would sit through, and shorter than a test may hang.
pub const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long it waits between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Looks that have to find nothing, each after the others had a turn: what ends one thing may
/// begin the next.
const QUIET_LOOKS: u32 = 3;

/// A process to be tested, before it runs.
///
/// Registry, transport, broker and store are in memory and its own. Every account is believed that
/// a call names by [`AsAccount::account`].
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use micro::prelude::*;
/// use micro::testkit::{self, AsAccount};
///
/// const PAID: Topic<u32> = Topic::new("orders.paid");
///
/// #[derive(Default)]
/// struct Till {
///     cents: AtomicU32,
/// }
///
/// #[service]
/// impl Till {
///     #[handler(scope = "till:read")]
///     async fn total(&self) -> Result<u32> {
///         Ok(self.cents.load(Ordering::Relaxed))
///     }
///
///     #[subscriber(topic = PAID)]
///     async fn on_paid(&self, cents: u32) -> Result<()> {
///         self.cents.fetch_add(cents, Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let env = testkit::Service::new().mount(Till::default()).start().await?;
/// let till: TillClient = env.client();
///
/// env.publish(&PAID, &250).await?;
/// env.settled().await?;
/// assert_eq!(till.total().account("auditor", ["till:read"]).await?, 250);
/// assert_eq!(till.total().await.unwrap_err().code(), 401);
///
/// env.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Service {
    process: Process,
    broker: broker::Memory,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// Begins a process that serves nothing.
    pub fn new() -> Self {
        let broker = broker::Memory::new();
        let process = Process::new("testkit")
            .no_env()
            .no_args()
            .registry(registry::Memory::new())
            .transport(transport::Memory::new())
            .store(store::Memory::new())
            .broker(broker.clone())
            .auth(Anybody);
        Self { process, broker }
    }

    /// Serves a value, as [`Process::mount`] does.
    #[must_use]
    pub fn mount<S: Serve>(self, service: S) -> Self {
        self.with(|process| process.mount(service))
    }

    /// Serves a value that is wired from the process, as [`Process::wire`] does.
    #[must_use]
    pub fn wire<S: Serve + FromService>(self) -> Self {
        self.with(Process::wire::<S>)
    }

    /// Subscribes a free function, as [`Process::subscribe`] does.
    #[must_use]
    pub fn subscribe<F: Subscriber>(self) -> Self {
        self.with(Process::subscribe::<F>)
    }

    /// Changes whatever else there is to change, such as settings, limits or a backend.
    ///
    /// With a broker of another kind [`Environment::settled`] sees no deliveries.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Process) -> Process) -> Self {
        self.process = change(self.process);
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What [`Process::start`] says.
    pub async fn start(self) -> Result<Environment> {
        let running = self.process.start().await?;
        Ok(Environment { running, broker: self.broker })
    }
}

/// A process under test that runs.
///
/// Dropping it leaves the process running until the test's runtime ends.
#[derive(Debug)]
pub struct Environment {
    running: Running,
    broker: broker::Memory,
}

impl Environment {
    /// Returns a client: [`Client`] itself or a generated one. It calls as nobody.
    pub fn client<C: From<Client>>(&self) -> C {
        self.running.client()
    }

    /// Returns the process.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Publishes an event to those who subscribed in the process.
    ///
    /// # Errors
    /// What [`Publisher::publish`](crate::client::Publisher::publish) says.
    pub async fn publish<T: Serialize + 'static>(&self, topic: &Topic<T>, event: &T) -> Result<()> {
        self.running.broker().publish(topic, event).await
    }

    /// Waits until no call runs, no event waits or is handled, and no task runs that a handler
    /// spawned by its context. Cancel safe.
    ///
    /// What the test itself has running counts only once it has reached the process. A delivery
    /// that waits to be repeated counts.
    ///
    /// # Errors
    /// 408 after [`SETTLE_MAX`], with how much of what still runs.
    pub async fn settled(&self) -> Result<()> {
        let deadline = clock::after(clock::now(), SETTLE_MAX);
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            let found = self.unsettled();
            if found == Unsettled::default() {
                quiet += 1;
                tokio::task::yield_now().await;
                continue;
            }
            quiet = 0;
            if clock::now() >= deadline {
                let Unsettled { calls, events, tasks } = found;
                let detail = format!(
                    "not settled after {SETTLE_MAX:?}: {calls} calls, {events} events, {tasks} tasks"
                );
                return Err(Error::timeout("micro.testkit", detail));
            }
            clock::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Stops the process as [`Running::stop`] does, and says how that went.
    pub async fn stop(&self) -> Report {
        self.running.stop().await
    }

    fn unsettled(&self) -> Unsettled {
        let inner = &self.running.inner;
        Unsettled {
            calls: inner.server.in_flight(),
            events: self.broker.counts().in_flight,
            tasks: inner.backends.spawned.len(),
        }
    }
}

/// What has not ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unsettled {
    calls: usize,
    events: u64,
    tasks: usize,
}
