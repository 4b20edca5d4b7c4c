//! The store, and what becomes of it when its server fails.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::core::error::Retry;
use micro::core::limits::StoreLimits;
use micro::driver::Link;
use micro::store::{Condition, Event, Key, Query, Redis, Space, Store, Version, Write};
use micro_tests::server::{REDIS, Server, redis, trial};

use super::{connect, pause, prefix, say, until};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("redis::store_works_once_its_server_is_there", &REDIS, works_once_there),
        trial("redis::no_write_is_lost_when_the_server_is_killed", &REDIS, no_write_is_lost),
        trial("redis::a_comparison_is_won_once_across_kills", &REDIS, won_once),
        trial("redis::a_paused_server_holds_nobody_up", &REDIS, paused),
        trial("redis::a_watcher_hears_of_a_gap_and_goes_on", &REDIS, watches_again),
        trial("redis::databases_are_apart", &REDIS, databases_are_apart),
        trial("redis::a_password_is_asked_for", &REDIS, a_password),
        trial("redis::what_is_over_leaves_nothing_behind", &REDIS, nothing_behind),
        trial("redis::versions_grow_after_the_server_forgot_all", &REDIS, versions_grow),
    ]
}

fn open(server: &Server) -> Redis {
    Redis::new(connect(server), prefix(), StoreLimits::default())
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn space() -> Space {
    Space::unbound()
}

async fn works_once_there() {
    let mut server = redis();
    server.kill();
    let driver = connect(&server);
    let store = Redis::new(Arc::clone(&driver), "p", StoreLimits::default());
    let began = Instant::now();
    let error = store.write(&space(), Write::new(key("a"), "1")).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "it failed after {:?}", began.elapsed());
    assert!(!driver.is_up());
    server.start_again();
    let write = || async { store.write(&space(), Write::new(key("a"), "1")).await.ok() };
    let (_, took) = until(PATIENCE, write).await;
    println!("written {took:?} after the server was there");
    assert!(driver.is_up());
}

async fn no_write_is_lost() {
    let mut server = redis();
    let store = open(&server);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        writers.push(super::spawn(async move {
            let (mut acknowledged, mut n) = (BTreeMap::new(), 0_u32);
            while !stop.load(SeqCst) {
                let name = format!("{writer}-{}", n % 50);
                let write = Write::new(key(&name), n.to_string());
                if store.write(&space(), write).await.is_ok() {
                    acknowledged.insert(name, n);
                }
                n += 1;
            }
            acknowledged
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        server.start_again();
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stop.store(true, SeqCst);
    let mut checked = 0;
    for writer in writers {
        for (name, least) in writer.await.unwrap() {
            let record = store.read(&space(), &key(&name)).await.unwrap();
            let found: u32 = record.unwrap_or_else(|| panic!("{name} is lost")).decode().unwrap();
            assert!(found >= least, "{name} was acknowledged as {least} and is {found}");
            checked += 1;
        }
    }
    println!("{checked} keys kept their last acknowledged value");
    assert!(checked > 100);
}

async fn won_once() {
    let mut server = redis();
    let store = open(&server);
    store.write(&space(), Write::new(key("k"), "0")).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut racers = Vec::new();
    for racer in 0..6 {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        racers.push(super::spawn(async move {
            let mut won: Vec<(Version, Version)> = Vec::new();
            while !stop.load(SeqCst) {
                let Ok(Some(found)) = store.read(&space(), &key("k")).await else { continue };
                let write = Write::new(key("k"), racer.to_string())
                    .with_condition(Condition::Version(found.version));
                if let Ok(version) = store.write(&space(), write).await {
                    won.push((found.version, version));
                }
            }
            won
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        server.kill();
        server.start_again();
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    stop.store(true, SeqCst);
    let (mut bases, mut made, mut wins) = (HashSet::new(), HashSet::new(), 0);
    for racer in racers {
        for (base, version) in racer.await.unwrap() {
            assert!(bases.insert(base), "{base} was won twice");
            assert!(made.insert(version), "{version} was made twice");
            assert!(version > base);
            wins += 1;
        }
    }
    println!("{wins} comparisons were won, each once");
    assert!(wins > 50);
}

async fn paused() {
    let server = redis();
    let driver = connect(&server);
    let store = Redis::new(Arc::clone(&driver), "p", StoreLimits::default());
    store.write(&space(), Write::new(key("a"), "1")).await.unwrap();
    server.pause();
    let until_then = Instant::now() + pause();
    let mut longest = Duration::ZERO;
    while Instant::now() < until_then {
        let began = Instant::now();
        let (space, key) = (space(), key("a"));
        let left = until_then.saturating_duration_since(began);
        let read = tokio::time::timeout(left, store.read(&space, &key));
        if let Ok(outcome) = read.await {
            assert_eq!(outcome.unwrap_err().code(), 503);
            longest = longest.max(began.elapsed());
        }
    }
    server.resume();
    assert!(longest < Duration::from_secs(7), "a read took {longest:?}");
    let read = || async { store.read(&space(), &key("a")).await.ok().flatten() };
    let (record, took) = until(PATIENCE, read).await;
    assert_eq!(record.value, "1");
    println!("a paused server was read {took:?} after it went on");
}

async fn watches_again() {
    let mut server = redis();
    let store = open(&server);
    let mut watch = store.watch(&space(), "").await.unwrap();
    store.write(&space(), Write::new(key("a"), "1")).await.unwrap();
    let Some(Event::Put(record)) = watch.next().await else { panic!("no event") };
    assert_eq!(record.key, "a");
    server.kill();
    server.start_again();
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert_eq!(next, Some(Event::Resync));
    store.write(&space(), Write::new(key("b"), "2")).await.unwrap();
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert_eq!(next.unwrap().key(), Some("b"));
}

async fn databases_are_apart() {
    let server = redis();
    let driver = connect(&server);
    let open = |redis| Redis::new(redis, "p", StoreLimits::default());
    let (zero, one) = (open(Arc::clone(&driver)), open(driver.database(1).unwrap()));
    let mut watch = zero.watch(&space(), "").await.unwrap();
    one.write(&space(), Write::new(key("theirs"), "1")).await.unwrap();
    assert_eq!(zero.read(&space(), &key("theirs")).await.unwrap(), None);
    zero.write(&space(), Write::new(key("ours"), "1")).await.unwrap();
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(next.key(), Some("ours"));
    assert!(driver.is_up());
}

async fn a_password() {
    let server = redis();
    assert_eq!(say(&server, "CONFIG SET requirepass s@cret"), "+OK");
    let tasks = micro::core::shutdown::TaskTracker::new();
    let read = async |url: &str| {
        let url = micro::driver::ServerUrl::parse(url, 6379).unwrap();
        let redis = micro::driver::Redis::open(url.server(), &tasks).unwrap();
        let store = Redis::new(Arc::new(redis), "p", StoreLimits::default());
        store.read(&space(), &key("a")).await
    };
    let (right, wrong) = ("s%40cret", "hunter2");
    for user in ["", "default"] {
        let url = format!("redis://{user}:{right}@127.0.0.1:{}", server.port());
        assert_eq!(read(&url).await.unwrap(), None, "{user}");
    }
    let error = read(&format!("redis://:{wrong}@127.0.0.1:{}", server.port())).await.unwrap_err();
    assert!(error.code() == 503 && !error.to_string().contains(wrong), "{error}");
}

async fn nothing_behind() {
    let server = redis();
    let (driver, prefix) = (connect(&server), prefix());
    let store = Redis::new(driver, &prefix, StoreLimits::default());
    for n in 0..100 {
        let write = Write::new(key(&n.to_string()), "x").with_ttl(Duration::from_millis(50));
        store.write(&space(), write).await.unwrap();
    }
    let ordered = format!("ZCARD {prefix}:store:micro:default:keys");
    assert_ne!(say(&server, &ordered), ":0");
    let list = || async {
        store.list(&space(), &Query::new()).await.unwrap();
        (say(&server, &ordered) == ":0").then_some(())
    };
    until(PATIENCE, list).await;
    assert_eq!(say(&server, &format!("ZCARD {prefix}:store:micro:default:ends")), ":0");
    assert_eq!(say(&server, "DBSIZE"), ":1", "the version alone is left");
}

async fn versions_grow() {
    let server = redis();
    let store = open(&server);
    let before = store.write(&space(), Write::new(key("a"), "1")).await.unwrap();
    assert_eq!(say(&server, "FLUSHALL"), "+OK");
    let after = store.write(&space(), Write::new(key("a"), "1")).await.unwrap();
    assert!(after > before, "{after} follows {before}");
}
