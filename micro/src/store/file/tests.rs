//! The file store across restarts, closings and faults.

use std::time::Duration;

use super::*;
use crate::store::Event;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn write(text: &str) -> Write {
    Write::new(key(text), text.to_owned())
}

#[tokio::test]
async fn records_versions_and_ends_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (path, space) = (dir.path().join("a/b/s.redb"), Space::unbound());
    let store = File::open(&path).await.unwrap();
    let first = store.write(&space, write("a")).await.unwrap();
    let short = write("short").with_ttl(Duration::from_millis(30));
    store.write(&space, short).await.unwrap();
    store.write(&space, write("long").with_ttl(Duration::from_secs(60))).await.unwrap();
    store.close().await.unwrap();
    let closed = store.read(&space, &key("a")).await.unwrap_err();
    assert_eq!(
        (closed.code(), store.write(&space, write("a")).await.unwrap_err().code()),
        (503, 503)
    );
    store.close().await.unwrap();

    clock::sleep(Duration::from_millis(50)).await;
    let store = File::open(&path).await.unwrap();
    let page = store.list(&space, &Query::new()).await.unwrap();
    let keys: Vec<_> = page.records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["a", "long"]);
    assert!(page.records[1].expiry.is_some_and(|left| left < Duration::from_secs(60)));
    assert_eq!(page.records[0].version, first);
    assert!(store.write(&space, write("a")).await.unwrap() > first);
}

#[tokio::test]
async fn a_second_opener_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let _store = File::open(&path).await.unwrap();
    let error = File::open(&path).await.unwrap_err();
    assert_eq!(error.code(), 412);
    assert!(error.detail().contains("another process") && error.detail().contains("s.redb"));
}

#[tokio::test]
async fn a_file_has_its_name_when_it_is_whole_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    // What a process that was killed while it made the file has left behind.
    std::fs::write(dir.path().join(".store.redb.0000000000000000.new"), b"half").unwrap();
    let file = File::open(&path).await.unwrap();
    Store::close(&file).await.unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".store.redb.0000000000000000.new", "store.redb"]);
    File::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    std::fs::write(&path, "something else entirely, and dear to somebody".repeat(99)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = File::open(&path).await.unwrap_err();
    assert!(error.detail().contains("s.redb"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own/s.redb");
    let _store = File::open(&path).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_made_and_a_close_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, space) = (dir.path().join("s.redb"), Space::unbound());
    let store = File::open(&path).await.unwrap();
    for n in 0..50 {
        let mut writing = store.write(&space, write(&format!("{n:02}")));
        assert!(futures_util::FutureExt::now_or_never(&mut writing).is_none());
    }
    store.close().await.unwrap();
    let store = File::open(&path).await.unwrap();
    let page = store.list(&space, &Query::new()).await.unwrap();
    assert_eq!(page.records.len(), 50);
}

#[tokio::test]
async fn writes_that_wait_share_a_transaction_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, space) = (File::open(dir.path().join("s.redb")).await.unwrap(), Space::unbound());
    let mut watch = store.watch(&space, "").await.unwrap();
    let writes = (0..300).map(|n| store.write(&space, Write::new(key("k"), n.to_string())));
    let mut versions = futures_util::future::try_join_all(writes).await.unwrap();
    versions.sort();
    let mut told = Vec::new();
    while told.len() < 300 {
        let Some(Event::Put(record)) = watch.next().await else { panic!("no put") };
        told.push(record.version);
    }
    assert_eq!(told, versions);
}

#[tokio::test]
async fn more_writers_than_places_wait_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let limits = StoreLimits { pending_writes_max: 2, ..StoreLimits::default() };
    let store = File::open_with(dir.path().join("s.redb"), limits).await.unwrap();
    let space = Space::unbound();
    let writes = (0..20).map(|n| store.write(&space, write(&n.to_string())));
    assert_eq!(futures_util::future::try_join_all(writes).await.unwrap().len(), 20);
}

#[test]
fn names_of_services_become_names_of_files_one_to_one() {
    for (service, name) in [
        ("shop", "shop.redb"),
        ("com.example.shop", "com.example.shop.redb"),
        ("Shop", "~53hop.redb"),
        ("..", "~2e..redb"),
        ("a/b", "a~2fb.redb"),
        ("~53hop", "~7e53hop.redb"),
    ] {
        assert_eq!(file_name(service), name);
    }
}
