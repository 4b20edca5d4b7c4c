//! The shared directory between handles, processes and their deaths.

use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use super::*;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::registry::Event;
use crate::registry::record::Node;

const TTL: Duration = Duration::from_secs(60);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn record(id: &str) -> Record {
    let node = Node { id: id.into(), address: "127.0.0.1:1".into(), ..Node::default() };
    Record { name: "greeter".into(), nodes: vec![node], ..Record::default() }
}

fn removed(node: &str) -> Event {
    Event::Remove { service: "greeter".into(), node: node.into() }
}

async fn next(watch: &mut Watch) -> Event {
    clock::timeout(PATIENCE, watch.next()).await.unwrap().unwrap()
}

fn open(notice: Notice) -> (tempfile::TempDir, Local) {
    let temp = tempfile::tempdir().unwrap();
    let directory = Directory::new(temp.path().join("registry"), 1);
    (temp, Local::start(directory, notice).unwrap())
}

/// Writes the entry of another process, as it would itself.
fn register_as(local: &Local, child: &Child, record: &Record) {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start: u64 =
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let own = serde_json::to_value(Lease::new(&local.shared.disk.machine, TTL)).unwrap();
    let mut entry = serde_json::json!({ "record": record, "lease": own });
    entry["lease"]["owner"]["pid"] = child.id().into();
    entry["lease"]["owner"]["start"] = start.into();
    let name = file_name(&record.name, &record.nodes[0].id);
    let content = serde_json::to_vec(&entry).unwrap();
    local.shared.disk.directory.write(&name, &content).unwrap();
}

fn process() -> Child {
    Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn two_handles_on_one_directory_see_each_other() {
    for notice in [Notice::System, Notice::Poll] {
        let (_temp, one) = open(notice);
        let two = Local::open_at(one.path()).unwrap();
        let mut watch = one.watch(Some("greeter")).await.unwrap();
        assert_eq!(next(&mut watch).await, Event::Reset(vec![]));
        two.register(&record("a"), TTL).await.unwrap();
        assert_eq!(next(&mut watch).await, Event::Update(record("a")));
        assert_eq!(one.lookup("greeter").await.unwrap(), Some(vec![record("a")]));
        assert_eq!(one.list().await.unwrap(), ["greeter"]);
        two.deregister(&record("a")).await.unwrap();
        assert_eq!(next(&mut watch).await, removed("a"));
        assert_eq!(one.lookup("greeter").await.unwrap(), None);
        assert_eq!(fs::read_dir(one.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_and_its_file_goes() {
    let (_temp, local) = open(Notice::System);
    let mut watch = local.watch(None).await.unwrap();
    next(&mut watch).await;
    local.register(&record("a"), Duration::from_millis(300)).await.unwrap();
    next(&mut watch).await;
    assert_eq!(next(&mut watch).await, removed("a"));
    assert_eq!(local.lookup("greeter").await.unwrap(), None);
    assert_eq!(fs::read_dir(local.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_process_leaves_the_registry_at_once() {
    let (_temp, local) = open(Notice::System);
    let mut watch = local.watch(None).await.unwrap();
    next(&mut watch).await;
    let mut child = process();
    register_as(&local, &child, &record("a"));
    assert_eq!(next(&mut watch).await, Event::Update(record("a")));
    // A ghost of this process must not remove the node of another one.
    local.deregister(&record("a")).await.unwrap();
    assert!(local.lookup("greeter").await.unwrap().is_some());

    let killed = clock::now();
    child.kill().unwrap();
    assert_eq!(next(&mut watch).await, removed("a"));
    assert!(clock::now() - killed < TTL / 6, "not by its lease");
    assert_eq!(local.lookup("greeter").await.unwrap(), None);
    child.wait().unwrap();
}

#[tokio::test]
async fn the_mirror_runs_only_while_someone_watches() {
    let (_temp, local) = open(Notice::System);
    assert!(local.shared.tasks.is_empty());
    let one = local.watch(None).await.unwrap();
    let two = local.clone().watch(Some("greeter")).await.unwrap();
    assert_eq!(local.shared.tasks.len(), 1);
    drop((one, two));
    let deadline: Instant = clock::after(clock::now(), PATIENCE);
    assert_eq!(local.shared.tasks.wait(deadline).await, 0);
    next(&mut local.watch(None).await.unwrap()).await;
}

#[tokio::test]
async fn a_directory_that_was_cleaned_away_comes_back() {
    let (_temp, local) = open(Notice::Poll);
    local.register(&record("a"), TTL).await.unwrap();
    let mut watch = local.watch(None).await.unwrap();
    next(&mut watch).await;
    fs::remove_dir_all(local.path()).unwrap();
    assert_eq!(local.lookup("greeter").await.unwrap(), None);
    local.deregister(&record("a")).await.unwrap();
    // Watchers keep the node: its process runs, and may write it again.
    local.register(&record("b"), TTL).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Update(record("b")));
}

#[tokio::test]
async fn files_that_are_no_entries_are_ignored() {
    let (_temp, local) = open(Notice::System);
    for (name, content) in [("greeter~x", "{"), ("greeter~y", ""), ("z", "[]"), (".tmp", "")] {
        fs::write(local.path().join(name), content).unwrap();
    }
    fs::create_dir(local.path().join("greeter~dir")).unwrap();
    local.register(&record("a"), TTL).await.unwrap();
    assert_eq!(local.lookup("greeter").await.unwrap(), Some(vec![record("a")]));
    let mut watch = local.watch(None).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Reset(vec![record("a")]));
    // Neither is one removed by deregistering a node of its name.
    local.deregister(&record("x")).await.unwrap();
    assert!(local.path().join("greeter~x").exists());
}

#[tokio::test]
async fn entries_of_an_earlier_boot_do_not_count() {
    let (_temp, local) = open(Notice::System);
    let lease = serde_json::json!({ "owner": null, "boot": "earlier", "expires_millis": u64::MAX });
    let entry = serde_json::json!({ "record": record("a"), "lease": lease });
    fs::write(local.path().join("greeter~a"), entry.to_string()).unwrap();
    assert_eq!(local.lookup("greeter").await.unwrap(), None);
}

#[tokio::test]
async fn a_record_longer_than_its_limit_is_refused() {
    let (_temp, local) = open(Notice::System);
    let mut huge = record("a");
    huge.metadata.insert("k".into(), "v".repeat(RECORD_BYTES_MAX));
    assert_eq!(local.register(&huge, TTL).await.unwrap_err().code(), 413);
}

#[tokio::test]
async fn of_more_nodes_than_its_limit_it_finds_that_many_and_says_so_once() {
    let (_temp, local) = open(Notice::Poll);
    let limits = RegistryLimits { nodes_per_service_max: 3, ..RegistryLimits::default() };
    let local = local.limited(limits);
    for (nodes, found, told) in [(3, 3, false), (4, 3, true), (30, 3, true)] {
        for id in 0..nodes {
            local.register(&record(&format!("n-{id:02}")), TTL).await.unwrap();
        }
        let records = local.lookup("greeter").await.unwrap().unwrap();
        assert_eq!(records[0].nodes.len(), found, "{nodes} nodes");
        assert_eq!(local.shared.disk.overfull.load(Ordering::Relaxed), told, "{nodes} nodes");
    }
}
