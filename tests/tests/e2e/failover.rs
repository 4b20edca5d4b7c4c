//! Servers die, stop and are replaced under load, and no call notices.

use std::time::{Duration, Instant};

use micro::Result;
use micro::prelude::Streaming;
use micro_tests::probe::ProbeClient;

use crate::harness::load::{Load, Tally};
use crate::harness::{Heavy, Place, Process, is_long};

/// Calls each second.
const RATE: u32 = 1000;

/// Items of each stream.
const ITEMS: u64 = 5;

/// How many rounds a test runs.
fn rounds() -> usize {
    if is_long() { 5 } else { 1 }
}

/// How many seconds half of a round takes at the rate of the load.
fn seconds() -> u32 {
    if is_long() { 10 } else { 3 }
}

/// How many answers make half of a round.
fn half() -> usize {
    (seconds() * RATE) as usize
}

/// One server in three of a place, under load.
struct Scene {
    place: Place,
    servers: Vec<Process>,
    load: Load,
}

impl Scene {
    async fn new<C>(call: fn(ProbeClient, u64) -> C) -> Self
    where
        C: Future<Output = Result<String>> + Send + 'static,
    {
        let place = Place::new();
        let mut servers = Vec::new();
        for name in ["a", "b", "c"] {
            servers.push(place.serve(name).await);
        }
        let probe: ProbeClient = place.client();
        let load = Load::start(RATE, move |number| call(probe.clone(), number));
        load.until("every server served", |tally| {
            ["a", "b", "c"].iter().all(|name| tally.by(name) > 0)
        })
        .await;
        Self { place, servers, load }
    }

    /// Waits for half a round of answers; returns how long they took.
    async fn half(&self) -> Duration {
        let began = Instant::now();
        self.load.answers(half()).await;
        began.elapsed()
    }
}

/// Checks that the load of a long round came at its rate, but for a quarter of the time: less of it
/// would not be the load that is claimed.
fn check_rate(what: &str, took: Duration) {
    let planned = Duration::from_secs(u64::from(2 * seconds()));
    println!("{what}: {} answers in {took:?}", 2 * half());
    if is_long() {
        assert!(took < planned * 5 / 4, "{what}: {took:?} for {planned:?} of load");
    }
}

fn check(what: &str, tally: &Tally) {
    println!("{what}: {} answers, {} failed: {:?}", tally.answers(), tally.failed, tally.served);
    assert_eq!(tally.failed, 0, "{what}: {tally:?}");
}

async fn read(probe: ProbeClient, _: u64) -> Result<String> {
    probe.read().await
}

/// One call of each kind in turn, none of which may be repeated once it may have run.
async fn any(probe: ProbeClient, number: u64) -> Result<String> {
    let all = ITEMS * (ITEMS + 1) / 2;
    match number % 5 {
        0 => {
            let numbers = probe.count(ITEMS).await?.collect(100).await?;
            assert_eq!(numbers.iter().sum::<u64>(), all);
        }
        1 => assert_eq!(probe.sum(Streaming::from_iter(1..=ITEMS)).await?, all),
        2 => {
            let squares = probe.square(Streaming::from_iter(1..=ITEMS)).await?;
            let squares = squares.collect(100).await?;
            assert_eq!(squares.last(), Some(&(ITEMS * ITEMS)));
        }
        _ => return probe.write().await,
    }
    Ok("some".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_fails_no_idempotent_call() {
    let _heavy = Heavy::room().await;
    for round in 0..rounds() {
        let mut scene = Scene::new(read).await;
        let before = scene.half().await;
        scene.servers[round % 3].kill().await;
        let took = before + scene.half().await;
        check("kill", &scene.load.end().await);
        check_rate("kill", took);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_fails_no_call_of_any_kind() {
    let _heavy = Heavy::room().await;
    for round in 0..rounds() {
        let mut scene = Scene::new(any).await;
        let before = scene.half().await;
        scene.servers[round % 3].stop().await;
        let took = before + scene.half().await;
        check("stop", &scene.load.end().await);
        check_rate("stop", took);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call() {
    let _heavy = Heavy::room().await;
    let mut scene = Scene::new(any).await;
    for round in 0..rounds() {
        for turn in 0..3 {
            scene.servers[turn].stop().await;
            let name = format!("{turn}-{round}");
            scene.servers[turn] = scene.place.serve(&name).await;
            scene.load.until("the successor serves", |tally| tally.by(&name) > 0).await;
            scene.load.answers(half() / 10).await;
        }
    }
    check("roll", &scene.load.end().await);
}
