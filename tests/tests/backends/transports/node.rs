//! A service in a process of its own, called from this one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use micro::core::shutdown::TaskTracker;
use micro::prelude::*;
use micro::registry::{Local, Registry};
use micro_tests::probe::ProbeClient;
use micro_tests::server::Server;

use super::Vendor;

/// What has to happen happens within this time, slow machines included.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that serves.
pub(super) struct Node(Child);

/// Returns where nodes find each other: a folder that they make, so that only they may use it.
fn registry_of(folder: &Path) -> PathBuf {
    folder.join("registry")
}

/// What a node is told besides.
pub(super) type Variables<'a> = &'a [(&'a str, &'a str)];

impl Node {
    /// Starts a node that listens by a server, and finds others in a folder.
    pub(super) fn start(
        vendor: Vendor,
        server: &Server,
        folder: &Path,
        more: Variables<'_>,
    ) -> Self {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_node")]);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("MICRO_") {
                command.env_remove(variable);
            }
        }
        command
            .env("MICRO_REGISTRY", format!("local://{}", registry_of(folder).display()))
            .env("MICRO_REGISTER_TTL", "2s")
            .env("MICRO_REGISTER_INTERVAL", "500ms")
            .env("MICRO_TRANSPORT", vendor.url(server))
            .env("MICRO_SERVER_ID", "node")
            .envs(more.iter().copied())
            .stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Ends the process in the middle of whatever it does.
    pub(super) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill().is_err();
        let _unknown = self.0.wait().is_err();
    }
}

/// A client in this process.
pub(super) struct Caller {
    pub(super) probe: ProbeClient,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) tasks: TaskTracker,
}

impl Caller {
    pub(super) fn new(vendor: Vendor, server: &Server, folder: &Path) -> Self {
        let tasks = TaskTracker::new();
        let transport = (vendor.open)(&Vendor::place(server), &tasks);
        let registry: Arc<dyn Registry> = Arc::new(Local::open_at(registry_of(folder)).unwrap());
        let client = Client::builder()
            .transport(transport)
            .registry(Arc::clone(&registry))
            .tasks(tasks.clone())
            .build();
        Self { probe: client.into(), registry, tasks }
    }

    /// Calls until the node answers.
    pub(super) async fn until_answered(&self) {
        let answered = async {
            while self.probe.read().timeout(Duration::from_secs(1)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        assert!(answered.is_ok(), "{:?}", self.probe.read().await);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Waits until something holds.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "in vain: {what}");
}

pub(super) async fn calls_of_every_kind_cross_processes(vendor: Vendor) {
    let server = (vendor.start)();
    let folder = tempfile::tempdir().unwrap();
    let port = micro_tests::server::free_port();
    let at = format!("127.0.0.1:{port}");
    let _node = Node::start(vendor, &server, folder.path(), &[("MICRO_SERVER_ADDRESS", &at)]);
    let caller = Caller::new(vendor, &server, folder.path());
    caller.until_answered().await;
    let probe = &caller.probe;

    assert_eq!(probe.write().await.unwrap(), "node");
    let counted = probe.count(100).await.unwrap().collect(1000).await.unwrap();
    assert_eq!(counted, (1..=100).collect::<Vec<_>>());
    assert_eq!(probe.sum(Streaming::from_iter(1..=100)).await.unwrap(), 5050);
    let squares = probe.square(Streaming::from_iter(1..=100)).await.unwrap();
    let squares = squares.collect(1000).await.unwrap();
    assert_eq!(squares, (1..=100).map(|n| n * n).collect::<Vec<_>>());

    // The address says by what the node is reached, and the port is served as well.
    let records = caller.registry.lookup("probe").await.unwrap().unwrap();
    let address = &records[0].nodes[0].address;
    assert!(address.starts_with(&format!("{}://micro.node.", vendor.scheme)), "{address}");
    let client = Client::builder().address(at.parse().unwrap()).build();
    let by_port: ProbeClient = client.into();
    assert_eq!(by_port.write().await.unwrap(), "node");

    // Whoever gives a call up drops its handler, and a deadline ends one.
    let late = probe.hang().timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(late.code(), 408);
    let (waiting, caller_of) = (probe.clone(), probe.clone());
    let call = tokio::spawn(async move { waiting.hang().timeout(PATIENCE).await });
    let alive = async || caller_of.gauges().await.unwrap().alive;
    until("the handler runs", async || alive().await == 1).await;
    call.abort();
    until("the handler is dropped", async || alive().await == 0).await;
}
