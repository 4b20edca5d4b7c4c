//! The registry of DNS against dnsmasq, whose records change by a restart.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro::core::error::Retry;
use micro::core::shutdown::TaskTracker;
use micro::driver::Drivers;
use micro::registry::{Cached, Event, Memory, Record, Registry, Watch};
use micro::testkit::registry::{Subject, conformance};
use micro::transport::Scope;
use micro_tests::server::{DNSMASQ, RECORDS, Server, dnsmasq, trial};

/// How long anything may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("dns_conforms", &DNSMASQ, dns_conforms),
        trial("dns_addresses_have_the_port_of_the_url", &DNSMASQ, addresses_have_the_port),
        trial("dns_tells_nothing_there_from_no_answer", &DNSMASQ, nothing_is_no_failure),
        trial("dns_keeps_an_answer_as_long_as_it_says", &DNSMASQ, an_answer_is_kept),
        trial("dns_takes_the_targets_of_the_first_priority", &DNSMASQ, first_priority),
        trial("dns_absent_at_start_works_once_it_is_there", &DNSMASQ, absent_at_start),
        trial("dns_readers_go_on_while_the_server_is_away", &DNSMASQ, readers_go_on),
    ]
}

/// A server whose records are written whole.
#[derive(Clone, Debug)]
struct Zone(Arc<Mutex<Server>>);

impl Zone {
    fn start() -> Self {
        Self(Arc::new(Mutex::new(dnsmasq())))
    }

    fn port(&self) -> u16 {
        self.0.lock().unwrap().port()
    }

    fn write(&self, records: &str) {
        std::fs::write(self.0.lock().unwrap().folder().join(RECORDS), records).unwrap();
    }

    /// Replaces the records.
    async fn set(&self, records: String) {
        let zone = self.clone();
        let restart = tokio::task::spawn_blocking(move || {
            zone.write(&records);
            let mut server = zone.0.lock().unwrap();
            // A helper for a connection over TCP, left by a killed server, answers as it did before.
            server.stop();
            server.start_again();
        });
        restart.await.unwrap();
    }

    fn registry(&self, options: &str) -> Arc<dyn Registry> {
        let url = format!("dns://127.0.0.1:{}/services.example{options}", self.port());
        micro::service::open::registry(&url, &Scope::default(), &Drivers::default()).unwrap()
    }
}

/// The records of DNS for the nodes of a registry.
async fn records(registry: &Memory) -> String {
    let mut text = "local-ttl=1\n".to_owned();
    for service in registry.list().await.unwrap() {
        for node in nodes(registry.lookup(&service).await.unwrap()) {
            let address: SocketAddr = node.parse().unwrap();
            let host = format!("h{}.services.example", address.ip().to_string().replace('.', "-"));
            let (ip, port) = (address.ip(), address.port());
            text += &format!("host-record={host},{ip}\n");
            text += &format!("srv-host=_{service}._tcp.services.example,{host},{port}\n");
        }
    }
    text
}

/// Writes into a zone whatever is registered, forever.
async fn mirror(registry: Memory, zone: Zone) {
    let mut watch = registry.watch(None).await.unwrap();
    let mut last = String::new();
    while watch.next().await.is_some() {
        while watch.try_next().is_some() {}
        let records = records(&registry).await;
        if records != last {
            zone.set(records.clone()).await;
            last = records;
        }
    }
}

fn nodes(records: Option<Vec<Record>>) -> Vec<String> {
    let nodes = records.into_iter().flatten().flat_map(|record| record.nodes);
    nodes.map(|node| node.address).collect()
}

/// Asks until the addresses of a service are these.
async fn finds(registry: &dyn Registry, service: &str, wanted: &[&str]) {
    let found = async {
        loop {
            let found = registry.lookup(service).await;
            if found.is_ok_and(|found| nodes(found) == wanted) {
                return;
            }
            clock::sleep(Duration::from_millis(20)).await;
        }
    };
    clock::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{service}: no {wanted:?}"));
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

async fn dns_conforms() {
    let make = async || {
        let (written, zone, tasks) = (Memory::new(), Zone::start(), TaskTracker::new());
        let mirror = tasks.spawn("test.mirror", mirror(written.clone(), zone.clone()));
        let subject = Subject::new(Arc::new(written), zone.registry(""));
        let subject = subject.with_ttl(Duration::from_secs(2)).telling_addresses().without_list();
        subject.with_guard((mirror.abort_on_drop(), zone))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn addresses_have_the_port() {
    let zone = Zone::start();
    let hosts = "host-record=greeter.services.example,127.0.0.1,::1\n\
                 host-record=greeter.services.example,127.0.0.2\n\
                 srv-host=_http._tcp.greeter.services.example,greeter.services.example,81\n";
    zone.set(hosts.to_owned()).await;
    let registry = zone.registry("?port=80&protocol=http");
    finds(&*registry, "greeter", &["127.0.0.1:80", "127.0.0.2:80", "[::1]:80"]).await;
    let records = registry.lookup("greeter").await.unwrap().unwrap();
    assert_eq!(records[0].instances()[0].dialed().unwrap().to_string(), "http://127.0.0.1:80");
    let registry = zone.registry("?name=_http._tcp.{service}");
    finds(&*registry, "greeter", &["127.0.0.1:81", "127.0.0.2:81", "[::1]:81"]).await;
}

async fn nothing_is_no_failure() {
    let zone = Zone::start();
    zone.set("host-record=greeter.services.example,127.0.0.1\n".to_owned()).await;
    let registry = zone.registry("");
    assert_eq!(registry.lookup("nobody").await.unwrap(), None, "there is no such name");
    let addresses = zone.registry("?port=80&name={service}.greeter");
    assert_eq!(addresses.lookup("nobody").await.unwrap(), None);
    // The server refuses what it would have to ask others for.
    let url = format!("dns://127.0.0.1:{}/elsewhere.example", zone.port());
    let elsewhere = micro::service::open::registry(&url, &Scope::default(), &Drivers::default());
    let error = elsewhere.unwrap().lookup("greeter").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    zone.0.lock().unwrap().stop();
    let began = clock::now();
    let error = registry.lookup("greeter").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    assert!(clock::now() - began < PATIENCE, "a question ends");
    zone.0.lock().unwrap().start_again();
    zone.0.lock().unwrap().pause();
    assert_eq!(registry.lookup("other").await.unwrap_err().code(), 503);
    zone.0.lock().unwrap().resume();
    finds(&*registry, "other", &[]).await;
}

fn srv(ttl: u32, port: u16) -> String {
    format!(
        "local-ttl={ttl}\nhost-record=h.services.example,127.0.0.1\n\
         srv-host=_greeter._tcp.services.example,h.services.example,{port}\n"
    )
}

async fn an_answer_is_kept() {
    let zone = Zone::start();
    zone.set(srv(3600, 1)).await;
    let registry = zone.registry("");
    assert_eq!(nodes(registry.lookup("greeter").await.unwrap()), ["127.0.0.1:1"]);
    zone.0.lock().unwrap().stop();
    assert_eq!(nodes(registry.lookup("greeter").await.unwrap()), ["127.0.0.1:1"], "it is kept");
    zone.write(&srv(1, 2));
    zone.0.lock().unwrap().start_again();
    let fresh = zone.registry("");
    let mut watch = fresh.watch(Some("greeter")).await.unwrap();
    assert!(matches!(watch.next().await, Some(Event::Reset(records)) if records.len() == 1));
    zone.set(srv(1, 3)).await;
    let moved = |event: &Event| matches!(event, Event::Update(r) if r.nodes[0].id == "127.0.0.1:3");
    hears(&mut watch, moved).await;
    finds(&*fresh, "greeter", &["127.0.0.1:3"]).await;
}

async fn first_priority() {
    let zone = Zone::start();
    let target = |port: u16, priority: u16| {
        let name = "_greeter._tcp.services.example,h.services.example";
        format!("srv-host={name},{port},{priority},1\n")
    };
    let host = "host-record=h.services.example,127.0.0.1\n".to_owned();
    zone.set(host + &target(1, 20) + &target(2, 10) + &target(3, 10)).await;
    finds(&*zone.registry(""), "greeter", &["127.0.0.1:2", "127.0.0.1:3"]).await;
}

async fn absent_at_start() {
    let zone = Zone::start();
    zone.write(&srv(1, 1));
    zone.0.lock().unwrap().stop();
    let registry = zone.registry("");
    assert_eq!(registry.lookup("greeter").await.unwrap_err().code(), 503);
    zone.0.lock().unwrap().start_again();
    finds(&*registry, "greeter", &["127.0.0.1:1"]).await;
}

async fn readers_go_on() {
    let zone = Zone::start();
    zone.set(srv(1, 1)).await;
    let tasks = TaskTracker::new();
    let cached = Cached::new(zone.registry(""), tasks.clone());
    finds(&cached, "greeter", &["127.0.0.1:1"]).await;
    zone.0.lock().unwrap().stop();
    // Longer than any answer holds.
    clock::sleep(Duration::from_secs(3)).await;
    assert_eq!(nodes(cached.lookup("greeter").await.unwrap()), ["127.0.0.1:1"]);
    zone.write(&srv(1, 2));
    zone.0.lock().unwrap().start_again();
    finds(&cached, "greeter", &["127.0.0.1:2"]).await;
    drop(cached);
    tasks.abort_all();
}
