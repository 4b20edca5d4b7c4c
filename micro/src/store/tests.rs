//! The rules for stores, each under its id.
//!
//! St6, of statements and their parameters, is held against PostgreSQL: `backends/postgres`.

use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::core::clock;
use crate::store::{
    Condition, Event, Handle, Key, Memory, Query, Space, Store, Write, is_conflict,
};

fn handle() -> Handle {
    Handle::new(Memory::new())
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    item: String,
    count: u32,
}

fn order(count: u32) -> Order {
    Order { item: "tea".into(), count }
}

/// A write is there when it returned; what the backend promises beyond that, it declares.
#[tokio::test]
async fn st1_a_write_that_returned_is_there_and_powers_are_declared() {
    let store = handle();
    store.put("a", &order(1)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(order(1)));
    let declared = store.capabilities();
    assert!(!declared.durable && declared.linearizable);
    assert!(declared.ttl && declared.cas && declared.watch && declared.watch_expiry);
}

#[tokio::test]
async fn st2_versions_decide_and_a_conflict_is_its_own_kind() {
    let store = handle();
    let first = store.put("a", &order(1)).if_absent().await.unwrap();
    let exists = store.put("a", &order(1)).if_absent().await.unwrap_err();
    let second = store.put("a", &order(1)).if_version(first).await.unwrap();
    let stale = store.put("a", &order(1)).if_version(first).await.unwrap_err();
    let gone = store.delete_version("a", first).await.unwrap_err();
    assert_eq!((exists.code(), stale.code(), gone.code()), (409, 423, 423));
    assert!([exists, stale, gone].iter().all(is_conflict));
    store.delete_version("a", second).await.unwrap();
    assert!(!is_conflict(&store.put("", &1).await.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn st3_what_is_over_is_never_returned() {
    let store = handle();
    store.put("a", &order(1)).ttl(Duration::from_secs(1)).await.unwrap();
    clock::sleep(Duration::from_millis(999)).await;
    assert!(store.read("a").await.unwrap().is_some());
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!(store.read("a").await.unwrap(), None);
    assert!(store.list(&Query::new()).await.unwrap().records.is_empty());
}

#[tokio::test]
async fn st4_lists_are_paged_in_order_and_take_prefixes_literally() {
    let store = handle();
    for n in 0..2500 {
        store.write(&format!("a%{n:04}"), "x").await.unwrap();
    }
    store.write("ab", "x").await.unwrap();
    let mut scan = store.scan(Query::new().with_prefix("a%").keys_only());
    for n in 0..2500 {
        assert_eq!(scan.next().await.unwrap().unwrap().key, format!("a%{n:04}"));
    }
    assert_eq!(scan.next().await.unwrap(), None);
    let mut scan = store.scan(Query::new().with_suffix("7").with_limit(3));
    let mut seen = Vec::new();
    while let Some(record) = scan.next().await.unwrap() {
        seen.push(record.key);
    }
    assert_eq!(seen, ["a%0007", "a%0017", "a%0027"]);
}

/// There are no locks here; what replaces them is a version, which fences a late writer off.
#[tokio::test(start_paused = true)]
async fn st5_a_version_fences_off_the_holder_of_an_old_one() {
    let store = handle();
    let lease = Duration::from_secs(1);
    let first = store.put("leader", "a").ttl(lease).if_absent().await.unwrap();
    assert!(store.put("leader", "b").ttl(lease).if_absent().await.is_err());
    clock::sleep(lease).await;
    let second = store.put("leader", "b").ttl(lease).if_absent().await.unwrap();
    assert!(second.get() > first.get());
    assert!(store.put("leader", "a").ttl(lease).if_version(first).await.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a scope is called and whatever keys it is asked for, it reaches only its own.
    #[test]
    fn st7_a_scope_cannot_be_left(
        name in prop_oneof![Just("..".to_owned()), Just("%".into()), Just("a".into()), "\\PC{1,8}"],
        inside in prop_oneof![Just("../b".to_owned()), Just("%".into()), Just("/".into()), "\\PC{1,8}"],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = handle().database("d").unwrap().table("t").unwrap();
            let beside = ["a", "b", "../b", "..", "%", "a/", "", "_"];
            let beside: Vec<_> = beside
                .into_iter()
                .map(|end| format!("{name}{end}"))
                .chain(["other/k".to_owned()])
                .filter(|key| !key.starts_with(&format!("{name}/")))
                .collect();
            for key in &beside {
                store.write(key, "beside").await.unwrap();
            }
            let scope = store.scope(&name).unwrap();
            let mut watch = scope.watch("").await.unwrap();
            scope.write(&inside, "mine").await.unwrap();
            let mut keys = Vec::new();
            let mut scan = scope.scan(Query::new());
            while let Some(record) = scan.next().await.unwrap() {
                keys.push(record.key);
            }
            assert_eq!(keys, std::slice::from_ref(&inside));
            assert_eq!(watch.try_next().unwrap().key(), Some(inside.as_str()));
            for key in &beside {
                scope.delete(key).await.unwrap();
                let kept = store.read(key).await.unwrap();
                assert!(kept.is_some_and(|record| record.value == "beside"), "{key}");
            }
            let whole = store.read(&format!("{name}/{inside}")).await.unwrap();
            assert!(whole.is_some() || beside.contains(&inside));
        });
    }
}

#[tokio::test]
async fn st7_a_bound_handle_widens_to_nothing() {
    let store = handle();
    let database = store.database("shop").unwrap();
    assert_eq!(database.database("other").unwrap_err().code(), 403);
    let table = database.table("orders").unwrap();
    assert_eq!(table.table("users").unwrap_err().code(), 403);
    assert_eq!(table.database("other").unwrap_err().code(), 403);
    let scope = table.scope("a").unwrap();
    assert_eq!(scope.table("users").unwrap_err().code(), 403);
    assert_eq!(scope.scope("").unwrap_err().code(), 400);
    assert_eq!(scope.space().to_string(), "shop/orders");
}

#[tokio::test]
async fn a_scope_of_a_scope_sees_its_keys_without_both() {
    let store = handle();
    let inner = store.scope("a").unwrap().scope("b").unwrap();
    for n in 0..5 {
        inner.put(&format!("k{n}"), &n).await.unwrap();
    }
    assert_eq!(store.get::<u32>("a/b/k3").await.unwrap(), Some(3));
    let query = Query::new().with_prefix("k").with_after("k1").with_limit(2);
    let page = inner.list(&query).await.unwrap();
    let keys: Vec<_> = page.records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!((keys, page.next.as_deref()), (vec!["k2", "k3"], Some("k3")));
    assert_eq!(inner.read("k3").await.unwrap().unwrap().key, "k3");
    let suffix = Query::new().with_suffix("b/k3");
    assert!(inner.list(&suffix).await.unwrap().records.is_empty());
    let mut watch = store.scope("a").unwrap().watch("b/").await.unwrap();
    inner.delete("k3").await.unwrap();
    assert_eq!(watch.next().await, Some(Event::deleted("b/k3")));
}

#[tokio::test(start_paused = true)]
async fn an_update_runs_again_when_another_was_faster() {
    let memory = Memory::new();
    let store = Handle::new(memory.clone());
    let ttl = Duration::from_secs(60);
    store.put("n", &1).metadata("by", "a").ttl(ttl).await.unwrap();
    let mut tries = 0;
    let done = store.update::<u32, _>("n", |n| {
        tries += 1;
        if tries == 1 {
            // Another writer, between the read and the write.
            let write = Write::new(Key::new("n").unwrap(), "10").with_ttl(ttl);
            let space = Space::unbound();
            memory.write(&space, write).now_or_never().unwrap().unwrap();
        }
        n.unwrap_or_default() + 1
    });
    assert_eq!(done.await.unwrap(), 11);
    assert_eq!((tries, store.get::<u32>("n").await.unwrap()), (2, Some(11)));
    assert!(store.read("n").await.unwrap().unwrap().expiry.is_some());
}

#[tokio::test]
async fn a_value_of_another_shape_names_the_key_and_hides_the_value() {
    let store = handle();
    store.put("secret", "hunter2").await.unwrap();
    let error = store.get::<u32>("secret").await.unwrap_err();
    assert!(error.detail().contains("`secret`") && error.detail().contains("u32"), "{error}");
    assert!(!error.to_string().contains("hunter2"));
    let record = store.read("secret").await.unwrap().unwrap();
    assert!(!format!("{record:?}").contains("hunter2"));
}

#[test]
fn a_condition_holds_or_is_a_conflict() {
    let key = Key::new("k").unwrap();
    let version = crate::store::Version::new(3);
    assert!(Condition::Any.check(&key, Some(version)).is_ok());
    assert!(Condition::Absent.check(&key, None).is_ok());
    assert!(Condition::Version(version).check(&key, Some(version)).is_ok());
    for (condition, found) in
        [(Condition::Absent, Some(version)), (Condition::Version(version), None)]
    {
        assert!(is_conflict(&condition.check(&key, found).unwrap_err()));
    }
}
