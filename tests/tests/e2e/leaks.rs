//! Calls and streams that nobody waits for leave nothing behind.

use std::time::Duration;

use micro::prelude::Streaming;
use micro_tests::probe::ProbeClient;

use crate::harness::{Heavy, PATIENCE, Place, until, until_holds};

/// Calls and streams that are dropped.
const DROPS: u64 = 10_000;

/// Tasks that drop them at a time.
const TOGETHER: u64 = 16;

/// Polls a future at least once, sometimes for a moment longer, and drops it.
async fn dropped<F: Future>(number: u64, call: F) {
    let moment = Duration::from_millis(number % 3);
    tokio::select! {
        biased;
        _ = call => {}
        () = tokio::time::sleep(moment) => {}
    }
}

/// Drops one call in whatever state it is.
async fn drop_one(probe: &ProbeClient, number: u64) {
    match number % 6 {
        0 => drop(probe.hang()),
        1 => dropped(number, probe.hang()).await,
        2 => dropped(number, probe.endless()).await,
        3 => {
            let mut numbers = probe.endless().await.unwrap();
            for _ in 0..number % 5 {
                numbers.next().await.unwrap().unwrap();
            }
        }
        4 => {
            let (_sender, requests) = Streaming::channel(1);
            dropped(number, probe.sum(requests)).await;
        }
        _ => {
            let (sender, requests) = Streaming::channel(1);
            let mut squares = probe.square(requests).await.unwrap();
            sender.send(number).await.unwrap();
            assert_eq!(squares.next().await.unwrap().unwrap(), number * number);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_calls_and_streams_leave_no_task() {
    let _heavy = Heavy::room().await;
    let place = Place::new();
    let mut server = place.serve("one").await;
    let probe: ProbeClient = place.client();
    probe.write().await.unwrap();
    let here = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, own) = (probe.gauges().await.unwrap(), here());

    let mut droppers = tokio::task::JoinSet::new();
    for first in 0..TOGETHER {
        let probe = probe.clone();
        droppers.spawn(async move {
            for number in (first..DROPS).step_by(TOGETHER as usize) {
                drop_one(&probe, number).await;
            }
        });
    }
    while let Some(done) = droppers.join_next().await {
        done.unwrap();
    }

    let mut after = probe.gauges().await.unwrap();
    let rests = async || {
        after = probe.gauges().await.unwrap();
        after.alive == 0 && after.tasks <= before.tasks && after.files <= before.files
    };
    let rested = tokio::time::timeout(PATIENCE, until_holds(rests)).await;
    println!("before {before:?}, after {after:?}");
    assert!(rested.is_ok(), "something is left: before {before:?}, after {after:?}");
    until("no task of the caller is left", async || here() <= own).await;
    server.stop().await;
}
