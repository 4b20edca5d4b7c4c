//! ZooKeeper: the registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::core::error::Retry;
use micro::core::limits::{Limits, RegistryLimits};
use micro::core::shutdown::{Shutdown, TaskTracker};
use micro::driver::{Drivers, Link, Server, ZooKeeper};
use micro::registry::{self, Cached, Event, Lease, Node, Record, Registry};
use micro::service::open;
use micro::testkit::registry::{Subject, conformance};
use micro::transport::Scope;

use micro_tests::server::{ZOOKEEPER, trial, zookeeper};

/// How long anything may take that is not measured: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon after a server answers again a record has to be back.
const BACK_WITHIN: Duration = Duration::from_secs(2);

const TTL: Duration = Duration::from_secs(15);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("zookeeper::it_conforms", &ZOOKEEPER, it_conforms),
        trial("zookeeper::what_is_absent_is_used_later", &ZOOKEEPER, what_is_absent_is_used_later),
        trial("zookeeper::a_restart_loses_no_record", &ZOOKEEPER, a_restart_loses_no_record),
        trial("zookeeper::lost_data_come_back", &ZOOKEEPER, lost_data_come_back),
        trial("zookeeper::a_pause_takes_no_node_away", &ZOOKEEPER, a_pause_takes_no_node_away),
        trial("zookeeper::a_process_takes_its_nodes", &ZOOKEEPER, a_process_takes_its_nodes),
        trial("zookeeper::a_url_opens_it", &ZOOKEEPER, a_url_opens_it),
    ]
}

/// What one process has.
struct Process {
    zookeeper: Arc<ZooKeeper>,
    tasks: TaskTracker,
}

impl Process {
    fn new(port: u16) -> Self {
        let (server, tasks) = (Server::new("127.0.0.1", port), TaskTracker::new());
        Self { zookeeper: Arc::new(ZooKeeper::open(&server, &tasks).unwrap()), tasks }
    }

    /// Waits until the server answers, which it does some time after its port is open.
    async fn ready(port: u16) -> Self {
        let process = Self::new(port);
        until("the server answers", async || process.zookeeper.is_up()).await;
        process
    }

    fn registry(&self) -> registry::ZooKeeper {
        registry::ZooKeeper::new(Arc::clone(&self.zookeeper), RegistryLimits::default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn record(service: &str, id: &str) -> Record {
    let address = "10.0.0.1:1".to_owned();
    let node = Node { id: id.to_owned(), address, ..Node::default() };
    Record { name: service.to_owned(), nodes: vec![node], ..Record::default() }
}

fn count(records: Option<Vec<Record>>) -> usize {
    records.iter().flatten().map(|record| record.nodes.len()).sum()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Waits until the server answers a process of its own, and then until it has so many records.
async fn records_back(port: u16, wanted: usize) -> Duration {
    let other = Process::new(port);
    let registry = other.registry();
    until("the server answers", async || registry.lookup("a").await.is_ok()).await;
    until("the records are back", async || {
        registry.lookup("a").await.is_ok_and(|records| count(records) == wanted)
    })
    .await
}

async fn it_conforms() {
    let server = zookeeper();
    let (one, two) = (Process::ready(server.port()).await, Process::ready(server.port()).await);
    let next = AtomicUsize::new(0);
    let outcome = conformance(async || {
        let namespace = format!("n{}", next.fetch_add(1, Ordering::Relaxed));
        let handle = |process: &Process| Arc::new(process.registry().within(&namespace));
        Subject::new(handle(&one), handle(&two)).with_ttl(Duration::from_secs(2))
    });
    outcome.await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn what_is_absent_is_used_later() {
    let mut server = zookeeper();
    server.kill();
    let process = Process::new(server.port());
    let registry = Arc::new(process.registry());
    let limits = Limits::default();
    let lease = Lease::start(registry.clone(), record("a", "1"), &limits, &process.tasks).unwrap();
    let began = Instant::now();
    for _ in 0..10 {
        let error = registry.lookup("a").await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "a refused connection is told at once");
    assert!(!process.zookeeper.is_up());
    server.start_again();
    let took = records_back(server.port(), 1).await;
    assert!(took <= BACK_WITHIN, "{took:?}");
    lease.close().await.unwrap();
    assert_eq!(registry.list().await.unwrap(), [""; 0]);
}

async fn a_restart_loses_no_record() {
    let mut server = zookeeper();
    let process = Process::ready(server.port()).await;
    let registry = process.registry();
    let mut watch = registry.watch(Some("a")).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Reset(vec![])));
    registry.register(&record("a", "1"), TTL).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Update(record("a", "1"))));
    server.kill();
    server.start_again();
    let took = records_back(server.port(), 1).await;
    assert!(took <= BACK_WITHIN, "{took:?}");
    until("it registers again", async || registry.register(&record("a", "2"), TTL).await.is_ok())
        .await;
    // Whatever came in between, the watch ends with both.
    let both = async {
        loop {
            match watch.next().await.unwrap() {
                Event::Update(found) if found == record("a", "2") => return,
                Event::Reset(found) if count(Some(found.clone())) == 2 => return,
                other => println!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
}

async fn lost_data_come_back() {
    let mut server = zookeeper();
    let process = Process::ready(server.port()).await;
    let registry = Arc::new(process.registry());
    let limits = Limits::default();
    let lease = Lease::start(registry.clone(), record("a", "1"), &limits, &process.tasks).unwrap();
    lease.registered().await.unwrap();
    let reader = Process::ready(server.port()).await;
    let cached = Cached::new(Arc::new(reader.registry()), reader.tasks.clone());
    let view = cached.view("a");
    view.ready().await.unwrap();
    server.kill();
    std::fs::remove_dir_all(server.folder().join("data")).unwrap();
    assert_eq!(view.load().instances.len(), 1);
    server.start_again();
    let took = records_back(server.port(), 1).await;
    assert!(took <= BACK_WITHIN, "{took:?}");
    println!("record back {took:?} after the server answered");
    registry.register(&record("a", "2"), TTL).await.unwrap();
    until("the reader sees the other node", async || view.load().instances.len() == 2).await;
}

async fn a_pause_takes_no_node_away() {
    let server = zookeeper();
    let process = Process::ready(server.port()).await;
    let registry = Arc::new(process.registry());
    let limits = Limits::default();
    let leases = ["1", "2", "3", "4"].map(|id| {
        Lease::start(registry.clone(), record("a", id), &limits, &process.tasks).unwrap()
    });
    for lease in &leases {
        lease.registered().await.unwrap();
    }
    let reader = Process::ready(server.port()).await;
    let cached = Cached::new(Arc::new(reader.registry()), reader.tasks.clone());
    let view = cached.view("a");
    view.ready().await.unwrap();
    until("all nodes are seen", async || view.load().instances.len() == 4).await;
    let is_long = std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1");
    let pause = Duration::from_secs(if is_long { 30 } else { 3 });
    server.pause();
    let began = Instant::now();
    while began.elapsed() < pause {
        let asked = Instant::now();
        let _refused = registry.lookup("a").await.is_err();
        assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
        assert_eq!(view.load().instances.len(), 4);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.resume();
    let seen = async {
        let (mut fewest, watched) = (usize::MAX, Instant::now());
        while watched.elapsed() < Duration::from_secs(5) {
            fewest = fewest.min(view.load().instances.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fewest
    };
    let (took, fewest) = tokio::join!(records_back(server.port(), 4), seen);
    assert!(took <= BACK_WITHIN, "{took:?}");
    assert_eq!(fewest, 4);
    println!("records back {took:?} after the server answered");
}

async fn a_process_takes_its_nodes() {
    let server = zookeeper();
    let process = Process::ready(server.port()).await;
    let other = Process::ready(server.port()).await;
    process.registry().register(&record("a", "1"), TTL).await.unwrap();
    let registry = other.registry();
    assert_eq!(count(registry.lookup("a").await.unwrap()), 1);
    // The session ends with its connection.
    drop(process);
    until("the node is gone", async || registry.lookup("a").await.unwrap().is_none()).await;
}

async fn a_url_opens_it() {
    let server = zookeeper();
    let (tasks, drivers) = (TaskTracker::new(), Drivers::default());
    let scope = Scope::new(Arc::new(Limits::default()), tasks.clone(), Shutdown::new());
    let url = format!("zookeeper://{}/staging", server.address());
    drop(Process::ready(server.port()).await);
    let registry = open::registry(&url, &scope, &drivers).unwrap();
    registry.register(&record("a/b", "1"), TTL).await.unwrap();
    let within = Process::ready(server.port()).await;
    let within = within.registry().within("staging");
    assert_eq!(within.list().await.unwrap(), ["a/b"]);
    let error = open::registry(&format!("{url}?ttl=5s"), &scope, &drivers).unwrap_err();
    assert_eq!(error.detail(), "the registry `zookeeper` has no option `ttl`");
    tasks.abort_all();
}
