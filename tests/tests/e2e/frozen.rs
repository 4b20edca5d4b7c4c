//! A server that stands still without having died.

use std::time::Duration;

use micro::core::limits::Limits;
use micro_tests::probe::ProbeClient;

use crate::harness::load::Load;
use crate::harness::{PATIENCE, Place, until};

/// Calls each second.
const RATE: u32 = 100;

/// Answers that show that calls go on without a node.
const ENOUGH: usize = 300;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.connection.keepalive_interval = Duration::from_secs(1);
    limits.connection.keepalive_timeout = Duration::from_secs(1);
    limits.call.default_timeout = PATIENCE;
    limits
}

#[tokio::test]
async fn calls_move_off_a_frozen_server_and_back_when_it_thaws() {
    let place = Place::new();
    let start = |name| {
        let server = place.server(name).env("MICRO_REGISTER_TTL", "3s");
        server.env("MICRO_REGISTER_INTERVAL", "1s").serving()
    };
    let (a, _b) = (start("a").await, start("b").await);
    let probe: ProbeClient = place.client_within(limits());
    let load = Load::start(RATE, move |_| {
        let probe = probe.clone();
        async move { probe.read().await }
    });
    load.until("both serve", |tally| tally.by("a") > 0 && tally.by("b") > 0).await;

    a.signal("STOP").await;
    // Calls that wait for the frozen server hold up no others for longer than the keepalive.
    load.answers(ENOUGH).await;
    let registry = place.registry();
    let is_held = async || {
        let records = registry.lookup("probe").await.unwrap().unwrap_or_default();
        records.iter().flat_map(|record| &record.nodes).any(|node| node.id == "probe-a")
    };
    until("the lease of the frozen server ends", async || !is_held().await).await;
    let mut frozen = 0;
    load.until("any answer", |tally| {
        frozen = tally.by("a");
        true
    })
    .await;
    load.answers(ENOUGH).await;
    load.until("nothing is served by it", |tally| tally.by("a") == frozen).await;

    a.signal("CONT").await;
    until("it is registered again", is_held).await;
    load.until("it serves again", |tally| tally.by("a") > frozen).await;
    let tally = load.end().await;
    println!("{tally:?}");
    assert_eq!(tally.failed, 0, "{tally:?}");
}
