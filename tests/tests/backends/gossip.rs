//! The registry of members that gossip.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro::core::limits::Limits;
use micro::core::shutdown::TaskTracker;
use micro::driver::Drivers;
use micro::registry::{Cached, Lease, Node, Record, Registry};
use micro::testkit::registry::{Subject, conformance};
use micro::transport::Scope;
use micro_tests::server::trial_alone;

/// How long anything may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("gossip_conforms", gossip_conforms),
        trial_alone("gossip_seeds_may_come_last", seeds_may_come_last),
        trial_alone("gossip_readers_follow_a_member_that_starts_again", starts_again),
    ]
}

fn free() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn member(listen: SocketAddr, seed: SocketAddr) -> Arc<dyn Registry> {
    let url = format!("gossip://{seed}?listen={listen}&cluster=test");
    micro::service::open::registry(&url, &Scope::default(), &Drivers::default()).unwrap()
}

fn record(id: &str, port: u16) -> Record {
    let address = format!("127.0.0.1:{port}");
    let node = Node { id: id.into(), address, ..Node::default() };
    Record { name: "greeter".into(), nodes: vec![node], ..Record::default() }
}

async fn finds(registry: &dyn Registry, wanted: &[&str]) {
    let found = async {
        loop {
            let records = registry.lookup("greeter").await.unwrap().unwrap_or_default();
            let nodes = records.into_iter().flat_map(|record| record.nodes);
            if nodes.map(|node| node.address).collect::<Vec<_>>() == wanted {
                return;
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    };
    clock::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
}

async fn gossip_conforms() {
    let make = async || {
        let (seed, other) = (free(), free());
        let (one, two) = (member(seed, seed), member(other, seed));
        Subject::new(one, two).with_ttl(Duration::from_secs(2))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn seeds_may_come_last() {
    let seed = free();
    let early = member(free(), seed);
    early.register(&record("a", 1), PATIENCE * 10).await.unwrap();
    let late = member(seed, seed);
    finds(&*late, &["127.0.0.1:1"]).await;
}

/// A process that dies is passed over; at its return it is there by its lease, for readers that
/// know the service all the while.
async fn starts_again() {
    let (seed, tasks) = (free(), TaskTracker::new());
    let stays = member(seed, seed);
    stays.register(&record("a", 1), PATIENCE * 10).await.unwrap();
    let cached = Cached::new(Arc::clone(&stays), tasks.clone());
    for port in [2, 3] {
        let leaves = member(free(), seed);
        let own = TaskTracker::new();
        let limits = Limits::default();
        let lease = Lease::start(Arc::clone(&leaves), record("b", port), &limits, &own).unwrap();
        lease.registered().await.unwrap();
        finds(&cached, &["127.0.0.1:1", &format!("127.0.0.1:{port}")]).await;
        // As a killed process does: nothing is said.
        own.abort_all();
        own.wait(clock::after(clock::now(), PATIENCE)).await;
        drop((lease, leaves));
        finds(&*stays, &["127.0.0.1:1"]).await;
    }
    tasks.abort_all();
}
