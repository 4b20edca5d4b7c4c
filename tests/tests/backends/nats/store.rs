//! The store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use micro::core::clock;
use micro::core::error::Retry;
use micro::store::{Condition, Event, Key, Nats, Query, Space, Store, Version, Write, is_conflict};
use micro::testkit::store::{Subject, conformance};

use super::raw::Raw;
use super::{Ground, pause, tests, until};

tests! {
    it_conforms
    a_server_that_is_absent_fails_what_is_asked_and_is_used_when_it_is_there
    no_acknowledged_write_is_lost_when_the_server_is_killed
    compare_and_swap_is_won_once_when_the_server_is_killed
    a_watch_tells_of_a_gap_after_a_restart_and_goes_on
    a_paused_server_fails_what_is_asked_and_answers_after
    keys_are_read_by_people
    a_list_of_many_keys_is_whole
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn space() -> Space {
    Space::unbound()
}

async fn it_conforms() {
    let made = conformance(async || {
        let ground = Ground::start();
        let make = || Arc::new(Nats::new(ground.connect()).unwrap());
        Subject::new(make(), make()).with_ttl(Duration::from_secs(4)).with_guard(ground)
    });
    made.await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn a_server_that_is_absent_fails_what_is_asked_and_is_used_when_it_is_there() {
    let ground = Ground::start();
    ground.server().kill();
    let store = Nats::new(ground.connect()).unwrap();
    let began = clock::now();
    let write = || Write::new(key("a"), "1");
    let error = store.write(&space(), write()).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert_eq!(store.read(&space(), &key("a")).await.unwrap_err().code(), 503);
    assert_eq!(store.list(&space(), &Query::new()).await.unwrap_err().code(), 503);
    assert_eq!(store.watch(&space(), "").await.unwrap_err().code(), 503);
    assert!(clock::now() - began < Duration::from_secs(20));
    ground.server().start_again();
    until("it is written", async || store.write(&space(), write()).await.is_ok()).await;
    assert_eq!(store.read(&space(), &key("a")).await.unwrap().unwrap().value, "1");
}

/// Kills the server a few times while something goes on.
async fn kill_in_between(ground: &Arc<Ground>, done: &AtomicBool) {
    for _ in 0..3 {
        clock::sleep(Duration::from_millis(700)).await;
        ground.restart();
    }
    clock::sleep(Duration::from_millis(700)).await;
    done.store(true, Ordering::SeqCst);
}

async fn no_acknowledged_write_is_lost_when_the_server_is_killed() {
    let ground = Ground::start();
    let done = Arc::new(AtomicBool::new(false));
    let writer = |n: usize| {
        let store = Nats::new(ground.connect()).unwrap();
        let done = Arc::clone(&done);
        async move {
            let (mut acknowledged, mut failed) = (BTreeMap::new(), 0_u32);
            for round in 0.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let name = format!("{n}-{}", round % 50);
                match store.write(&space(), Write::new(key(&name), round.to_string())).await {
                    Ok(version) => {
                        acknowledged.insert(name, (round, version));
                    }
                    Err(error) => {
                        assert_eq!(error.code(), 503, "{error}");
                        failed += 1;
                    }
                }
            }
            (acknowledged, failed)
        }
    };
    let (one, two, ()) = tokio::join!(writer(1), writer(2), kill_in_between(&ground, &done));
    let store = Nats::new(ground.connect()).unwrap();
    let mut checked = 0;
    for (name, (round, version)) in one.0.into_iter().chain(two.0) {
        let mut found = store.read(&space(), &key(&name)).await;
        while found.is_err() {
            found = store.read(&space(), &key(&name)).await;
        }
        let record = found.unwrap().unwrap_or_else(|| panic!("`{name}` is lost"));
        let kept: u64 = String::from_utf8_lossy(&record.value).parse().unwrap();
        // A later write that failed may have happened.
        assert!(kept >= round && record.version >= version, "`{name}` is {kept}, not {round}");
        checked += 1;
    }
    println!("{checked} keys kept; {} and {} writes failed", one.1, two.1);
    assert!(checked > 10);
}

async fn compare_and_swap_is_won_once_when_the_server_is_killed() {
    let ground = Ground::start();
    let first = Nats::new(ground.connect()).unwrap();
    first.write(&space(), Write::new(key("count"), "0")).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let counter = || {
        let store = Nats::new(ground.connect()).unwrap();
        let done = Arc::clone(&done);
        async move {
            let (mut won, mut unknown) = (Vec::<Version>::new(), 0_u64);
            while !done.load(Ordering::SeqCst) {
                let Ok(Some(found)) = store.read(&space(), &key("count")).await else { continue };
                let next = found.decode::<u64>().unwrap() + 1;
                let write = Write::new(key("count"), next.to_string())
                    .with_condition(Condition::Version(found.version));
                match store.write(&space(), write).await {
                    Ok(_) => won.push(found.version),
                    Err(error) if is_conflict(&error) => {}
                    Err(error) if error.retry() == Retry::Safe => {}
                    Err(_) => unknown += 1,
                }
            }
            (won, unknown)
        }
    };
    let (a, b, c, ()) =
        tokio::join!(counter(), counter(), counter(), kill_in_between(&ground, &done));
    let unknown = a.1 + b.1 + c.1;
    let mut won: Vec<_> = [a.0, b.0, c.0].concat();
    let all = won.len();
    won.sort();
    won.dedup();
    assert_eq!(won.len(), all, "two won on one version");
    let mut found = first.read(&space(), &key("count")).await;
    while found.is_err() {
        found = first.read(&space(), &key("count")).await;
    }
    let counted: u64 = found.unwrap().unwrap().decode().unwrap();
    let acknowledged = u64::try_from(all).unwrap();
    println!("{acknowledged} won, {unknown} unknown, counted {counted}");
    assert!((acknowledged..=acknowledged + unknown).contains(&counted));
    assert!(acknowledged > 10);
}

async fn a_watch_tells_of_a_gap_after_a_restart_and_goes_on() {
    let ground = Ground::start();
    let store = Nats::new(ground.connect()).unwrap();
    let mut watch = store.watch(&space(), "").await.unwrap();
    store.write(&space(), Write::new(key("a"), "1")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().key(), Some("a"));
    ground.restart();
    let told = clock::timeout(super::PATIENCE, watch.next()).await.unwrap();
    assert_eq!(told, Some(Event::Resync));
    let write = || Write::new(key("b"), "2");
    until("it is written", async || store.write(&space(), write()).await.is_ok()).await;
    let told = clock::timeout(super::PATIENCE, watch.next()).await.unwrap();
    assert_eq!(told.unwrap().key(), Some("b"));
}

async fn a_paused_server_fails_what_is_asked_and_answers_after() {
    let ground = Ground::start();
    let store = Nats::new(ground.connect()).unwrap();
    store.write(&space(), Write::new(key("a"), "1")).await.unwrap();
    ground.server().pause();
    let began = clock::now();
    let error = store.write(&space(), Write::new(key("a"), "2")).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{error}");
    assert!(clock::now() - began < Duration::from_secs(12), "it hangs");
    clock::sleep(pause()).await;
    ground.server().resume();
    until("it answers", async || {
        store.read(&space(), &key("a")).await.is_ok_and(|record| record.is_some())
    })
    .await;
    until("it is written", async || store.write(&space(), Write::new(key("a"), "3")).await.is_ok())
        .await;
}

async fn keys_are_read_by_people() {
    let ground = Ground::start();
    let store = Nats::new(ground.connect()).unwrap();
    let place = Space::new("shop", "orders").unwrap();
    let metadata = BTreeMap::from([("kind".to_owned(), "tea".to_owned())]);
    let write = Write::new(key("eu/7"), "cup").with_metadata(metadata);
    let write = write.with_ttl(Duration::from_secs(90));
    store.write(&place, write).await.unwrap();
    let subject = "$KV.micro-store.shop.orders.eu-2f7";
    let mut raw = Raw::connect(ground.port());
    let kept = raw.request(&format!("$JS.API.DIRECT.GET.KV_micro-store.{subject}"), "");
    assert_eq!(kept.body, "cup");
    for header in ["Nats-TTL: 90", "Micro-Note: {\"kind\":\"tea\"}"] {
        assert!(kept.headers.contains(&header.to_owned()), "{kept:?}");
    }
}

async fn a_list_of_many_keys_is_whole() {
    let ground = Ground::start();
    let store = Nats::new(ground.connect()).unwrap();
    for batch in 0..30 {
        let writes = (0..100).map(|n| {
            let write = Write::new(key(&format!("{:05}", batch * 100 + n)), "x");
            let store = store.clone();
            ground.tasks.spawn("write", async move { store.write(&space(), write).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
    }
    let (mut query, mut seen) = (Query::new(), Vec::new());
    loop {
        let page = store.list(&space(), &query).await.unwrap();
        seen.extend(page.records.into_iter().map(|record| record.key));
        let Some(next) = page.next else { break };
        query = query.with_after(next);
    }
    let wanted: Vec<_> = (0..3000).map(|n| format!("{n:05}")).collect();
    assert_eq!(seen, wanted);
}
