//! Records in a store that outlives its processes.

use serde_json::json;

use crate::world::World;

#[test]
fn records_are_written_read_listed_and_removed() {
    let world = World::empty();
    let file = format!("file://{}", world.path("shop.redb").display());
    let store = |args: &[&str]| world.micro(&[&["store", "--store", &file][..], args].concat());

    let wrote = store(&["write", "orders/7", r#"{"item":"tea"}"#]).json();
    let version = wrote["version"].as_u64().unwrap();
    store(&["write", "orders/8", "plain", "--ttl", "1h"]).done();
    let read = store(&["read", "orders/7"]).json();
    assert_eq!((&read["value"]["item"], &read["version"]), (&json!("tea"), &json!(version)));
    assert_eq!(store(&["read", "orders/8", "--table"]).done(), "plain\n");

    let table = store(&["list", "orders/", "--table"]).done();
    let keys: Vec<_> = table.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(keys, ["KEY", "orders/7", "orders/8"]);
    let list = store(&["list", "--suffix", "8"]).json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(list[0]["expiry_seconds"].as_f64().unwrap() > 3000.0);

    let text = store(&["write", "orders/7", "x", "--if-absent"]).failed(1);
    assert!(text.contains("(409,"), "{text}");
    let other = (version + 1).to_string();
    store(&["write", "orders/7", "x", "--if-version", &other]).failed(1);
    store(&["delete", "orders/7", "--if-version", &version.to_string()]).done();
    let text = store(&["read", "orders/7"]).failed(1);
    assert!(text.contains("did you mean `orders/8`?"), "{text}");
}

#[test]
fn services_and_tables_keep_their_records_apart() {
    let world = World::empty();
    let file = format!("file://{}", world.path("shop.redb").display());
    let store = |args: &[&str]| world.micro(&[&["store", "--store", &file][..], args].concat());
    store(&["write", "a", "1", "--database", "shop", "--in", "orders"]).done();
    store(&["read", "a"]).failed(1);
    store(&["read", "a", "--database", "shop"]).failed(1);
    assert_eq!(
        store(&["read", "a", "--database", "shop", "--in", "orders", "--table"]).done(),
        "1\n"
    );
}

#[test]
fn a_store_that_ends_with_the_command_is_refused() {
    let text = World::empty().micro(&["store", "write", "a", "1"]).failed(1);
    assert!(
        text.contains("`memory` ends with its process") && text.contains("MICRO_STORE"),
        "{text}"
    );
}
