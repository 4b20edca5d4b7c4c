//! The registry goes away under processes that run.

use std::fs;
use std::time::Duration;

use micro_tests::probe::ProbeClient;

use crate::harness::http::get;
use crate::harness::load::Load;
use crate::harness::{Place, Process, process, until};

/// Calls each second.
const RATE: u32 = 100;

/// How long the registry is away: longer than a lease, and than the cache asks twice.
const OUTAGE: Duration = Duration::from_secs(13);

/// Starts a server that writes its record often enough to be waited for.
async fn serve(place: &Place, name: &str) -> Process {
    let server = place.server(name).env("MICRO_REGISTER_TTL", "2s");
    server.env("MICRO_REGISTER_INTERVAL", "500ms").serving().await
}

fn load(place: &Place) -> Load {
    let probe: ProbeClient = place.client();
    Load::start(RATE, move |_| {
        let probe = probe.clone();
        async move { probe.write().await }
    })
}

/// Counts the nodes that the registry holds.
async fn count(place: &Place) -> usize {
    let records = place.registry().lookup("probe").await.unwrap_or_default().unwrap_or_default();
    records.iter().map(|record| record.nodes.len()).sum()
}

#[tokio::test]
async fn a_removed_directory_comes_back_with_every_record() {
    let place = Place::new();
    let _servers = (serve(&place, "a").await, serve(&place, "b").await);
    let load = load(&place);
    load.until("both serve", |tally| tally.by("a") > 0 && tally.by("b") > 0).await;
    for _ in 0..3 {
        fs::remove_dir_all(place.registry_path()).unwrap();
        until("the directory is there again", async || place.registry_path().exists()).await;
        until("both are registered again", async || count(&place).await == 2).await;
        load.answers(50).await;
    }
    let tally = load.end().await;
    println!("{tally:?}");
    assert_eq!(tally.failed, 0, "{tally:?}");
}

#[tokio::test]
async fn a_removed_directory_stops_no_call_at_the_usual_pace() {
    let place = Place::new();
    let _servers = (place.serve("a").await, place.serve("b").await);
    let load = load(&place);
    load.until("both serve", |tally| tally.by("a") > 0 && tally.by("b") > 0).await;
    fs::remove_dir_all(place.registry_path()).unwrap();
    until("both are registered again", async || count(&place).await == 2).await;
    let tally = load.end().await;
    println!("{tally:?}");
    assert_eq!(tally.failed, 0, "{tally:?}");
}

#[tokio::test]
async fn a_registry_that_cannot_be_used_at_all_is_named_at_the_start() {
    let place = Place::new();
    fs::write(place.registry_path(), "").unwrap();
    let mut server = place.server("a").spawn();
    assert_eq!(server.end().await.code(), Some(1));
    let path = place.registry_path().display().to_string();
    assert!(server.lines().iter().any(|line| line.contains(&path)), "{:?}", server.lines());
}

#[tokio::test]
async fn an_outage_stops_no_call_between_nodes_that_know_each_other() {
    let place = Place::new();
    let (a, _b) = (serve(&place, "a").await, serve(&place, "b").await);
    let load = load(&place);
    load.until("both serve", |tally| tally.by("a") > 0 && tally.by("b") > 0).await;
    // A file where the directory was cannot be used as one, not even by a superuser.
    let (registry, address) = (place.registry_path(), a.address().await);
    fs::rename(&registry, place.path("away")).unwrap();
    fs::write(&registry, "").unwrap();
    until("it is not ready", async || get(&address, "/readyz").await.status == 503).await;
    process::pass(OUTAGE).await;
    load.answers(50).await;
    fs::remove_file(&registry).unwrap();
    until("both are registered again", async || registry.exists() && count(&place).await == 2)
        .await;
    until("it is ready again", async || get(&address, "/readyz").await.status == 200).await;
    load.answers(50).await;
    let tally = load.end().await;
    println!("{tally:?}");
    assert_eq!(tally.failed, 0, "{tally:?}");
}
