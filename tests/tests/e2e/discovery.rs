//! Processes find each other, and calls spread over them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::time::Duration;

#[cfg(feature = "mdns")]
use hickory_proto::rr::RData;
use micro_tests::probe::ProbeClient;
use tokio::task::JoinSet;

#[cfg(feature = "mdns")]
use crate::harness::PATIENCE;
use crate::harness::{Heavy, Place, until};
#[cfg(feature = "mdns")]
use crate::multicast::Capture;

const CALLS: usize = 10_000;

/// Calls that run at a time.
const TOGETHER: usize = 32;

#[tokio::test]
async fn a_client_process_finds_a_server_process_by_local() {
    let place = Place::new();
    let _server = place.serve("one").await;
    let mut caller = place.process(env!("CARGO_BIN_EXE_caller")).arg("Ada").spawn();
    assert!(caller.end().await.success());
    assert_eq!(caller.lines(), ["Hello Ada"]);
}

/// Multicast has one group for the whole machine, so that one run of this at a time makes sense.
#[cfg(feature = "mdns")]
#[tokio::test]
async fn a_client_process_finds_a_server_process_by_mdns() {
    let _heavy = Heavy::room().await;
    let place = Place::new();
    let capture = Capture::start();
    let mut server = place.server("one").env("MICRO_REGISTRY", "mdns").serving().await;
    server.line("registry mdns").await;
    let address = server.address().await;
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let told = tokio::time::timeout(PATIENCE, capture.told("greeter", port)).await;
    let told = told.unwrap_or_else(|_| panic!("no packet tells of `greeter` at {address}"));
    let of = |kind: fn(&RData) -> bool| told.iter().find(|record| kind(&record.data));
    let service = of(|data| matches!(data, RData::SRV(_))).expect("an SRV record");
    let RData::SRV(target) = &service.data else { unreachable!() };
    let text = of(|data| matches!(data, RData::TXT(_))).expect("a TXT record");
    assert_eq!(text.name, service.name, "{told:?}");
    let host = of(|data| matches!(data, RData::A(_))).expect("an A record");
    assert_eq!((&host.name, host.data.to_string()), (&target.target, "127.0.0.1".to_owned()));
    until("a greeting", async || {
        let caller = place.process(env!("CARGO_BIN_EXE_caller")).arg("Ada");
        let mut caller = caller.env("MICRO_REGISTRY", "mdns").spawn();
        caller.end().await.success() && caller.lines() == ["Hello Ada"]
    })
    .await;
    assert!(!place.registry_path().exists(), "the other registry was used");
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_first_waits_for_the_server() {
    let place = Place::new();
    // The server is up, but the registry of the caller learns of it only when it is told to.
    let elsewhere = place.path("elsewhere");
    let url = format!("local://{}", elsewhere.display());
    let _server = place.server("one").env("MICRO_REGISTRY", url).serving().await;
    let probe: ProbeClient = place.client();
    let mut call = std::pin::pin!(probe.write().into_future());
    let early = tokio::time::timeout(Duration::from_millis(200), &mut call).await;
    assert!(early.is_err(), "nobody is known yet: {early:?}");
    for entry in std::fs::read_dir(elsewhere).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), place.registry_path().join(entry.file_name())).unwrap();
    }
    assert_eq!(call.await.unwrap(), "one");
}

#[tokio::test]
async fn a_client_without_a_server_says_what_is_missing() {
    let place = Place::new();
    let mut caller = place.process(env!("CARGO_BIN_EXE_caller")).arg("Ada").spawn();
    assert_eq!(caller.end().await.code(), Some(1));
    let said = caller.lines().join("\n");
    assert!(said.contains("no node of service `greeter` in the registry `local`"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_spread_over_three_servers() {
    let _heavy = Heavy::room().await;
    let place = Place::new();
    let _servers = (place.serve("a").await, place.serve("b").await, place.serve("c").await);
    let probe: ProbeClient = place.client();
    // All three are known before it counts who is chosen.
    let mut seen = BTreeSet::new();
    until("every server served", async || {
        seen.insert(probe.write().await.unwrap());
        seen.len() == 3
    })
    .await;

    let served = spread(&probe).await;
    let all: usize = served.values().sum();
    println!("{all} calls: {served:?}");
    let fair = |&count: &usize| (15..=60).contains(&(count * 100 / all));
    assert!(all >= CALLS && served.len() == 3 && served.values().all(fair), "{served:?}");
}

/// Counts who serves how many of many calls.
async fn spread(probe: &ProbeClient) -> BTreeMap<String, usize> {
    let mut callers = JoinSet::new();
    for _ in 0..TOGETHER {
        let probe = probe.clone();
        callers.spawn(async move {
            let mut served = BTreeMap::<String, usize>::new();
            for _ in 0..CALLS.div_ceil(TOGETHER) {
                *served.entry(probe.write().await.unwrap()).or_default() += 1;
            }
            served
        });
    }
    let mut served = BTreeMap::<String, usize>::new();
    while let Some(part) = callers.join_next().await {
        for (node, count) in part.unwrap() {
            *served.entry(node).or_default() += count;
        }
    }
    served
}
