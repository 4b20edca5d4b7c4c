//! The broker when the server fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Message, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro::core::shutdown::TaskTracker;

use super::broker::{listen, message, number, queue};
use super::{Lab, PATIENCE, Process, eventually, short_or_long, tests};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_broker_opens_without_the_server_and_works_once_it_is_there,
        a_server_that_is_killed_loses_no_acknowledged_message,
        connections_that_are_cut_lose_no_message,
        a_paused_server_loses_no_message,
        a_broker_ends_in_time_while_the_server_is_paused,
    ]
}

async fn a_broker_opens_without_the_server_and_works_once_it_is_there() {
    let mut lab = Lab::new();
    lab.server.kill();
    let process = Process::new();
    let broker = process.broker(&lab.url("postgres"));
    let error = broker.publish(message("orders", 1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    lab.server.start_again();
    let (_all, mut came) = listen(&broker, "orders", queue("q", 1), |_| Ack::Ack).await;
    eventually(async || broker.publish(message("orders", 7)).await.ok()).await;
    let came = clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
    assert_eq!(number(&came), 7);
}

/// Publishes a message until the server has it.
async fn insist(broker: &Arc<dyn Broker>, message: Message) {
    let deadline = clock::after(clock::now(), PATIENCE);
    while let Err(error) = broker.publish(message.clone()).await {
        assert!(error.code() == 503 && clock::now() < deadline, "{error}");
        clock::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_server_that_is_killed_loses_no_acknowledged_message() {
    let mut lab = Lab::new();
    let url = lab.url("postgres");
    let count = short_or_long(4_000, 100_000);
    let (publishing, consuming) = (Process::new(), Process::new());
    let receiver = consuming.broker(&url);
    let (_queue, mut came) = listen(&receiver, "numbers", queue("q", 64), |_| Ack::Ack).await;
    let (tasks, next) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let broker = publishing.broker(&url);
    let publishers: Vec<_> = (0..16)
        .map(|_| {
            let (broker, next) = (Arc::clone(&broker), Arc::clone(&next));
            tasks.spawn("publisher", async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    insist(&broker, message("numbers", number)).await;
                }
            })
        })
        .collect();
    let mut kills = 0;
    let began = clock::now();
    while publishers.iter().any(|publisher| !publisher.is_finished()) {
        let pause = short_or_long(Duration::from_millis(500), Duration::from_secs(5));
        clock::sleep(pause).await;
        if kills < short_or_long(2, usize::MAX) {
            lab.server.kill();
            lab.server.start_again();
            kills += 1;
        }
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let took = clock::now() - began;
    let mut seen: HashMap<usize, usize> = HashMap::new();
    while seen.len() < count {
        let delivery = clock::timeout(PATIENCE, came.recv()).await;
        let lost = || panic!("{} of {count} are lost", count - seen.len());
        let delivery = delivery.unwrap_or_else(|_elapsed| lost()).unwrap();
        *seen.entry(number(&delivery)).or_default() += 1;
    }
    // What comes again comes within the time that a message is invisible.
    while let Ok(Some(delivery)) = clock::timeout(Duration::from_secs(3), came.recv()).await {
        *seen.entry(number(&delivery)).or_default() += 1;
    }
    let again: usize = seen.values().map(|times| times - 1).sum();
    println!("{count} messages in {took:?}, {kills} kills: 0 lost, {again} delivered again");
    assert!(kills > 0);
}

/// The server stays; a subscription without a queue keeps its group.
async fn connections_that_are_cut_lose_no_message() {
    const COUNT: usize = 500;
    let lab = Lab::new();
    let process = Process::new();
    let broker = process.broker(&lab.url("postgres"));
    let (_all, mut came) =
        listen(&broker, "numbers", SubscribeOptions::default(), |_| Ack::Ack).await;
    let (tasks, publisher) = (TaskTracker::new(), Arc::clone(&broker));
    let publishing = tasks.spawn("publisher", async move {
        for number in 0..COUNT {
            insist(&publisher, message("numbers", number)).await;
            clock::sleep(Duration::from_millis(2)).await;
        }
    });
    let bare = lab.bare("postgres").await;
    let mut cuts = 0;
    while !publishing.is_finished() {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'micro'";
        cuts += bare.query(sql, &[]).await.unwrap().len();
        clock::sleep(Duration::from_millis(200)).await;
    }
    publishing.await.unwrap();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < COUNT {
        let delivery = clock::timeout(PATIENCE, came.recv()).await;
        let delivery = delivery.unwrap_or_else(|_elapsed| panic!("{} come", seen.len()));
        seen.insert(number(&delivery.unwrap()));
    }
    println!("{cuts} connections cut: 0 of {COUNT} lost");
    assert!(cuts > 2, "{cuts}");
}

async fn a_paused_server_loses_no_message() {
    let lab = Lab::new();
    let url = lab.url("postgres");
    let process = Process::new();
    let broker = process.broker(&url);
    let (_queue, mut came) = listen(&broker, "numbers", queue("q", 8), |_| Ack::Ack).await;
    let (tasks, publisher) = (TaskTracker::new(), Arc::clone(&broker));
    let pause = short_or_long(3, 30) * Duration::from_secs(1);
    let publishing = tasks.spawn("publisher", async move {
        for number in 0..200 {
            insist(&publisher, message("numbers", number)).await;
            clock::sleep(Duration::from_millis(5)).await;
        }
    });
    lab.server.pause();
    clock::sleep(pause).await;
    lab.server.resume();
    publishing.await.unwrap();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 200 {
        let delivery = clock::timeout(PATIENCE, came.recv()).await;
        let delivery = delivery.unwrap_or_else(|_elapsed| panic!("{} of 200 come", seen.len()));
        seen.insert(number(&delivery.unwrap()));
    }
}

async fn a_broker_ends_in_time_while_the_server_is_paused() {
    let lab = Lab::new();
    let process = Process::new();
    let broker = process.broker(&lab.url("postgres"));
    let (all, _came) = listen(&broker, "a", SubscribeOptions::default(), |_| Ack::Ack).await;
    let (dropped, _came) = listen(&broker, "a", queue("q", 8), |_| Ack::RETRY).await;
    broker.publish(message("a", 1)).await.unwrap();
    lab.server.pause();
    drop(dropped);
    let began = clock::now();
    let _late = broker.close(clock::after(began, Duration::from_secs(1))).await.is_err();
    let took = clock::now() - began;
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(!all.is_active());
    lab.server.resume();
}
