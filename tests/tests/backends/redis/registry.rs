//! The registry, and what becomes of it when its server fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::core::limits::{Limits, RegistryLimits};
use micro::core::shutdown::TaskTracker;
use micro::registry::{Cached, Event, Lease, Node, Record, Redis, Registry};
use micro_tests::server::{REDIS, Server, redis, trial};

use super::{connect, pause, prefix, until};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("redis::a_record_is_back_when_its_server_is", &REDIS, back_in_time),
        trial("redis::a_lease_outlasts_a_paused_server", &REDIS, paused),
        trial("redis::a_registry_works_once_its_server_is_there", &REDIS, works_once_there),
        trial("redis::the_registry_holds_five_thousand_nodes", &REDIS, many_nodes),
        trial("redis::a_full_registry_refuses_one_more", &REDIS, full),
    ]
}

fn open(server: &Server, prefix: &str) -> Arc<Redis> {
    Arc::new(Redis::new(connect(server), prefix, RegistryLimits::default()))
}

fn record(service: &str, id: &str, port: u16) -> Record {
    let address = format!("127.0.0.1:{port}");
    let node = Node { id: id.to_owned(), address, ..Node::default() };
    Record { name: service.to_owned(), nodes: vec![node], ..Record::default() }
}

async fn back_in_time() {
    let mut server = redis();
    let prefix = prefix();
    let (registry, reader) = (open(&server, &prefix), open(&server, &prefix));
    let tasks = TaskTracker::new();
    let cached = Cached::new(Arc::<Redis>::clone(&reader) as _, tasks.clone());
    let kept = record("shop", "a", 1);
    let lease = Lease::start(registry, kept.clone(), &Limits::default(), &tasks).unwrap();
    let lookup = || async { cached.lookup("shop").await.ok().flatten() };
    until(PATIENCE, lookup).await;
    for _ in 0..2 {
        server.kill();
        // The server comes back without memory.
        std::fs::remove_dir_all(server.folder().join("appendonlydir")).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stale = cached.lookup("shop").await.unwrap().unwrap();
        assert_eq!(
            stale,
            std::slice::from_ref(&kept),
            "what is known is served while the server is away"
        );
        let began = Instant::now();
        server.start_again();
        let found = || async { reader.lookup("shop").await.ok().flatten() };
        until(PATIENCE, found).await;
        let took = began.elapsed();
        println!("the record was back {took:?} after its server");
        assert!(took < Duration::from_secs(2), "it took {took:?}");
    }
    lease.close().await.unwrap();
    assert_eq!(reader.lookup("shop").await.unwrap(), None);
    tasks.abort_all();
}

async fn paused() {
    let server = redis();
    let prefix = prefix();
    let (registry, reader) = (open(&server, &prefix), open(&server, &prefix));
    let tasks = TaskTracker::new();
    let cached = Cached::new(Arc::<Redis>::clone(&reader) as _, tasks.clone());
    let kept = record("shop", "a", 1);
    let lease = Lease::start(registry, kept.clone(), &Limits::default(), &tasks).unwrap();
    until(PATIENCE, || async { cached.lookup("shop").await.ok().flatten() }).await;
    server.pause();
    let then = Instant::now() + pause();
    while Instant::now() < then {
        let known = cached.lookup("shop").await.unwrap().unwrap();
        assert_eq!(known, std::slice::from_ref(&kept));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.resume();
    let (_, took) = until(PATIENCE, || async { reader.lookup("shop").await.ok().flatten() }).await;
    println!("the record was back {took:?} after its server went on");
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    lease.close().await.unwrap();
    tasks.abort_all();
}

async fn works_once_there() {
    let mut server = redis();
    server.kill();
    let registry = open(&server, "p");
    let began = Instant::now();
    assert_eq!(registry.lookup("shop").await.unwrap_err().code(), 503);
    assert_eq!(registry.watch(None).await.unwrap_err().code(), 503);
    assert!(began.elapsed() < Duration::from_secs(8));
    server.start_again();
    let (mut watch, _) = until(PATIENCE, || async { registry.watch(None).await.ok() }).await;
    assert_eq!(watch.next().await, Some(Event::Reset(Vec::new())));
    let one = record("shop", "a", 1);
    registry.register(&one, Duration::from_secs(15)).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Update(one.clone())));
    server.kill();
    server.start_again();
    // Whatever was missed is in the state.
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert_eq!(next, Some(Event::Reset(vec![one])));
}

async fn many_nodes() {
    let server = redis();
    let registry = open(&server, "p");
    let began = Instant::now();
    for batch in 0..50_u16 {
        let all = (0..100).map(|n| {
            let registry = Arc::clone(&registry);
            super::spawn(async move {
                let one = record("many", &format!("{batch}-{n}"), batch * 100 + n + 1);
                registry.register(&one, Duration::from_secs(60)).await
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
    }
    println!("5000 nodes were registered in {:?}", began.elapsed());
    let began = Instant::now();
    let found = registry.lookup("many").await.unwrap().unwrap();
    assert_eq!(found.iter().map(|record| record.nodes.len()).sum::<usize>(), 5000);
    println!("and read in {:?}", began.elapsed());
    let mut watch = registry.watch(Some("many")).await.unwrap();
    let Some(Event::Reset(state)) = watch.next().await else { panic!("no state") };
    assert_eq!(state.iter().map(|record| record.nodes.len()).sum::<usize>(), 5000);
    let one = record("many", "one-more", 1);
    let began = Instant::now();
    registry.register(&one, Duration::from_secs(60)).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Update(one)));
    println!("one more was told {:?} after it was registered", began.elapsed());
}

async fn full() {
    let server = redis();
    let mut limits = RegistryLimits::default();
    (limits.nodes_per_service_max, limits.services_max) = (3, 2);
    let registry = Redis::new(connect(&server), "p", limits);
    let ttl = Duration::from_secs(60);
    let register = async |service: &str, id: &str| {
        registry.register(&record(service, id, 1), ttl).await.map_err(|error| error.code())
    };
    for id in ["1", "2", "3", "3"] {
        register("a", id).await.unwrap();
    }
    assert_eq!(register("a", "4").await, Err(429));
    register("b", "1").await.unwrap();
    for service in ["c", "d", "e", "f"] {
        assert_eq!(register(service, "1").await, Err(429));
    }
    registry.deregister(&record("b", "1", 1)).await.unwrap();
    register("c", "1").await.unwrap();
}
