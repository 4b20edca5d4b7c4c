//! What becomes of a store whose server is killed again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use micro::core::error::Retry;
use micro::core::shutdown::TaskTracker;
use micro::store::{Condition, Etcd, Event, Key, Query, Space, Store, Version, Write, is_conflict};

use micro_tests::server::etcd;

use super::{PATIENCE, Process, gateway, is_long, until};

/// What one writer was told.
#[derive(Default)]
struct Told {
    /// The last value of each key that was acknowledged.
    written: BTreeMap<String, u64>,
    /// The versions on top of which a conditional write was acknowledged.
    won: Vec<(Version, Version)>,
    unknown: u64,
    refused: u64,
}

/// Writes keys of its own and competes for one with others until it is told to stop.
async fn write(store: Arc<Etcd>, name: usize, stop: Arc<AtomicBool>) -> Told {
    let (space, shared) = (Space::unbound(), Key::new("shared").unwrap());
    let mut told = Told::default();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("{name}-{}", n % 50);
        let write = Write::new(Key::new(&key).unwrap(), n.to_string());
        match store.write(&space, write).await {
            Ok(_) => {
                told.written.insert(key, n);
            }
            Err(error) if error.retry() == Retry::Unknown => {
                told.unknown += 1;
                // It may have been written: then it is not older than what was acknowledged.
            }
            Err(error) => {
                assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
                told.refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let Ok(Some(record)) = store.read(&space, &shared).await else { continue };
        let next = Write::new(shared.clone(), name.to_string())
            .with_condition(Condition::Version(record.version));
        match store.write(&space, next).await {
            Ok(version) => told.won.push((record.version, version)),
            Err(error) => assert!(is_conflict(&error) || error.code() == 503, "{error}"),
        }
    }
    told
}

pub(super) async fn no_acknowledged_write_is_lost_and_no_version_won_twice() {
    let mut server = etcd();
    let processes = [Process::new(server.port()), Process::new(server.port())];
    let stores = processes.each_ref().map(|process| Arc::new(process.store()));
    let (space, shared) = (Space::unbound(), Key::new("shared").unwrap());
    stores[0].write(&space, Write::new(shared, "begin")).await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..6)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tasks.spawn("writer", write(store, n, Arc::clone(&stop)))
        })
        .collect();
    for _ in 0..if is_long() { 12 } else { 3 } {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.start_again();
        until("it answers", async || gateway::try_range(server.port(), "/x").await.is_some()).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let mut won = BTreeMap::new();
    let (mut acknowledged, mut unknown, mut refused) = (0, 0, 0);
    for writer in writers {
        let told = writer.await.unwrap();
        for (key, value) in &told.written {
            let record = stores[0].read(&space, &Key::new(key).unwrap()).await.unwrap().unwrap();
            let found: u64 = record.decode().unwrap();
            assert!(found >= *value, "{key} was acknowledged as {value} and is {found}");
            acknowledged += 1;
        }
        for (on, version) in told.won {
            assert!(version > on);
            let twice = won.insert(on, version);
            assert_eq!(twice, None, "two writers won on {on}");
        }
        (unknown, refused) = (unknown + told.unknown, refused + told.refused);
    }
    assert!(won.len() > 50 && refused + unknown > 0, "{} {refused} {unknown}", won.len());
    println!("{acknowledged} keys, {} won, {unknown} unknown, {refused} refused", won.len());
}

pub(super) async fn a_watch_of_the_store_goes_on_after_a_restart() {
    let mut server = etcd();
    let process = Process::new(server.port());
    let (store, space) = (process.store(), Space::unbound());
    let mut watch = store.watch(&space, "k").await.unwrap();
    let write = async |n: u32| {
        let key = Key::new(&format!("k{n}")).unwrap();
        until("written", async || {
            let write = Write::new(key.clone(), "x");
            store.write(&space, write).await.is_ok()
        })
        .await;
    };
    write(1).await;
    server.kill();
    server.start_again();
    write(2).await;
    for wanted in ["k1", "k2"] {
        loop {
            let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
            assert_ne!(event, Event::Resync, "the server has kept everything");
            // A write may have been repeated.
            if event.key() == Some(wanted) {
                break;
            }
        }
    }
    // Whoever was away for so long that changes are forgotten is told so.
    server.kill();
    std::fs::remove_dir_all(server.folder().join("data")).unwrap();
    server.start_again();
    until("the watch begins anew", async || {
        matches!(
            tokio::time::timeout(Duration::from_millis(100), watch.next()).await,
            Ok(Some(Event::Resync))
        )
    })
    .await;
    write(3).await;
    let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(event.key(), Some("k3"));
}

pub(super) async fn an_ended_time_leaves_no_lease_behind() {
    let server = etcd();
    let process = Process::new(server.port());
    let (store, space) = (process.store(), Space::unbound());
    let key = Key::new("k").unwrap();
    let day = Duration::from_secs(24 * 3600);
    let mortal = || Write::new(key.clone(), "x").with_ttl(day);
    for _ in 0..5 {
        store.write(&space, mortal()).await.unwrap();
    }
    assert_eq!(gateway::leases(server.port()).await, 1);
    let refused = store.write(&space, mortal().with_condition(Condition::Absent)).await;
    assert!(refused.is_err_and(|error| is_conflict(&error)));
    assert_eq!(gateway::leases(server.port()).await, 1);
    let listed = store.list(&space, &Query::new().keys_only()).await.unwrap();
    assert!(listed.records[0].expiry.is_some(), "{listed:?}");
    store.write(&space, Write::new(key.clone(), "x")).await.unwrap();
    assert_eq!(gateway::leases(server.port()).await, 0);
    store.write(&space, mortal()).await.unwrap();
    store.delete(&space, &key, None).await.unwrap();
    assert_eq!(gateway::leases(server.port()).await, 0);
}
