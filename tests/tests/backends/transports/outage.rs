//! The server goes away under processes that call each other by it.

use std::time::{Duration, Instant};

use micro::core::error::Retry;
use micro::prelude::*;
use micro::transport::Scope;

use super::Vendor;
use super::node::{Caller, Node, PATIENCE, until};

/// How long a call may take that has nothing to wait for.
const SOON: Duration = Duration::from_secs(5);

/// Fails unless an error says that the server is away, and that nothing was called.
fn is_away(vendor: Vendor, error: &Error) {
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error:?}");
    let detail = error.detail();
    assert!(detail.contains(vendor.scheme) && detail.contains("is away"), "{error:?}");
}

pub(super) async fn a_server_that_is_absent_is_waited_for(vendor: Vendor) {
    let mut server = (vendor.start)();
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let _node = Node::start(vendor, &server, folder.path(), &[]);
    let caller = Caller::new(vendor, &server, folder.path());
    until("the node is registered", async || {
        caller.registry.lookup("probe").await.is_ok_and(|found| found.is_some())
    })
    .await;
    is_away(vendor, &caller.probe.write().await.unwrap_err());
    server.start_again();
    caller.until_answered().await;
    assert_eq!(caller.probe.write().await.unwrap(), "node");
}

pub(super) async fn a_killed_server_fails_calls_safely_or_says_so(vendor: Vendor) {
    let mut server = (vendor.start)();
    let folder = tempfile::tempdir().unwrap();
    let _node = Node::start(vendor, &server, folder.path(), &[]);
    let caller = Caller::new(vendor, &server, folder.path());
    caller.until_answered().await;
    for round in 0..2 {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let probe = caller.probe.clone();
            running.spawn(async move { probe.hang().timeout(PATIENCE).await });
        }
        let mut flood = caller.probe.endless().await.unwrap();
        until("the handlers run", async || caller.probe.gauges().await.unwrap().alive >= 20).await;
        flood.next().await.unwrap().unwrap();
        server.kill();
        let began = Instant::now();
        while let Some(ended) = running.join_next().await {
            let error = ended.unwrap().unwrap_err();
            assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{error:?}");
        }
        let cut = loop {
            match flood.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("a stream that was cut ends as if it were whole"),
            }
        };
        assert_eq!(cut.retry(), Retry::Unknown, "{cut:?}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        for _ in 0..3 {
            let began = Instant::now();
            is_away(vendor, &caller.probe.write().await.unwrap_err());
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        server.start_again();
        let began = Instant::now();
        caller.until_answered().await;
        println!("{} round {round}: answers {:?} after its return", vendor.scheme, began.elapsed());
        assert_eq!(caller.probe.write().await.unwrap(), "node");
        until("no handler is left", async || caller.probe.gauges().await.unwrap().alive == 0).await;
    }
}

pub(super) async fn a_paused_server_holds_calls_no_longer_than_their_deadlines(vendor: Vendor) {
    let server = (vendor.start)();
    let folder = tempfile::tempdir().unwrap();
    let _node = Node::start(vendor, &server, folder.path(), &[]);
    let caller = Caller::new(vendor, &server, folder.path());
    caller.until_answered().await;
    let long = std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1");
    let pause = Duration::from_secs(if long { 30 } else { 3 });
    let timeout = Duration::from_millis(400);
    server.pause();
    let began = Instant::now();
    let mut calls = 0;
    while began.elapsed() < pause {
        let called = Instant::now();
        let error = caller.probe.write().timeout(timeout).await.unwrap_err();
        assert!(matches!(error.code(), 408 | 503), "{error:?}");
        assert!(called.elapsed() < timeout + SOON, "{:?}", called.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
        calls += 1;
    }
    server.resume();
    let resumed = Instant::now();
    caller.until_answered().await;
    println!("{}: {calls} calls, answers {:?} after", vendor.scheme, resumed.elapsed());
    assert_eq!(caller.probe.write().await.unwrap(), "node");
}

pub(super) async fn a_killed_node_is_noticed_by_its_callers(vendor: Vendor) {
    let server = (vendor.start)();
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(vendor, &server, folder.path(), &[]);
    let caller = Caller::new(vendor, &server, folder.path());
    caller.until_answered().await;
    let records = caller.registry.lookup("probe").await.unwrap().unwrap();
    let address = records[0].nodes[0].address.parse().unwrap();
    let probe = caller.probe.clone();
    let hanging = tokio::spawn(async move { probe.hang().timeout(PATIENCE).await });
    until("it hangs", async || caller.probe.gauges().await.unwrap().alive == 1).await;
    node.kill();
    let began = Instant::now();
    let error = hanging.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{error:?}");
    println!("{}: noticed after {:?}", vendor.scheme, began.elapsed());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let transport = (vendor.open)(&Vendor::place(&server), &caller.tasks);
    let scope = Scope::default();
    let refused = async || transport.dial(&address, &scope).await.map(drop).unwrap_err();
    until("nobody listens", async || refused().await.detail().contains("nobody listens")).await;
    let began = Instant::now();
    let error = refused().await;
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error:?}");
    assert!(began.elapsed() < scope.limits.connection.dial_timeout, "{:?}", began.elapsed());
}
