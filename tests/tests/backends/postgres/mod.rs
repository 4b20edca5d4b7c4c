//! PostgreSQL: its store, its broker, and what they do when it fails.

mod broker;
mod broker_outage;
mod speed;
mod store;
mod store_outage;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::Broker;
use micro::core::clock;
use micro::core::shutdown::TaskTracker;
use micro::driver::Drivers;
use micro::service::open;
use micro::store::Store;
use micro::transport::Scope;
use micro_tests::server::Server;
use tokio_postgres::NoTls;

/// What has to happen happens within this time, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    [
        store::trials(),
        store_outage::trials(),
        broker::trials(),
        broker_outage::trials(),
        speed::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A server with databases of their own for whoever asks.
struct Lab {
    server: Server,
    tasks: TaskTracker,
    made: AtomicUsize,
}

impl Lab {
    fn new() -> Self {
        let server = micro_tests::server::postgres();
        Self { server, tasks: TaskTracker::new(), made: AtomicUsize::new(0) }
    }

    /// Connects without the crate.
    async fn bare(&self, database: &str) -> tokio_postgres::Client {
        let port = self.server.port();
        let address = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
        eventually(async || {
            let (client, connection) = tokio_postgres::connect(&address, NoTls).await.ok()?;
            let _detached = self.tasks.spawn("bare", async move {
                let _ended = connection.await.is_err();
            });
            Some(client)
        })
        .await
    }

    /// Makes an empty database and returns its name.
    async fn database(&self) -> String {
        let name = format!("place{}", self.made.fetch_add(1, Ordering::Relaxed));
        let client = self.bare("postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        name
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.server.address())
    }
}

/// A process that uses the server: connections and tasks of its own.
struct Process {
    scope: Scope,
    drivers: Drivers,
}

impl Process {
    fn new() -> Self {
        Self { scope: Scope::default(), drivers: Drivers::default() }
    }

    async fn store(&self, url: &str) -> Arc<dyn Store> {
        open::store(url, "shop", &self.scope, &self.drivers).await.unwrap()
    }

    fn broker(&self, url: &str) -> Arc<dyn Broker> {
        let registry = open::registry("memory", &self.scope, &self.drivers).unwrap();
        let transport = open::transport("memory", &self.scope, &self.drivers).unwrap();
        open::broker(url, &registry, &transport, &self.scope, &self.drivers).unwrap()
    }

    /// Ends at once, as when it is killed.
    fn kill(&self) {
        self.scope.tasks.abort_all();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until there is an answer.
async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = clock::after(clock::now(), PATIENCE);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(clock::now() < deadline, "it does not come about within {PATIENCE:?}");
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether tests take the long way.
fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

fn short_or_long<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// Makes tests of functions.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        vec![$(micro_tests::server::trial(
            concat!("postgres: ", stringify!($test)),
            &micro_tests::server::POSTGRES,
            $test,
        )),*]
    };
}
use tests;
