//! Multicast between two registries, on loopback and a port of its own.

use std::net::UdpSocket;

use super::*;
use crate::registry::record::Node;

const TTL: Duration = Duration::from_secs(60);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port that no other test speaks on.
fn port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn on(port: u16) -> Mdns {
    Mdns::with_config(MdnsConfig::default().with_port(port))
}

fn record(id: &str) -> Record {
    let node = Node { id: id.into(), address: "127.0.0.1:7".into(), ..Node::default() };
    let (name, version) = ("greeter".to_owned(), "1".to_owned());
    Record { name, version, nodes: vec![node], ..Record::default() }
}

fn removed(node: &str) -> Event {
    Event::Remove { service: "greeter".into(), node: node.into() }
}

async fn next(watch: &mut Watch) -> Event {
    clock::timeout(PATIENCE, watch.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn nodes_of_other_processes_are_found_listed_and_watched() {
    let port = port();
    let (server, client) = (on(port), on(port));
    assert_eq!(client.lookup("greeter").await.unwrap(), None);
    let mut watch = client.watch(Some("greeter")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Reset(vec![]));
    server.register(&record("a"), TTL).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Update(record("a")));
    assert_eq!(client.lookup("greeter").await.unwrap(), Some(vec![record("a")]));
    assert_eq!(client.list().await.unwrap(), ["greeter"]);

    let mut late = client.watch(None).await.unwrap();
    assert_eq!(next(&mut late).await, Event::Reset(vec![record("a")]));
    server.deregister(&record("a")).await.unwrap();
    assert_eq!(next(&mut watch).await, removed("a"));
    assert_eq!(next(&mut late).await, removed("a"));
    assert_eq!(client.lookup("greeter").await.unwrap(), None);
    assert!(client.list().await.unwrap().is_empty());
}

/// What travels over the wire, as any other program on the link sees it.
#[tokio::test]
async fn an_announcement_holds_the_records_of_a_service() {
    use hickory_proto::op::Message;
    use hickory_proto::rr::{RData, Record as Resource};
    let port = port();
    let capture = socket::Listener::open(port).unwrap();
    capture.join(Ipv4Addr::LOCALHOST).unwrap();
    let server = on(port);
    server.register(&record("a"), TTL).await.unwrap();
    let mut bytes = Vec::new();
    let captured = clock::timeout(PATIENCE, async {
        loop {
            let received = std::future::poll_fn(|task| capture.poll_receive(task, &mut bytes));
            received.await;
            let message = Message::from_vec(&bytes).unwrap();
            if !message.answers.is_empty() {
                return message;
            }
        }
    });
    let message = captured.await.unwrap();
    let all: Vec<Resource> = message.answers.into_iter().chain(message.additionals).collect();
    let of = |kind: fn(&RData) -> bool| all.iter().find(|resource| kind(&resource.data));
    // The pointer to it is for those who ask for the service.
    assert!(of(|data| matches!(data, RData::PTR(_))).is_none(), "{all:?}");
    let service = of(|data| matches!(data, RData::SRV(_))).expect("an SRV record");
    let RData::SRV(target) = &service.data else { unreachable!() };
    assert_eq!(target.port, 7);
    assert!(service.name.to_utf8().starts_with("a.greeter."), "{}", service.name);
    let text = of(|data| matches!(data, RData::TXT(_))).expect("a TXT record");
    assert_eq!(text.name, service.name);
    let address = of(|data| matches!(data, RData::A(_))).expect("an A record");
    assert_eq!((&address.name, address.data.to_string()), (&target.target, "127.0.0.1".into()));
    assert!(all.iter().all(|resource| resource.ttl > 0));
}

#[tokio::test]
async fn a_lookup_ends_soon_after_the_first_answer() {
    let port = port();
    let (server, client) = (on(port), on(port));
    server.register(&record("a"), TTL).await.unwrap();
    let mut fastest = ANSWER_TIMEOUT;
    // The machine may be busy: one look in a few is not held up.
    for _ in 0..20 {
        let began = clock::now();
        assert!(client.lookup("greeter").await.unwrap().is_some());
        fastest = fastest.min(clock::now() - began);
    }
    assert!(fastest >= SETTLE && fastest < ANSWER_TIMEOUT / 2, "{fastest:?}");
}

#[tokio::test]
async fn a_node_that_falls_silent_without_a_goodbye_is_dropped() {
    let port = port();
    let (server, client) = (on(port), on(port));
    server.register(&record("a"), TTL).await.unwrap();
    let mut watch = client.watch(Some("greeter")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Reset(vec![record("a")]));
    // As when the process is killed: the task goes, nothing is said.
    drop(server);
    tokio::time::pause();
    assert_eq!(next(&mut watch).await, removed("a"));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_with_a_goodbye() {
    let port = port();
    let (server, client) = (on(port), on(port));
    let mut watch = client.watch(Some("greeter")).await.unwrap();
    next(&mut watch).await;
    server.register(&record("a"), Duration::from_millis(300)).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Update(record("a")));
    assert_eq!(next(&mut watch).await, removed("a"));
}

#[tokio::test]
async fn the_task_runs_only_while_it_is_needed() {
    let registry = on(port());
    registry.lookup("greeter").await.unwrap();
    assert!(registry.shared.tasks.is_empty());
    registry.register(&record("a"), TTL).await.unwrap();
    let watch = registry.watch(None).await.unwrap();
    registry.deregister(&record("a")).await.unwrap();
    assert_eq!(registry.shared.tasks.len(), 1);
    drop(watch);
    assert_eq!(registry.shared.tasks.wait(clock::after(clock::now(), PATIENCE)).await, 0);
}

#[tokio::test]
async fn a_loopback_node_is_never_told_to_another_machine() {
    let registry = on(port());
    registry.register(&record("a"), TTL).await.unwrap();
    let asked = || Packet::read(&question("greeter").unwrap()).questions;
    let core = &registry.shared.core;
    assert_eq!(core.answers(&asked(), "127.0.0.1:9999".parse().unwrap()).len(), 1);
    assert_eq!(core.answers(&asked(), "192.0.2.1:9999".parse().unwrap()).len(), 0);
}

#[tokio::test]
async fn hostile_packets_do_not_stop_it() {
    let port = port();
    let (server, client) = (on(port), on(port));
    server.register(&record("a"), TTL).await.unwrap();
    let _watch = client.watch(None).await.unwrap();
    let senders = engine::exchange(&[Ipv4Addr::LOCALHOST], port).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    for length in 0..300 {
        let noise: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        senders[0].send(&noise).await.unwrap();
    }
    senders[0].send(&[0xff; 20_000]).await.unwrap();
    assert_eq!(client.lookup("greeter").await.unwrap(), Some(vec![record("a")]));
}

#[tokio::test]
async fn where_multicast_does_not_work_the_error_names_the_way_out() {
    // An address of no interface of any machine.
    let interfaces = vec![Ipv4Addr::new(192, 0, 2, 1)];
    let nowhere = MdnsConfig { interfaces, port: port(), ..MdnsConfig::default() };
    let registry = Mdns::with_config(nowhere);
    for error in [
        registry.lookup("greeter").await.unwrap_err(),
        registry.watch(None).await.unwrap_err(),
        registry.register(&record("a"), TTL).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), 503);
        assert!(error.detail().contains("MICRO_REGISTRY"), "{error}");
    }
}
