//! What becomes of a registry whose server is away for a while.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro::driver::Link;
use micro::registry::{Cached, Event, Lease, Registry, Watch};
use micro::store::{Key, Space, Store, Write};

use micro_tests::server::etcd;

use super::{BACK_WITHIN, PATIENCE, Process, brisk, gateway, is_long, record, until};
use crate::proxy::Proxy;

const TTL: Duration = Duration::from_secs(15);
const KEYS: &str = "/micro/registry/";

/// Waits until the server answers another client, and then until it has so many records; returns
/// how long the latter took.
async fn records_back(port: u16, count: usize) -> Duration {
    until("the server answers", async || gateway::try_range(port, KEYS).await.is_some()).await;
    let holds = async || gateway::try_range(port, KEYS).await.is_some_and(|f| f.len() == count);
    until("the records are back", holds).await
}

async fn next(watch: &mut Watch) -> Event {
    tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap()
}

pub(super) async fn what_is_absent_at_start_is_used_once_it_is_there() {
    let mut server = etcd();
    // One that is killed while it makes its folder leaves a folder that it refuses.
    until("it answers", async || gateway::try_range(server.port(), KEYS).await.is_some()).await;
    server.kill();
    let began = Instant::now();
    let process = Process::new(server.port());
    let (registry, store) = (Arc::new(process.registry()), process.store());
    let lease = Lease::start(registry.clone(), record("a", "1"), &brisk(), &process.tasks).unwrap();
    assert!(began.elapsed() < Duration::from_millis(200), "nothing waits for the server");
    let (space, key) = (Space::unbound(), Key::new("k").unwrap());
    let write = || store.write(&space, Write::new(key.clone(), "1"));
    for _ in 0..20 {
        let errors = [
            write().await.unwrap_err(),
            registry.lookup("a").await.unwrap_err(),
            registry.watch(None).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "a refused connection is told at once");
    assert!(!process.etcd.is_up() && !lease.is_registered());
    server.start_again();
    let took = records_back(server.port(), 1).await;
    assert!(took <= BACK_WITHIN, "{took:?}");
    write().await.unwrap();
    assert!(process.etcd.is_up());
    lease.close().await.unwrap();
    assert_eq!(gateway::range(server.port(), KEYS).await, []);
}

pub(super) async fn a_server_that_lost_its_data_gets_the_record_back() {
    let mut server = etcd();
    let process = Process::new(server.port());
    let registry = Arc::new(process.registry());
    // No heartbeat falls into the outage: it is noticed all the same.
    let limits = Limits::default();
    let lease = Lease::start(registry.clone(), record("a", "1"), &limits, &process.tasks).unwrap();
    lease.registered().await.unwrap();
    let reader = Process::new(server.port());
    let cached = Cached::new(Arc::new(reader.registry()), reader.tasks.clone());
    let view = cached.view("a");
    view.ready().await.unwrap();
    assert_eq!(view.load().instances.len(), 1);
    // So that the past of the server is longer than its future.
    for n in 0..20 {
        gateway::put(server.port(), "/x", &n.to_string()).await;
    }
    server.kill();
    std::fs::remove_dir_all(server.folder().join("data")).unwrap();
    assert_eq!(view.load().instances.len(), 1);
    server.start_again();
    let took = records_back(server.port(), 1).await;
    assert!(took <= BACK_WITHIN, "{took:?}");
    println!("record back {took:?} after the server answered");
    // The reader follows the history that began anew.
    registry.register(&record("a", "22"), TTL).await.unwrap();
    until("the reader sees the other node", async || view.load().instances.len() == 2).await;
}

pub(super) async fn a_paused_server_takes_no_node_from_readers() {
    let server = etcd();
    let process = Process::new(server.port());
    let registry = Arc::new(process.registry());
    let records = ["1", "22", "333", "4444"].map(|id| record("a", id));
    let leases = records
        .map(|record| Lease::start(registry.clone(), record, &brisk(), &process.tasks).unwrap());
    for lease in &leases {
        lease.registered().await.unwrap();
    }
    let reader = Process::new(server.port());
    let cached = Cached::new(Arc::new(reader.registry()), reader.tasks.clone());
    let view = cached.view("a");
    view.ready().await.unwrap();
    until("all nodes are seen", async || view.load().instances.len() == 4).await;
    let pause = Duration::from_secs(if is_long() { 30 } else { 6 });
    server.pause();
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < pause {
        assert_eq!(view.load().instances.len(), 4);
        let asked = Instant::now();
        // The signal takes a moment to stop all threads of the server.
        let Err(error) = registry.lookup("a").await else { continue };
        assert_eq!(error.code(), 503);
        assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
        answered += 1;
    }
    assert!(!process.etcd.is_up(), "a server that says nothing is noticed");
    assert!(answered > 0, "the server was never away");
    println!("{answered} lookups were refused in {pause:?}");
    server.resume();
    let seen = async {
        let mut fewest = usize::MAX;
        let watched = Instant::now();
        while watched.elapsed() < Duration::from_secs(5) {
            fewest = fewest.min(view.load().instances.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fewest
    };
    let (took, fewest) = tokio::join!(records_back(server.port(), 4), seen);
    assert!(took <= BACK_WITHIN, "{took:?}");
    assert_eq!(fewest, 4, "leases that ended while nobody could renew them take no node away");
    println!("records back {took:?} after the server answered");
}

pub(super) async fn a_watch_goes_on_with_the_next_revision() {
    let server = etcd();
    let proxy = Proxy::to(server.port()).await;
    let (near, far) = (Process::new(server.port()), Process::new(proxy.port()));
    let registry = near.registry();
    registry.register(&record("a", "1"), TTL).await.unwrap();
    let mut watch = far.registry().watch(Some("a")).await.unwrap();
    assert!(matches!(next(&mut watch).await, Event::Reset(records) if records.len() == 1));
    for round in 0..3 {
        proxy.cut();
        until("the break is noticed", async || !far.etcd.is_up()).await;
        let ids: Vec<String> = (0..50).map(|n| format!("{round}-{n}")).collect();
        for id in &ids {
            registry.register(&record("a", id), TTL).await.unwrap();
        }
        registry.register(&record("b", "other"), TTL).await.unwrap();
        proxy.mend();
        for id in &ids {
            let event = next(&mut watch).await;
            assert_eq!(event, Event::Update(record("a", id)), "in order, without a gap");
        }
    }
    // Long after a break a node that leaves is told as such; right after it, as a whole state.
    registry.deregister(&record("a", "1")).await.unwrap();
    match next(&mut watch).await {
        Event::Reset(records) => {
            let nodes: BTreeSet<_> =
                records.iter().flat_map(|record| &record.nodes).map(|node| &node.id).collect();
            assert_eq!(nodes.len(), 150);
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_watch_whose_revision_is_compacted_begins_anew() {
    let server = etcd();
    let proxy = Proxy::to(server.port()).await;
    let (near, far) = (Process::new(server.port()), Process::new(proxy.port()));
    let registry = near.registry();
    registry.register(&record("a", "1"), TTL).await.unwrap();
    registry.register(&record("a", "22"), TTL).await.unwrap();
    let mut watch = far.registry().watch(None).await.unwrap();
    assert!(matches!(next(&mut watch).await, Event::Reset(_)));
    proxy.cut();
    until("the break is noticed", async || !far.etcd.is_up()).await;
    registry.deregister(&record("a", "1")).await.unwrap();
    registry.register(&record("a", "333"), TTL).await.unwrap();
    let revision = gateway::put(server.port(), "/x", "1").await;
    gateway::compact(server.port(), revision).await;
    proxy.mend();
    match next(&mut watch).await {
        Event::Reset(records) => {
            let nodes: Vec<_> =
                records.iter().flat_map(|record| &record.nodes).map(|node| &*node.id).collect();
            assert_eq!(nodes, ["22", "333"]);
        }
        other => panic!("{other:?}"),
    }
    registry.register(&record("a", "4444"), TTL).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Update(record("a", "4444")));
}

pub(super) async fn a_record_removed_by_hand_is_back_with_the_next_heartbeat() {
    let server = etcd();
    let process = Process::new(server.port());
    let registry = process.registry();
    for _ in 0..2 {
        registry.register(&record("a", "1"), TTL).await.unwrap();
        assert_eq!(gateway::range(server.port(), KEYS).await.len(), 1);
        gateway::delete(server.port(), "/micro/registry/a/1").await;
    }
    registry.register(&record("a", "1"), TTL).await.unwrap();
    assert_eq!(gateway::range(server.port(), KEYS).await.len(), 1);
    assert_eq!(gateway::leases(server.port()).await, 1, "on the lease that it had");
    registry.deregister(&record("a", "1")).await.unwrap();
    assert_eq!(gateway::leases(server.port()).await, 0);
}

pub(super) async fn many_records_are_renewed_on_one_stream() {
    let server = etcd();
    let process = Process::new(server.port());
    let registry = process.registry();
    let ids: Vec<String> = (0..40).map(|n| format!("{n:03}")).collect();
    for id in ids.iter().chain(&ids).chain(&ids) {
        registry.register(&record("a", id), TTL).await.unwrap();
    }
    let streams = "grpc_server_started_total";
    let labels = "grpc_method=\"LeaseKeepAlive\"";
    assert_eq!(gateway::metric(server.port(), streams, labels).await, 1.0);
    let grants = "grpc_method=\"LeaseGrant\"";
    assert_eq!(gateway::metric(server.port(), streams, grants).await, 40.0);
}
