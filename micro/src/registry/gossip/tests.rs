//! Members, each with a socket of its own.

use super::*;
use crate::registry::Event;
use crate::registry::record::Node;

const TTL: Duration = Duration::from_secs(600);

fn free() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn member(listen: SocketAddr, seed: SocketAddr, cluster: &str) -> Gossip {
    let config = GossipConfig::default().with_cluster(cluster).with_listen(listen);
    Gossip::new(config.with_seeds([seed.to_string()]), &TaskTracker::new()).unwrap()
}

fn record(id: &str) -> Record {
    let node = Node { id: id.into(), address: "127.0.0.1:1".into(), ..Node::default() };
    Record { name: "greeter".into(), nodes: vec![node], ..Record::default() }
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
    clock::timeout(Duration::from_secs(60), heard).await.unwrap();
}

fn tells(event: &Event, id: &str) -> bool {
    let has = |record: &Record| record.nodes.iter().any(|node| node.id == id);
    match event {
        Event::Update(record) => has(record),
        Event::Reset(records) => records.iter().any(has),
        Event::Remove { .. } => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_gone_takes_its_nodes_with_it() {
    let seed = free();
    let stays = member(seed, seed, "gone");
    let leaves = member(free(), seed, "gone");
    let mut watch = stays.watch(Some("greeter")).await.unwrap();
    leaves.register(&record("a"), TTL).await.unwrap();
    hears(&mut watch, |event| tells(event, "a")).await;
    drop(leaves);
    hears(&mut watch, |event| matches!(event, Event::Remove { node, .. } if node == "a")).await;
    assert!(stays.lookup("greeter").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_other_clusters_are_not_heard() {
    let seed = free();
    let one = member(seed, seed, "one");
    let same = member(free(), seed, "one");
    let other = member(free(), seed, "two");
    let mut watch = one.watch(None).await.unwrap();
    other.register(&record("other"), TTL).await.unwrap();
    same.register(&record("same"), TTL).await.unwrap();
    hears(&mut watch, |event| tells(event, "same")).await;
    let records = one.lookup("greeter").await.unwrap().unwrap();
    assert_eq!(records[0].nodes.len(), 1);
    assert_eq!(records[0].nodes[0].id, "same");
}

#[tokio::test]
async fn a_record_that_fits_into_no_datagram_is_refused() {
    let gossip = member(free(), free(), "large");
    let mut large = record("a");
    large.metadata.insert("k".into(), "v".repeat(RECORD_BYTES_MAX));
    assert_eq!(gossip.register(&large, TTL).await.unwrap_err().code(), 413);
    large.metadata.insert("k".into(), "v".repeat(RECORD_BYTES_MAX * 10));
    assert_eq!(gossip.register(&large, TTL).await.unwrap_err().code(), 413);
    large.metadata.insert("k".into(), "v".repeat(RECORD_BYTES_MAX - 512));
    gossip.register(&large, TTL).await.unwrap();
}

#[tokio::test]
async fn a_process_registers_so_many_nodes_and_no_more() {
    let own = free();
    let gossip = member(own, own, "many");
    for n in 0..OWN_MAX {
        gossip.register(&record(&n.to_string()), TTL).await.unwrap();
    }
    assert_eq!(gossip.register(&record("more"), TTL).await.unwrap_err().code(), 429);
    gossip.register(&record("0"), TTL).await.unwrap();
}

#[tokio::test]
async fn a_member_that_nobody_could_reach_is_refused_at_start() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = GossipConfig::default().with_listen(everywhere);
    let tasks = TaskTracker::new();
    assert_eq!(Gossip::new(config.clone(), &tasks).unwrap_err().code(), 412);
    assert!(Gossip::new(config.with_advertise(free()), &tasks).is_ok());
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_an_error_and_no_crash() {
    // An address that is kept for documents (RFC 5737).
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 7280));
    let gossip = member(elsewhere, elsewhere, "elsewhere");
    assert_eq!(gossip.lookup("greeter").await.unwrap_err().code(), 503);
}

#[test]
fn a_url_names_seeds_and_cluster() {
    let url = "gossip://10.0.0.5,10.0.0.6:1?listen=10.0.0.7:2&cluster=shop";
    let url = crate::driver::ServerUrl::parse(url, GossipConfig::PORT).unwrap();
    let config = GossipConfig::of_url(url).unwrap();
    assert_eq!(config.seeds, ["10.0.0.5:7280", "10.0.0.6:1"]);
    assert_eq!(config.listen, Some(SocketAddr::from(([10, 0, 0, 7], 2))));
    assert_eq!(config.cluster, "shop");
    let bare = crate::driver::ServerUrl::parse("gossip", GossipConfig::PORT).unwrap();
    assert_eq!(GossipConfig::of_url(bare).unwrap().seeds, ["127.0.0.1:7280"]);
    let wrong = crate::driver::ServerUrl::parse("gossip://a/b", GossipConfig::PORT).unwrap();
    assert_eq!(GossipConfig::of_url(wrong).unwrap_err().code(), 412);
}

#[test]
fn keys_of_nodes_never_meet() {
    assert_ne!(key("a:b", "c"), key("a", "b:c"));
    assert_ne!(key("ab", "c"), key("a", "bc"));
}
