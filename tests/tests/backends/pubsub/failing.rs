//! What is left of the broker's promises when the server is away, dies or hangs.
//!
//! The emulator forgets everything when it dies: what has to come back are topics, subscriptions and
//! connections, not messages.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro_tests::server::{pubsub, pubsub_trial};

use super::{Came, PATIENCE, Process, handler, message, next, topic, tracker};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        pubsub_trial(
            "pubsub::a_server_that_comes_later_is_found",
            a_server_that_comes_later_is_found,
        ),
        pubsub_trial(
            "pubsub::what_a_server_forgot_is_made_again",
            what_a_server_forgot_is_made_again,
        ),
        pubsub_trial(
            "pubsub::a_server_that_hangs_for_a_while_loses_nothing",
            a_server_that_hangs_for_a_while_loses_nothing,
        ),
        pubsub_trial("pubsub::closing_waits_for_no_server", closing_waits_for_no_server),
    ]
}

fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

/// Publishes until it arrives: nobody says when a subscription is made again.
async fn arrives(process: &Process, topic: &str, body: &'static str, came: &mut Came) {
    let arrives = async {
        loop {
            let _away = process.broker.publish(message(topic, body)).await.is_err();
            let brief = Duration::from_millis(200);
            while let Ok(Some(delivery)) = clock::timeout(brief, came.recv()).await {
                if delivery.message.body == body {
                    return;
                }
            }
        }
    };
    clock::timeout(PATIENCE, arrives).await.unwrap_or_else(|_| panic!("{body} does not arrive"));
}

async fn a_server_that_comes_later_is_found() {
    let mut server = pubsub();
    server.kill();
    let (process, topic) = (Process::of(&server), topic());
    let began = clock::now();
    let refused = process.broker.publish(message(&topic, "1")).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
    let options = SubscribeOptions::default().with_queue("q");
    let nothing = handler(|_| Ack::Ack);
    let refused = process.broker.subscribe(&topic, options, nothing).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
    assert!(clock::now() - began < Duration::from_secs(8), "what is asked meanwhile hangs");

    server.start_again();
    process.up().await;
    let (_group, mut came) = process.listen(&topic, Some("q")).await;
    let (_alone, mut alone) = process.listen(&topic, None).await;
    process.broker.publish(message(&topic, "2")).await.unwrap();
    for came in [&mut came, &mut alone] {
        assert_eq!(next(came).await.message.body, "2");
    }
    process.end().await;
}

async fn what_a_server_forgot_is_made_again() {
    let mut server = pubsub();
    let (process, topic) = (Process::of(&server), topic());
    let (_group, mut came) = process.listen(&topic, Some("q")).await;
    let (_alone, mut alone) = process.listen(&topic, None).await;
    let kills = if is_long() { 10 } else { 2 };
    for _ in 0..kills {
        arrives(&process, &topic, "before", &mut came).await;
        let load = tracker();
        let publishing: Vec<_> = (0..16)
            .map(|_| {
                let (broker, topic) = (process.broker.clone(), topic.clone());
                load.spawn("publish", async move {
                    let mut failed = HashMap::new();
                    for _ in 0..50 {
                        let Err(error) = broker.publish(message(&topic, "load")).await else {
                            continue;
                        };
                        // The message is published or not; never does it hang or mean another thing.
                        *failed
                            .entry((error.code(), format!("{:?}", error.retry())))
                            .or_insert(0) += 1;
                        clock::sleep(Duration::from_millis(100)).await;
                    }
                    failed
                })
            })
            .collect();
        server.kill();
        server.start_again();
        for one in publishing {
            let failed = clock::timeout(PATIENCE, one).await.expect("publishing hangs").unwrap();
            for (code, retry) in failed.keys() {
                assert_eq!(*code, 503, "{failed:?}");
                assert!(matches!(retry.as_str(), "Safe" | "Unknown"), "{failed:?}");
            }
        }
        arrives(&process, &topic, "after", &mut came).await;
        arrives(&process, &topic, "after", &mut alone).await;
    }
    process.end().await;
}

/// Promise 3.
async fn a_server_that_hangs_for_a_while_loses_nothing() {
    let (count, pause): (usize, u64) = if is_long() { (20_000, 30) } else { (2_000, 3) };
    const PUBLISHERS: usize = 50;
    let server = pubsub();
    let (process, topic) = (Process::of(&server), topic());
    let seen = Arc::new(Mutex::new(HashMap::<usize, usize>::new()));
    let record = Arc::clone(&seen);
    let take = handler(move |delivery| {
        let number = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
        *record.lock().unwrap().entry(number).or_default() += 1;
        Ack::Ack
    });
    let options = SubscribeOptions::default()
        .with_queue("q")
        .with_concurrency(NonZeroUsize::new(64).unwrap());
    let subscription = process.broker.subscribe(&topic, options, take).await.unwrap();
    let tracker = tracker();
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let (broker, topic) = (process.broker.clone(), topic.clone());
            tracker.spawn("publish", async move {
                let mut failures = 0;
                for number in (n..count).step_by(PUBLISHERS) {
                    // Progress: it is taken, or the test is over.
                    while let Err(error) = broker.publish(message(&topic, number.to_string())).await
                    {
                        assert!(matches!(error.retry(), Retry::Safe | Retry::Unknown), "{error}");
                        failures += 1;
                        clock::sleep(Duration::from_millis(50)).await;
                    }
                }
                failures
            })
        })
        .collect();
    while seen.lock().unwrap().len() < count / 3 {
        clock::sleep(Duration::from_millis(1)).await;
    }
    let server = tokio::task::spawn_blocking(move || {
        server.pause();
        std::thread::sleep(Duration::from_secs(pause));
        server.resume();
        server
    })
    .await
    .unwrap();
    let mut failures = 0;
    for one in publishing {
        failures += clock::timeout(PATIENCE, one).await.expect("publishing hangs").unwrap();
    }
    let arrived = async {
        while seen.lock().unwrap().len() < count {
            clock::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = clock::timeout(PATIENCE * 2, arrived).await.is_ok();
    let arrived = seen.lock().unwrap().clone();
    let duplicates: usize = arrived.values().map(|times| times - 1).sum();
    println!(
        "pause: {count} acknowledged, {} arrived, {duplicates} duplicates, {failures} failures",
        arrived.len()
    );
    assert!(in_time, "acknowledged messages are lost: {}", server.said());
    subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    process.end().await;
}

/// K11.
async fn closing_waits_for_no_server() {
    let server = pubsub();
    let (process, topic) = (Process::of(&server), topic());
    let (_group, mut came) = process.listen(&topic, Some("q")).await;
    let (_alone, _came) = process.listen(&topic, None).await;
    process.broker.publish(message(&topic, "1")).await.unwrap();
    next(&mut came).await;
    server.pause();
    let publishing = clock::now();
    let error = process.broker.publish(message(&topic, "2")).await.unwrap_err();
    let took = clock::now() - publishing;
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{error}");
    assert!(took < Duration::from_secs(25), "a silent server holds it up for {took:?}");
    let closing = clock::now();
    let deadline = clock::after(closing, Duration::from_secs(3));
    let _cut = process.broker.close(deadline).await.is_err();
    let took = clock::now() - closing;
    assert!(took < Duration::from_secs(9), "closing takes {took:?}");
    let Process { scope, broker } = process;
    drop(broker);
    scope.tasks.abort_all();
    assert_eq!(scope.tasks.wait(clock::after(clock::now(), PATIENCE)).await, 0);
    server.resume();
}
