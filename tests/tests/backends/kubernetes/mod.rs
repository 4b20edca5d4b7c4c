//! The registry of Kubernetes against a stand-in of its server.

mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro::core::shutdown::TaskTracker;
use micro::driver::Drivers;
use micro::registry::{Cached, Event, Memory, Record, Registry, Watch};
use micro::testkit::registry::{Subject, conformance};
use micro::transport::Scope;
use micro_tests::server::trial_alone;
use serde_json::{Value, json};

use self::server::{Server, Writer};

/// How long anything may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("kubernetes_conforms", kubernetes_conforms),
        trial_alone("kubernetes_nodes_that_end_are_draining", draining),
        trial_alone("kubernetes_watches_go_on_where_they_were", resumes),
        trial_alone("kubernetes_watches_list_again_what_they_missed", lists_again),
        trial_alone("kubernetes_long_lists_come_in_pages", pages),
        trial_alone("kubernetes_absent_at_start_works_once_it_is_there", absent_at_start),
        trial_alone("kubernetes_readers_go_on_while_the_server_is_away", readers_go_on),
        trial_alone("kubernetes_refusals_and_failures_are_told_apart", refusals),
    ]
}

fn registry(server: &Server, options: &str) -> Arc<dyn Registry> {
    let url = format!("kubernetes://{}/shop{options}", server.address());
    micro::service::open::registry(&url, &Scope::default(), &Drivers::default()).unwrap()
}

/// A slice of one node.
fn slice(service: &str, id: &str, address: SocketAddr, conditions: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{id}"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "ports": [{"name": "micro", "protocol": "TCP", "port": address.port()}],
        "endpoints": [{
            "addresses": [address.ip().to_string()], "conditions": conditions,
            "targetRef": {"kind": "Pod", "name": id, "namespace": "shop"},
        }],
    })
}

fn ready(service: &str, id: &str, port: u16) -> Value {
    slice(service, id, SocketAddr::from(([127, 0, 0, 1], port)), json!({"ready": true}))
}

/// Tells by slices whatever is registered, forever.
async fn mirror(registry: Memory, writer: Writer) {
    let put = |record: &Record| {
        for node in &record.nodes {
            let address = node.address.parse().unwrap();
            writer.put(slice(&record.name, &node.id, address, json!({"ready": true})));
        }
    };
    let mut watch = registry.watch(None).await.unwrap();
    loop {
        match watch.next().await {
            Some(Event::Update(record)) => put(&record),
            Some(Event::Remove { service, node }) => writer.remove(&format!("{service}-{node}")),
            Some(Event::Reset(records)) => records.iter().for_each(put),
            _ => return,
        }
    }
}

fn ids(records: Option<Vec<Record>>) -> Vec<String> {
    let nodes = records.into_iter().flatten().flat_map(|record| record.nodes);
    nodes.map(|node| node.id).collect()
}

async fn finds(registry: &dyn Registry, wanted: &[&str]) {
    let found = async {
        loop {
            let found = registry.lookup("greeter").await;
            if found.is_ok_and(|found| ids(found) == wanted) {
                return;
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    };
    clock::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
}

async fn hears(watch: &mut Watch, wanted: impl Fn(&Event) -> bool) {
    let heard = async {
        while let Some(event) = watch.next().await {
            if wanted(&event) {
                return;
            }
        }
        panic!("the watch ended");
    };
    clock::timeout(PATIENCE, heard).await.unwrap();
}

fn appears(event: &Event, id: &str) -> bool {
    matches!(event, Event::Update(record) if record.nodes[0].id == id)
}

fn leaves(event: &Event, id: &str) -> bool {
    matches!(event, Event::Remove { node, .. } if node == id)
}

async fn kubernetes_conforms() {
    let make = async || {
        let (written, server, tasks) = (Memory::new(), Server::start(), TaskTracker::new());
        let mirror = tasks.spawn("test.mirror", mirror(written.clone(), server.writer()));
        let subject = Subject::new(Arc::new(written), registry(&server, ""));
        let subject = subject.with_ttl(Duration::from_secs(1)).telling_addresses();
        subject.with_guard((mirror.abort_on_drop(), server))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn draining() {
    let server = Server::start();
    let (registry, writer) = (registry(&server, ""), server.writer());
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    writer.put(ready("greeter", "a", 1));
    hears(&mut watch, |event| appears(event, "a")).await;
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    writer.put(slice("greeter", "a", address, ending));
    let drains = |event: &Event| match event {
        Event::Update(record) => record.instances()[0].draining,
        _ => false,
    };
    hears(&mut watch, drains).await;
    let ended = json!({"ready": false, "serving": false, "terminating": true});
    writer.put(slice("greeter", "a", address, ended));
    hears(&mut watch, |event| leaves(event, "a")).await;
    assert_eq!(registry.lookup("greeter").await.unwrap(), None);
    let named = self::registry(&server, "?port=other");
    writer.put(ready("greeter", "b", 2));
    assert_eq!(named.lookup("greeter").await.unwrap(), None, "it has no such port");
}

/// A watch that the server ends begins again after the last change, without a list.
async fn resumes() {
    let server = Server::start();
    let (registry, writer) = (registry(&server, ""), server.writer());
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    writer.put(ready("greeter", "a", 1));
    hears(&mut watch, |event| appears(event, "a")).await;
    let lists = server.lists();
    for id in ["b", "c", "d"] {
        server.end_watches();
        writer.put(ready("greeter", id, 2));
        hears(&mut watch, |event| appears(event, id)).await;
    }
    assert_eq!(server.lists(), lists, "nothing is listed again");
}

/// A watch that the server cannot go on with (410, by its status or within the stream) lists.
async fn lists_again() {
    let server = Server::start();
    let (registry, writer) = (registry(&server, ""), server.writer());
    for id in ["a", "b"] {
        writer.put(ready("greeter", id, 1));
    }
    let mut one = registry.watch(Some("greeter")).await.unwrap();
    let mut all = registry.watch(None).await.unwrap();
    for (gone, comes) in [("a", "c"), ("b", "d"), ("c", "e")] {
        let lists = server.lists();
        server.fail(true);
        server.end_watches();
        writer.remove(&format!("greeter-{gone}"));
        writer.put(ready("greeter", comes, 2));
        writer.compact();
        server.fail(false);
        for watch in [&mut one, &mut all] {
            let (left, came) = (std::cell::Cell::new(false), std::cell::Cell::new(false));
            hears(watch, |event| {
                left.set(left.get() || leaves(event, gone));
                came.set(came.get() || appears(event, comes));
                left.get() && came.get()
            })
            .await;
        }
        assert!(server.lists() > lists);
    }
}

async fn pages() {
    let server = Server::start();
    let writer = server.writer();
    for n in 0..1234 {
        writer.put(ready("greeter", &format!("{n:04}"), 1));
    }
    let registry = registry(&server, "");
    assert_eq!(ids(registry.lookup("greeter").await.unwrap()).len(), 1234);
    assert_eq!(server.lists(), 3);
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    let whole = |event: &Event| matches!(event, Event::Reset(r) if r[0].nodes.len() == 1234);
    hears(&mut watch, whole).await;
    assert_eq!(registry.list().await.unwrap(), ["greeter"]);
}

async fn absent_at_start() {
    let mut server = Server::start();
    server.kill();
    let registry = registry(&server, "");
    server.writer().put(ready("greeter", "a", 1));
    assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
    assert_eq!(registry.watch(Some("greeter")).await.unwrap_err().code(), 503);
    server.start_again();
    finds(&*registry, &["a"]).await;
}

async fn readers_go_on() {
    let mut server = Server::start();
    let (registry, writer) = (registry(&server, ""), server.writer());
    writer.put(ready("greeter", "a", 1));
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    let tasks = TaskTracker::new();
    let cached = Cached::new(Arc::clone(&registry), tasks.clone());
    finds(&cached, &["a"]).await;
    for id in ["b", "c"] {
        server.kill();
        assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
        assert_eq!(ids(cached.lookup("greeter").await.unwrap())[0], "a", "readers go on");
        writer.put(ready("greeter", id, 2));
        server.start_again();
        hears(&mut watch, |event| appears(event, id)).await;
    }
    finds(&cached, &["a", "b", "c"]).await;
    tasks.abort_all();
}

async fn refusals() {
    let server = Server::start();
    let registry = registry(&server, "");
    server.forbid(true);
    assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 403);
    server.forbid(false);
    server.fail(true);
    assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
    server.fail(false);
    assert_eq!(registry.lookup("greeter").await.unwrap(), None);
    assert_eq!(registry.lookup("no label!").await.unwrap_err().code(), 400);
}
