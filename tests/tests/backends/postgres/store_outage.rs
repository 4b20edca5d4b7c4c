//! The store when the server fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro::core::error::{Result, Retry};
use micro::core::shutdown::TaskTracker;
use micro::store::{Condition, Event, Key, Space, Store, Version, Write, is_conflict};

use super::{Lab, PATIENCE, Process, eventually, short_or_long, tests};

/// Nothing that is asked takes longer, whatever the server does.
const LONGEST: Duration = Duration::from_secs(15);

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_store_opens_without_the_server_and_works_once_it_is_there,
        a_server_that_is_killed_loses_no_acknowledged_write,
        a_paused_server_fails_what_is_asked_in_time,
        a_watch_goes_on_after_a_restart,
    ]
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn put(store: &Arc<dyn Store>, name: &str, value: &str) -> Result<Version> {
    let write = Write::new(key(name), value.to_owned());
    clock::timeout(LONGEST, store.write(&Space::unbound(), write)).await.expect("it hangs")
}

async fn get(store: &Arc<dyn Store>, name: &str) -> Option<String> {
    let space = Space::unbound();
    eventually(async || {
        let record = store.read(&space, &key(name)).await.ok()?;
        Some(record.map(|record| String::from_utf8(record.value.to_vec()).unwrap()))
    })
    .await
}

async fn a_store_opens_without_the_server_and_works_once_it_is_there() {
    let mut lab = Lab::new();
    lab.server.kill();
    let process = Process::new();
    let store = process.store(&lab.url("postgres")).await;
    let error = put(&store, "a", "1").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    assert!(process.drivers.check().is_err());
    lab.server.start_again();
    eventually(async || put(&store, "a", "2").await.ok()).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some("2"));
    eventually(async || process.drivers.check().ok()).await;
}

/// Writers count upwards in keys of their own, and all of them count in one by its version.
async fn a_server_that_is_killed_loses_no_acknowledged_write() {
    let mut lab = Lab::new();
    let url = lab.url("postgres");
    let processes: Vec<_> = (0..2).map(|_| Process::new()).collect();
    let mut stores = Vec::new();
    for process in &processes {
        stores.push(process.store(&url).await);
    }
    eventually(async || put(&stores[0], "count", "0").await.ok()).await;
    let (tasks, over) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    let wins = Arc::new(Mutex::new(HashMap::new()));
    let mut writers = Vec::new();
    for n in 0..4 {
        let (store, over) = (Arc::clone(&stores[n % 2]), Arc::clone(&over));
        writers.push(tasks.spawn("writer", write_upwards(store, format!("own{n}"), over)));
    }
    let mut counters = Vec::new();
    for n in 0..4 {
        let (store, over) = (Arc::clone(&stores[n % 2]), Arc::clone(&over));
        counters.push(tasks.spawn("counter", count(store, Arc::clone(&wins), over)));
    }
    for _ in 0..short_or_long(2, 12) {
        clock::sleep(short_or_long(Duration::from_millis(1500), Duration::from_secs(5))).await;
        lab.server.kill();
        clock::sleep(Duration::from_millis(300)).await;
        lab.server.start_again();
        eventually(async || put(&stores[0], "alive", "x").await.ok()).await;
    }
    over.store(true, Ordering::SeqCst);
    let mut total = 0;
    for (n, writer) in writers.into_iter().enumerate() {
        let acknowledged = writer.await.unwrap();
        let found: u64 = get(&stores[1], &format!("own{n}")).await.unwrap().parse().unwrap();
        assert!(found >= acknowledged, "{found} is found, {acknowledged} was acknowledged");
        total += acknowledged;
    }
    let (mut won, mut unknown) = (0, 0);
    for counter in counters {
        let (mine, open) = counter.await.unwrap();
        won += mine;
        unknown += open;
    }
    let found: u64 = get(&stores[1], "count").await.unwrap().parse().unwrap();
    println!("{total} writes, {won} additions acknowledged, {unknown} unknown, {found} counted");
    assert!(won > 0 && total > 0 && (won..=won + unknown).contains(&found));
}

async fn write_upwards(store: Arc<dyn Store>, name: String, over: Arc<AtomicBool>) -> u64 {
    let (mut next, mut acknowledged) = (1, 0);
    while !over.load(Ordering::SeqCst) {
        match put(&store, &name, &next.to_string()).await {
            Ok(_) => acknowledged = next,
            Err(error) => assert_eq!(error.code(), 503, "{error}"),
        }
        next += 1;
    }
    acknowledged
}

/// Adds by version; no version may be written upon twice.
async fn count(
    store: Arc<dyn Store>,
    wins: Arc<Mutex<HashMap<Version, u64>>>,
    over: Arc<AtomicBool>,
) -> (u64, u64) {
    let (mut won, mut unknown) = (0, 0);
    let space = Space::unbound();
    while !over.load(Ordering::SeqCst) {
        let Ok(Some(record)) = store.read(&space, &key("count")).await else { continue };
        let present: u64 = record.decode().unwrap();
        let write = Write::new(key("count"), (present + 1).to_string())
            .with_condition(Condition::Version(record.version));
        match clock::timeout(LONGEST, store.write(&space, write)).await.expect("it hangs") {
            Ok(_) => {
                won += 1;
                let before = wins.lock().unwrap().insert(record.version, present);
                assert_eq!(before, None, "version {} is won twice", record.version);
            }
            Err(error) if is_conflict(&error) => {}
            Err(error) => {
                assert_eq!(error.code(), 503, "{error}");
                unknown += u64::from(error.retry() == Retry::Unknown);
            }
        }
    }
    (won, unknown)
}

async fn a_paused_server_fails_what_is_asked_in_time() {
    let lab = Lab::new();
    let process = Process::new();
    let store = process.store(&lab.url("postgres")).await;
    eventually(async || put(&store, "a", "1").await.ok()).await;
    lab.server.pause();
    let until = clock::after(clock::now(), short_or_long(3, 30) * Duration::from_secs(1));
    let (tasks, asked) = (TaskTracker::new(), Arc::clone(&store));
    let waiting = tasks.spawn("asks", async move {
        let mut last = None;
        while clock::now() < until {
            last = Some(put(&asked, "a", "2").await);
        }
        last
    });
    clock::sleep_until(until).await;
    lab.server.resume();
    let last = waiting.await.unwrap().unwrap();
    assert!(last.is_ok() || last.is_err_and(|error| error.code() == 503));
    eventually(async || put(&store, "a", "3").await.ok()).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some("3"));
}

async fn a_watch_goes_on_after_a_restart() {
    let mut lab = Lab::new();
    let process = Process::new();
    let store = process.store(&lab.url("postgres")).await;
    eventually(async || put(&store, "a", "1").await.ok()).await;
    let mut watch = store.watch(&Space::unbound(), "").await.unwrap();
    lab.server.kill();
    lab.server.start_again();
    eventually(async || put(&store, "a", "2").await.ok()).await;
    let first = clock::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    let known = first == Event::Resync || first.key() == Some("a");
    assert!(known, "{first:?}");
    eventually(async || put(&store, "b", "1").await.ok()).await;
    loop {
        match clock::timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
            Event::Put(record) if record.key == "b" => return,
            // It may have been made again after the write: then a list would find it.
            Event::Resync => {
                eventually(async || put(&store, "b", "2").await.ok()).await;
            }
            _ => {}
        }
    }
}
