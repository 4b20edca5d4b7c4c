//! The end of a process, asked for or not, and the start after it.

use std::fs;
use std::time::Duration;

use micro::core::error::Retry;
use micro_tests::chain::FrontClient;
use micro_tests::probe::ProbeClient;

use crate::harness::http::get;
use crate::harness::{PATIENCE, Place, Process, process, until};

/// Calls in a row that go elsewhere before it is believed that all do.
const ELSEWHERE: usize = 50;

/// Starts a server whose stop is held until the path `release` exists.
async fn serve_held(place: &Place, name: &str) -> Process {
    place.server(name).env("TEST_HOLD_STOP", place.path("release")).serving().await
}

/// Waits until a server takes no calls any more, whoever sends them.
async fn refused(probe: &ProbeClient, address: &str) {
    until("calls are refused", async || {
        let refused = probe.write().to(address).retries(0).await;
        refused.is_err_and(|error| error.retry() == Retry::Safe)
    })
    .await;
}

async fn nodes(place: &Place, service: &str) -> Vec<String> {
    let records = place.registry().lookup(service).await.unwrap().unwrap_or_default();
    records.iter().flat_map(|record| &record.nodes).map(|node| node.id.clone()).collect()
}

#[tokio::test]
async fn a_stopping_server_finishes_what_runs_and_takes_nothing_more() {
    let place = Place::new();
    let (mut a, _b) = (serve_held(&place, "a").await, place.serve("b").await);
    let address = a.address().await;
    let probe: ProbeClient = place.client();
    let done = place.path("done");
    let running = probe.wait(done.display().to_string()).to(&address).timeout(PATIENCE);
    let running = tokio::task::JoinSet::from_iter([running]);
    a.line("waiting for").await;
    assert_eq!(get(&address, "/readyz").await.status, 200);

    a.signal("TERM").await;
    a.line("stop is held").await;
    assert_eq!(get(&address, "/readyz").await.status, 503);
    assert_eq!(get(&address, "/healthz").await.status, 200);
    assert_eq!(probe.write().to(&address).await.unwrap(), "a");

    fs::write(place.path("release"), "").unwrap();
    refused(&probe, &address).await;
    for _ in 0..ELSEWHERE {
        assert_eq!(probe.write().await.unwrap(), "b");
    }
    // New connections, after the last call was accepted.
    assert_eq!(get(&address, "/readyz").await.status, 503);
    assert_eq!(get(&address, "/healthz").await.status, 200);
    fs::write(done, "").unwrap();
    assert_eq!(running.join_all().await.pop().unwrap().unwrap(), "a");
    assert_eq!(a.end().await.code(), Some(0));
    assert_eq!(nodes(&place, "probe").await, ["probe-b"]);
    let files = fs::read_dir(place.registry_path()).unwrap().count();
    assert_eq!(files, nodes(&place, "greeter").await.len() + 1, "files of the ended node remain");
}

#[tokio::test]
async fn a_second_signal_cuts_short_and_says_so() {
    let place = Place::new();
    let mut a = serve_held(&place, "a").await;
    let address = a.address().await;
    let probe: ProbeClient = place.client();
    let hanging = tokio::task::JoinSet::from_iter([probe.hang().timeout(PATIENCE)]);
    until("the call runs", async || probe.gauges().await.unwrap().alive == 1).await;

    a.signal("TERM").await;
    fs::write(place.path("release"), "").unwrap();
    refused(&probe, &address).await;
    a.signal("TERM").await;
    assert_eq!(a.end().await.code(), Some(1));
    a.line("1 cut").await;
    let error = hanging.join_all().await.pop().unwrap().unwrap_err();
    assert_eq!(error.retry(), Retry::Unknown, "{error}");
    assert_eq!(nodes(&place, "probe").await, [""; 0]);
}

#[tokio::test]
async fn a_killed_server_leaves_nothing_that_its_successor_trips_over() {
    let place = Place::new();
    let socket = format!("unix:{}", place.path("socket").display());
    let start = || place.server("a").env("MICRO_SERVER_ADDRESS", &socket).serving();
    let mut first = start().await;
    let probe: ProbeClient = place.client();
    assert_eq!(probe.write().await.unwrap(), "a");
    first.kill().await;
    assert_eq!(nodes(&place, "probe").await, [""; 0]);
    let mut second = start().await;
    assert_eq!(probe.write().await.unwrap(), "a");
    assert_eq!(nodes(&place, "probe").await, ["probe-a"]);
    second.stop().await;
    assert!(!place.path("socket").exists(), "the socket of a server that stopped remains");
}

#[tokio::test]
async fn a_program_of_one_line_serves_what_it_wires_and_what_is_linked() {
    let place = Place::new();
    let hop = async |role: &str| place.server(role).arg(role).serving().await;
    let _hops = (hop("back").await, hop("middle").await);
    let mut front = place.server("front").env("TEST_RUN_WIRED", "1").serving().await;
    let client: FrontClient = place.client();
    assert_eq!(client.enter(false).await.unwrap().len(), 3);
    let record = place.registry().lookup("front").await.unwrap().unwrap().remove(0);
    let names: Vec<_> = record.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["Front.Enter", "Note"]);
    front.stop().await;
    assert_eq!(nodes(&place, "front").await, [""; 0]);
}

#[tokio::test]
async fn a_start_can_be_given_up_at_any_time() {
    let place = Place::new();
    for pause in [0, 2, 4, 8, 16, 32, 64, 128] {
        let mut server = place.server("a").spawn();
        process::pass(Duration::from_millis(pause)).await;
        server.signal("TERM").await;
        let status = server.end().await;
        // Before it listens for signals, one kills it.
        assert!(matches!(status.code(), None | Some(0)), "{pause} ms: {status}");
        assert_eq!(place.registry().list().await.unwrap(), [""; 0], "{pause} ms");
    }
}
