//! The registry and the settings of Consul against a stand-in of its agent.

mod agent;
mod state;

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use micro::config::Source;
use micro::core::clock;
use micro::core::future::BoxFuture;
use micro::core::limits::Limits;
use micro::core::shutdown::TaskTracker;
use micro::driver::{self, Drivers, Server};
use micro::registry::{Cached, Event, Lease, Node, Record, Registry, Watch};
use micro::testkit::config::{Place, Subject as Settings};
use micro::testkit::registry::{Subject, conformance};
use micro::transport::Scope;
use micro_tests::server::trial_alone;
use serde_json::{Value, json};

use self::agent::Agent;

/// How long anything may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// A life that no test outlasts.
const LONG: Duration = Duration::from_secs(6000);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("consul_conforms", consul_conforms),
        trial_alone("consul_settings_conform", settings_conform),
        trial_alone("consul_nodes_of_go_micro_are_found", go_micro_is_found),
        trial_alone("consul_absent_at_start_works_once_it_is_there", absent_at_start),
        trial_alone("consul_readers_go_on_and_nodes_are_back_after_a_restart", restarted),
        trial_alone("consul_that_lost_its_state_has_the_nodes_again", state_is_lost),
        trial_alone("consul_watches_go_on_after_a_gap_and_an_index_that_goes_back", gaps),
        trial_alone("consul_without_a_leader_fails_and_recovers", leaderless),
        trial_alone("consul_that_hangs_fails_in_time", hangs),
        trial_alone("consul_refuses_without_its_token", token),
    ]
}

fn open(url: &str) -> (Arc<dyn Registry>, Drivers) {
    let drivers = Drivers::default();
    (micro::service::open::registry(url, &Scope::default(), &drivers).unwrap(), drivers)
}

fn registry(agent: &Agent) -> Arc<dyn Registry> {
    open(&format!("consul://{}", agent.address())).0
}

fn client(agent: &Agent, tasks: &TaskTracker) -> driver::Consul {
    driver::Consul::open(&Server::new("127.0.0.1", agent.address().port()), tasks).unwrap()
}

fn record(id: &str, port: u16) -> Record {
    let address = format!("127.0.0.1:{port}");
    let node = Node { id: id.into(), address, ..Node::default() };
    let (name, version) = ("greeter".to_owned(), "1".to_owned());
    Record { name, version, nodes: vec![node], ..Record::default() }
}

fn ids(records: Option<Vec<Record>>) -> Vec<String> {
    let nodes = records.into_iter().flatten().flat_map(|record| record.nodes);
    nodes.map(|node| node.id).collect()
}

/// Tries until something holds.
async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let tried = async {
        while !holds().await {
            clock::sleep(Duration::from_millis(10)).await;
        }
    };
    clock::timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn finds(registry: &dyn Registry, wanted: &[&str]) {
    let holds =
        async || registry.lookup("greeter").await.is_ok_and(|records| ids(records) == wanted);
    eventually(&format!("{wanted:?}"), holds).await;
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

async fn consul_conforms() {
    let make = async || {
        let agent = Agent::start();
        let subject = Subject::new(registry(&agent), registry(&agent));
        subject.with_ttl(Duration::from_secs(1)).with_guard(agent)
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// A key, and whoever writes it.
struct Key {
    agent: Agent,
    consul: Arc<driver::Consul>,
}

impl Place for Key {
    fn source(&self) -> Arc<dyn Source> {
        let consul = Arc::clone(&self.consul);
        Arc::new(micro::config::Consul::new(consul, "shop/settings.json").unwrap())
    }

    fn put(&self, document: Value) -> BoxFuture<'_, ()> {
        self.agent.put("shop/settings.json", document.to_string().as_bytes());
        Box::pin(std::future::ready(()))
    }

    fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
        self.agent.put("shop/settings.json", b"{");
        Some(Box::pin(std::future::ready(())))
    }
}

async fn settings_conform() {
    let tasks = TaskTracker::new();
    let owner = tasks.clone();
    let subject = Settings::changing(move |document| {
        let agent = Agent::start();
        agent.put("shop/settings.json", document.to_string().as_bytes());
        let consul = Arc::new(client(&agent, &owner));
        Box::new(Key { agent, consul })
    });
    let examined = micro::testkit::config::conformance(&subject).await;
    examined.unwrap_or_else(|failures| panic!("{failures}"));

    // A key is written and removed by the driver, too, and a watch outlasts the agent's absence.
    let mut agent = Agent::start();
    let consul = Arc::new(client(&agent, &tasks));
    consul.write("shop/a b", "{}".into()).await.unwrap();
    assert_eq!(consul.read("shop/a b").await.unwrap().unwrap(), "{}");
    consul.delete("shop/a b").await.unwrap();
    assert_eq!(consul.read("shop/a b").await.unwrap(), None);
    let long = consul.write("long", vec![b' '; 512 * 1024 + 1].into()).await.unwrap_err();
    assert_eq!(long.code(), 413);
    let source = micro::config::Consul::new(Arc::clone(&consul), "shop/b.json").unwrap();
    assert_eq!(source.load().await.unwrap_err().code(), 412, "it is not there");
    let mut changes = source.watch().await.unwrap().unwrap();
    agent.kill();
    agent.put("shop/b.json", b"{}");
    agent.start_again();
    clock::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
    assert!(source.load().await.is_ok());
    tasks.abort_all();
}

/// A service as go-micro registers it, in the form that its records in Consul have, the older plain
/// tags included; and a service of others, which has none.
async fn go_micro_is_found() {
    let agent = Agent::start();
    agent.register(json!({
        "ID": "greeter-1", "Name": "greeter", "Address": "10.0.0.5", "Port": 37787,
        "Tags": ["t={\"protocol\":\"mucp\"}", "v-789c33d433d033000002ce00ee"],
        "Check": {"TTL": "15s", "Status": "passing", "DeregisterCriticalServiceAfter": "65s"},
    }));
    agent.register(json!({"Name": "database", "Address": "10.0.0.6", "Port": 5432}));
    let registry = registry(&agent);
    let found = registry.lookup("greeter").await.unwrap().unwrap();
    assert_eq!(found[0].version, "1.0.0");
    assert_eq!(found[0].nodes[0].address, "10.0.0.5:37787");
    assert_eq!(registry.lookup("database").await.unwrap(), None);
    assert_eq!(registry.list().await.unwrap(), ["greeter"]);

    registry.register(&record("own", 1), LONG).await.unwrap();
    let own = agent.definitions().into_iter().find(|body| body["Port"] == 1).unwrap();
    assert_eq!(
        (own["Name"].as_str(), own["Address"].as_str()),
        (Some("greeter"), Some("127.0.0.1"))
    );
    assert_eq!(own["Check"]["TTL"], "6000s");
    // "1", as zlib deflates it at its default level, in hex.
    assert_eq!(own["Tags"], json!(["v-789c33040000320032"]));
}

async fn absent_at_start() {
    let mut agent = Agent::start();
    agent.kill();
    let (registry, drivers) = open(&format!("consul://{}", agent.address()));
    assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
    assert!(drivers.check().is_err(), "the process is not ready");
    let (tasks, limits) = (TaskTracker::new(), Limits::default());
    let lease = Lease::start(Arc::clone(&registry), record("a", 1), &limits, &tasks).unwrap();
    agent.start_again();
    clock::timeout(PATIENCE, lease.registered()).await.unwrap().unwrap();
    finds(&*registry, &["a"]).await;
    eventually("ready", async || drivers.check().is_ok()).await;
    lease.close().await.unwrap();
}

async fn restarted() {
    let mut agent = Agent::start();
    let (registry, drivers) = open(&format!("consul://{}", agent.address()));
    let (tasks, limits) = (TaskTracker::new(), Limits::default());
    let lease = Lease::start(Arc::clone(&registry), record("a", 1), &limits, &tasks).unwrap();
    let cached = Cached::new(Arc::clone(&registry), tasks.clone());
    finds(&cached, &["a"]).await;
    for _ in 0..3 {
        eventually("up", async || drivers.check().is_ok()).await;
        agent.kill();
        eventually("noticed", async || drivers.check().is_err()).await;
        assert_eq!(ids(cached.lookup("greeter").await.unwrap()), ["a"], "readers go on");
        assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
        agent.start_again();
        finds(&*registry, &["a"]).await;
    }
    lease.close().await.unwrap();
    finds(&*registry, &[]).await;
    tasks.abort_all();
}

async fn state_is_lost() {
    let mut agent = Agent::start();
    let (registry, drivers) = open(&format!("consul://{}", agent.address()));
    registry.register(&record("a", 1), LONG).await.unwrap();
    registry.register(&record("gone", 2), LONG).await.unwrap();
    eventually("up", async || drivers.check().is_ok()).await;
    agent.kill();
    agent.forget();
    registry.deregister(&record("gone", 2)).await.unwrap_err();
    agent.start_again();
    let back = clock::now();
    finds(&*registry, &["a"]).await;
    let took = clock::now() - back;
    assert!(took <= Duration::from_secs(2), "the own node is back after {took:?}");
    // One that is lost while the agent stays is back with its next heartbeat.
    agent.forget();
    registry.register(&record("a", 1), LONG).await.unwrap();
    finds(&*registry, &["a"]).await;
}

async fn gaps() {
    let mut agent = Agent::start();
    let (writer, reader) = (registry(&agent), registry(&agent));
    let mut one = reader.watch(Some("greeter")).await.unwrap();
    let mut all = reader.watch(None).await.unwrap();
    writer.register(&record("a", 1), LONG).await.unwrap();
    for watch in [&mut one, &mut all] {
        hears(watch, |event| appears(event, "a")).await;
    }
    agent.restore_older_index();
    writer.register(&record("b", 2), LONG).await.unwrap();
    for watch in [&mut one, &mut all] {
        hears(watch, |event| appears(event, "b")).await;
    }
    agent.kill();
    agent.forget();
    agent.register(json!({
        "ID": "c", "Name": "greeter", "Address": "127.0.0.1", "Port": 3, "Tags": ["v=1"],
    }));
    agent.restore_older_index();
    agent.start_again();
    for watch in [&mut one, &mut all] {
        hears(watch, |event| appears(event, "c")).await;
    }
}

async fn leaderless() {
    let agent = Agent::start();
    let (registry, drivers) = open(&format!("consul://{}", agent.address()));
    registry.register(&record("a", 1), LONG).await.unwrap();
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    agent.lose_leader(true);
    assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
    assert_eq!(registry.register(&record("b", 2), LONG).await.unwrap_err().code(), 503);
    agent.lose_leader(false);
    registry.register(&record("b", 2), LONG).await.unwrap();
    hears(&mut watch, |event| appears(event, "b")).await;
    eventually("up", async || drivers.check().is_ok()).await;
}

async fn hangs() {
    let agent = Agent::start();
    let registry = registry(&agent);
    registry.register(&record("a", 1), LONG).await.unwrap();
    let mut watch = registry.watch(Some("greeter")).await.unwrap();
    agent.pause(true);
    let began = clock::now();
    let error = registry.lookup("greeter").await.unwrap_err();
    // A question that is asked again changes nothing.
    assert_eq!((error.code(), error.retry()), (503, micro::core::error::Retry::Safe));
    assert!(clock::now() - began < PATIENCE);
    agent.pause(false);
    finds(&*registry, &["a"]).await;
    registry.register(&record("b", 2), LONG).await.unwrap();
    hears(&mut watch, |event| appears(event, "b")).await;
}

async fn token() {
    let agent = Agent::guarded(Some("s3cret"));
    let error = registry(&agent).lookup("greeter").await.unwrap_err();
    assert_eq!(error.code(), 403);
    let (allowed, _) = open(&format!("consul://:s3cret@{}", agent.address()));
    allowed.register(&record("a", 1), LONG).await.unwrap();
    finds(&*allowed, &["a"]).await;
    assert!(!format!("{allowed:?}").contains("s3cret"));
    let tasks = TaskTracker::new();
    let odd = Server::new("127.0.0.1", 1).with_user("", "a\nb");
    assert_eq!(driver::Consul::open(&odd, &tasks).unwrap_err().code(), 412);
}
