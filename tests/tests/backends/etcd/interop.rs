//! The records of go-micro: where they are and what is in them, read by nothing but what is known
//! of its format.

use std::collections::BTreeMap;
use std::time::Duration;

use micro::registry::{Endpoint, Event, Node, Record, Registry, Value};
use serde::Deserialize;
use serde_json::json;

use micro_tests::server::etcd;

use super::{Process, gateway, record, until};

const TTL: Duration = Duration::from_secs(15);

/// go-micro's service, as its JSON is described: every key is there and no other.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoService {
    name: String,
    version: String,
    metadata: Option<BTreeMap<String, String>>,
    endpoints: Option<Vec<GoEndpoint>>,
    nodes: Vec<GoNode>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoNode {
    id: String,
    address: String,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoEndpoint {
    name: String,
    request: Option<GoValue>,
    response: Option<GoValue>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoValue {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    values: Option<Vec<Self>>,
}

fn facts(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

pub(super) async fn a_record_is_where_and_what_go_micro_says() {
    let server = etcd();
    let process = Process::new(server.port());
    let value = |name: &str, values| Value { name: name.into(), kind: name.into(), values };
    let full = Record {
        name: "greeter".into(),
        version: "1.0.0".into(),
        metadata: facts("owner", "ada"),
        endpoints: vec![Endpoint {
            name: "Greeter.Hello".into(),
            request: Some(value("Req", vec![value("name", Vec::new())])),
            response: None,
            metadata: facts("stream", "true"),
        }],
        nodes: vec![Node {
            id: "greeter-1".into(),
            address: "10.0.0.5:37787".into(),
            metadata: facts("protocol", "mucp"),
        }],
    };
    process.registry().register(&full, TTL).await.unwrap();
    let slashed = record("com/shop", "a/1");
    process.registry().register(&slashed, TTL).await.unwrap();

    let found = gateway::range(server.port(), "/micro/registry/").await;
    let keys: Vec<&str> = found.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(keys, ["/micro/registry/com-shop/a-1", "/micro/registry/greeter/greeter-1"]);
    let read: GoService = serde_json::from_str(&found[1].1).unwrap();
    let go = |name: &str, values| GoValue { name: name.into(), kind: name.into(), values };
    let expected = GoService {
        name: "greeter".into(),
        version: "1.0.0".into(),
        metadata: Some(facts("owner", "ada")),
        endpoints: Some(vec![GoEndpoint {
            name: "Greeter.Hello".into(),
            request: Some(go("Req", Some(vec![go("name", Some(Vec::new()))]))),
            response: None,
            metadata: Some(facts("stream", "true")),
        }]),
        nodes: vec![GoNode {
            id: "greeter-1".into(),
            address: "10.0.0.5:37787".into(),
            metadata: Some(facts("protocol", "mucp")),
        }],
    };
    assert_eq!(read, expected);
    let lease = found[1].2;
    let left = json!({"ID": lease.to_string()});
    let left = gateway::post(server.port(), "/v3/lease/timetolive", left).await;
    assert_eq!(left["grantedTTL"], json!("15"));

    process.registry().deregister(&full).await.unwrap();
    process.registry().deregister(&slashed).await.unwrap();
    assert_eq!(gateway::range(server.port(), "/micro/registry/").await, []);
}

pub(super) async fn a_record_of_go_micro_is_found_and_followed() {
    let server = etcd();
    let process = Process::new(server.port());
    let registry = process.registry();
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Reset(vec![])));
    // In the order of keys of a later release, with what it leaves empty.
    let key = "/micro/registry/greeter/greeter-1";
    let value = r#"{"name":"greeter","version":"2","metadata":null,"endpoints":[{"request":{"name":"Req","type":"Req","values":null},"response":null,"metadata":{"stream":"true"},"name":"Greeter.Hello"}],"nodes":[{"metadata":{"protocol":"mucp"},"id":"greeter-1","address":"10.0.0.5:37787"}]}"#;
    gateway::put(server.port(), key, value).await;
    gateway::put(server.port(), "/micro/registry/greeter/broken", "{").await;
    let found = registry.lookup("greeter").await.unwrap().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].endpoints[0].name, "Greeter.Hello");
    assert_eq!(found[0].nodes[0].metadata, facts("protocol", "mucp"));
    assert_eq!(registry.list().await.unwrap(), ["greeter"]);
    assert_eq!(watch.next().await, Some(Event::Update(found[0].clone())));
    gateway::delete(server.port(), key).await;
    let removed = Event::Remove { service: "greeter".into(), node: "greeter-1".into() };
    assert_eq!(watch.next().await, Some(removed));
    until("nobody serves it", async || registry.lookup("greeter").await.unwrap().is_none()).await;
}

pub(super) async fn names_that_become_one_key_are_refused() {
    let server = etcd();
    let process = Process::new(server.port());
    let registry = process.registry();
    registry.register(&record("a/b", "n"), TTL).await.unwrap();
    let error = registry.register(&record("a-b", "n"), TTL).await.unwrap_err();
    assert_eq!(error.code(), 409);
    assert!(error.detail().contains("`/` is written as `-`"), "{error}");
    // A removal of the one does not touch the other.
    registry.deregister(&record("a-b", "n")).await.unwrap();
    assert!(registry.lookup("a/b").await.unwrap().is_some());
    assert!(registry.lookup("a-b").await.unwrap().is_none());
    registry.register(&record("a-b", "m"), TTL).await.unwrap();
    assert_eq!(registry.list().await.unwrap(), ["a-b", "a/b"]);
}
