//! Many nodes: what a lookup costs, and what the server has to do.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use micro::core::shutdown::TaskTracker;
use micro::registry::{Cached, Node, Record, Registry, View};

use micro_tests::server::etcd;

use super::{Process, gateway, is_long, until};

const TTL: Duration = Duration::from_secs(600);
const ALL: &str = "grpc_server_msg_received_total";

/// Registers nodes, some at a time, each by the registry of its process.
async fn register(registries: &[Arc<micro::registry::Etcd>], service: &str, ids: Vec<String>) {
    let tasks = TaskTracker::new();
    let count = registries.len() * 8;
    let parts: Vec<Vec<String>> =
        (0..count).map(|n| ids.iter().skip(n).step_by(count).cloned().collect()).collect();
    let work: Vec<_> = parts
        .into_iter()
        .enumerate()
        .map(|(n, ids)| {
            let registry = Arc::clone(&registries[n % registries.len()]);
            let service = service.to_owned();
            tasks.spawn("register", async move {
                for id in ids {
                    let address = "10.0.0.1:1".to_owned();
                    let nodes = vec![Node { id, address, ..Node::default() }];
                    let record = Record { name: service.clone(), nodes, ..Record::default() };
                    registry.register(&record, TTL).await.unwrap();
                }
            })
        })
        .collect();
    for part in work {
        part.await.unwrap();
    }
}

/// The least time of a few rounds of what every call does to learn the nodes.
fn cost(cached: &Cached, service: &str) -> Duration {
    let rounds = (0..7).map(|_| {
        let start = Instant::now();
        for _ in 0..5_000 {
            let view: Arc<View> = cached.view(service);
            black_box(view.load());
        }
        start.elapsed()
    });
    rounds.min().unwrap()
}

pub(super) async fn many_nodes_cost_a_lookup_nothing() {
    let many = if is_long() { 5_000 } else { 500 };
    let server = etcd();
    let port = server.port();
    let writers: Vec<_> = (0..4).map(|_| Process::new(port)).collect();
    let registries: Vec<_> = writers.iter().map(|process| Arc::new(process.registry())).collect();
    let ids = |name: &str, count: usize| (0..count).map(|n| format!("{name}-{n}")).collect();
    register(&registries, "few", ids("few", 5)).await;
    register(&registries, "many", ids("many", many)).await;

    // One watch for each service, however many read it.
    let watchers = gateway::metric(port, "etcd_debugging_mvcc_watcher_total", "").await;
    let reader = Process::new(port);
    let cached = Cached::new(Arc::new(reader.registry()), reader.tasks.clone());
    let views: Vec<_> = (0..100).map(|_| [cached.view("few"), cached.view("many")]).collect();
    for view in views.iter().flatten() {
        view.ready().await.unwrap();
    }
    until("all are seen", async || views[0][1].load().instances.len() == many).await;
    // A watch begins with the state, and with the server a moment later.
    let watching =
        async || gateway::metric(port, "etcd_debugging_mvcc_watcher_total", "").await - watchers;
    until("the services are watched", async || watching().await >= 2.0).await;
    assert_eq!(watching().await, 2.0, "watches of two services");

    let (few, all) = (cost(&cached, "few"), cost(&cached, "many"));
    println!("5,000 lookups of 5 nodes: {few:?}, of {many}: {all:?}");
    assert!(all < few * 2, "{few:?} {all:?}");

    // A round of heartbeats, and then as many processes that start again under other ids.
    let before = gateway::metric(port, ALL, "").await;
    register(&registries, "many", ids("many", many)).await;
    let steady = gateway::metric(port, ALL, "").await - before;
    let again: Vec<_> = (0..4).map(|_| Process::new(port)).collect();
    let again: Vec<_> = again.iter().map(|process| Arc::new(process.registry())).collect();
    let before = gateway::metric(port, ALL, "").await;
    let start = Instant::now();
    register(&again, "many", ids("again", many)).await;
    let restart = gateway::metric(port, ALL, "").await - before;
    let took = start.elapsed();
    println!("{many} nodes: {steady} requests to renew, {restart} to start again, in {took:?}");
    assert!(restart <= steady * 1.2, "{steady} {restart}");
    until("all are seen again", async || views[0][1].load().instances.len() == 2 * many).await;
    println!("seen by a reader {:?} after it began", start.elapsed());
}
