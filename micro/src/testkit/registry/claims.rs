//! The claims.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::registry::Endpoint;
use crate::registry::Node;
use crate::registry::Record;
use crate::registry::Value;
use crate::testkit::registry::Claim;
use crate::testkit::registry::Subject;
use crate::testkit::registry::Tells;
use crate::testkit::registry::Verdict;
use crate::testkit::registry::addresses;
use crate::testkit::registry::ensure;
use crate::testkit::registry::eventually;
use crate::testkit::registry::follower::Follower;
use crate::testkit::registry::must;
use crate::testkit::registry::record;

macro_rules! claims {
    ($($(#[$doc:meta])* $([$always:ident])? async fn $name:ident($subject:ident) $body:block)*) => {
        /// All claims, in the order in which they are examined.
        pub const CLAIMS: &[Claim] = &[$(Claim {
            name: stringify!($name),
            registers: { const ALWAYS: &[&str] = &[$(stringify!($always),)?]; ALWAYS.is_empty() },
            check: $name,
        },)*];
        $(
            $(#[$doc])*
            fn $name($subject: &Subject) -> BoxFuture<'_, Verdict> {
                Box::pin(async move $body)
            }
        )*
    };
}

claims! {
    /// What is declared works and what is not returns `Unsupported`.
    [always] async fn capabilities_are_told_truthfully(subject) {
        let a = record("declared", "a", 1);
        for registry in [&subject.one, &subject.two] {
            let declared = registry.capabilities();
            let checks = [
                ("watch", declared.watch, registry.watch(Some("declared")).await.map(drop)),
                ("register", declared.register, registry.register(&a, subject.long()).await),
                ("deregister", declared.register, registry.deregister(&a).await),
            ];
            for (what, works, outcome) in checks {
                let code = outcome.as_ref().map_or_else(crate::core::error::Error::code, |()| 200);
                ensure(code == if works { 200 } else { 501 }, || {
                    format!("{what} is declared as {works} and returns {outcome:?}")
                })?;
            }
            ensure(!registry.name().is_empty(), || "the backend has no name".to_owned())?;
        }
        if subject.lists {
            return Ok(());
        }
        let listed = subject.two.list().await.map(drop);
        let watched = subject.two.watch(None).await.map(drop);
        for (what, outcome) in [("list", listed), ("watch of all", watched)] {
            let code = outcome.as_ref().map_or_else(crate::core::error::Error::code, |()| 200);
            ensure(code == 501, || format!("{what} is not declared and returns {outcome:?}"))?;
        }
        Ok(())
    }

    async fn a_registered_record_is_found_whole(subject) {
        let full = full_record();
        must("register", subject.one.register(&full, subject.long()).await)?;
        eventually(subject, "full", |records| subject.found_one(records, &full)).await
    }

    async fn what_nobody_serves_is_nothing_and_no_error(subject) {
        let none = must("lookup", subject.two.lookup("nobody").await)?;
        ensure(none.is_none(), || format!("lookup of nothing returned {none:?}"))?;
        if subject.lists {
            let names = must("list", subject.two.list().await)?;
            ensure(names.is_empty(), || format!("an empty registry lists {names:?}"))?;
        }
        let absent = record("nobody", "a", 1);
        must("deregister of nothing", subject.one.deregister(&absent).await)
    }

    async fn registering_again_replaces_and_publishes_every_change(subject) {
        let mut a = record("again", "a", 1);
        for _ in 0..3 {
            must("register", subject.one.register(&a, subject.long()).await)?;
        }
        eventually(subject, "again", |records| subject.found_one(records, &a)).await?;
        a.endpoints.push(Endpoint { name: "Again.More".to_owned(), ..Endpoint::default() });
        must("register with an endpoint", subject.one.register(&a, subject.long()).await)?;
        eventually(subject, "again", |records| subject.found_one(records, &a)).await?;
        set_state(&mut a);
        must("register with metadata", subject.one.register(&a, subject.long()).await)?;
        eventually(subject, "again", |records| subject.found_one(records, &a)).await
    }

    /// A service and a node are two keys, however their names run together.
    async fn names_are_not_confused(subject) {
        let all = [
            record("ab", "c", 1),
            record("a", "bc", 2),
            record("a", "b", 3),
            record("a-b", "c", 4),
            record("A", "bc", 5),
        ];
        for record in &all {
            must("register", subject.one.register(record, subject.long()).await)?;
        }
        must("deregister", subject.one.deregister(&record("a", "bc", 2)).await)?;
        for (service, left) in [("ab", "1"), ("a", "3"), ("a-b", "4"), ("A", "5")] {
            if subject.tells == Tells::Addresses && service.eq_ignore_ascii_case("a") {
                continue;
            }
            let left = format!("127.0.0.1:{left}");
            eventually(subject, service, |records| addresses(records) == [&left]).await?;
        }
        Ok(())
    }

    async fn odd_names_survive(subject) {
        if subject.tells == Tells::Addresses {
            return Ok(());
        }
        let services = ["Odd/.a/ na\u{fc}me", "50%~x@y", "com.example.shop"];
        for (port, service) in (1..).zip(services) {
            let odd = record(service, "No.de \\ \u{1f980}:/%2f", port);
            must("register", subject.one.register(&odd, subject.long()).await)?;
            eventually(subject, service, |records| subject.found_one(records, &odd)).await?;
        }
        let mut sorted = services.map(str::to_owned);
        sorted.sort();
        listed(subject, &sorted).await
    }

    async fn versions_are_separate_records(subject) {
        let newer = Record { version: "2.0.0".to_owned(), ..record("v", "c", 3) };
        let records = [record("v", "a", 1), record("v", "b", 2), newer];
        for record in &records {
            must("register", subject.one.register(record, subject.long()).await)?;
        }
        let merged = Record::merge(records);
        eventually(subject, "v", |found| subject.found(found, &merged)).await
    }

    async fn deregistering_a_node_leaves_the_others(subject) {
        let [a, b] = [record("twins", "a", 1), record("twins", "b", 2)];
        must("register", subject.one.register(&a, subject.long()).await)?;
        must("register", subject.writer().register(&b, subject.long()).await)?;
        eventually(subject, "twins", |records| addresses(records).len() == 2).await?;
        must("deregister", subject.one.deregister(&a).await)?;
        must("deregister again", subject.one.deregister(&a).await)?;
        eventually(subject, "twins", |records| subject.found_one(records, &b)).await
    }

    /// A ghost that wakes up must not remove the node that was restarted under its id.
    async fn a_ghost_does_not_remove_its_restarted_twin(subject) {
        let [ghost, twin] = [record("ghost", "a", 1), record("ghost", "a", 2)];
        must("register", subject.one.register(&ghost, subject.long()).await)?;
        must("register", subject.writer().register(&twin, subject.long()).await)?;
        must("deregister", subject.one.deregister(&ghost).await)?;
        for _ in 0..3 {
            eventually(subject, "ghost", |records| subject.found_one(records, &twin)).await?;
        }
        Ok(())
    }

    async fn a_lease_that_is_not_renewed_ends_for_all_readers(subject) {
        if !subject.expires() {
            return Ok(());
        }
        let a = record("ends", "a", 1);
        let mut follower = watching(subject, Some("ends")).await?;
        must("register", subject.one.register(&a, subject.ttl).await)?;
        follower.saw(subject, &["a"]).await?;
        eventually(subject, "ends", |records| records.is_empty()).await?;
        follower.saw(subject, &[]).await?;
        listed(subject, &[]).await
    }

    async fn a_renewed_lease_lasts(subject) {
        let a = record("lasts", "a", 1);
        must("register", subject.one.register(&a, subject.ttl).await)?;
        eventually(subject, "lasts", |records| subject.found_one(records, &a)).await?;
        let mut follower = watching(subject, Some("lasts")).await?;
        for _ in 0..8 {
            clock::sleep(subject.ttl / 4).await;
            must("renew", subject.one.register(&a, subject.ttl).await)?;
        }
        eventually(subject, "lasts", |records| subject.found_one(records, &a)).await?;
        follower.saw(subject, &["a"]).await?;
        let lost = follower.log().iter().any(|entry| entry == "-a");
        ensure(!lost, || format!("a renewed node was reported as gone: {:?}", follower.log()))
    }

    async fn a_node_returns_after_its_lease_ended(subject) {
        if !subject.expires() {
            return Ok(());
        }
        let a = record("returns", "a", 1);
        let mut follower = watching(subject, None).await?;
        for _ in 0..2 {
            must("register", subject.one.register(&a, subject.ttl).await)?;
            follower.saw(subject, &["a"]).await?;
            eventually(subject, "returns", |records| records.is_empty()).await?;
            follower.saw(subject, &[]).await?;
        }
        must("register", subject.one.register(&a, subject.long()).await)?;
        follower.saw(subject, &["a"]).await?;
        eventually(subject, "returns", |records| subject.found_one(records, &a)).await
    }

    async fn a_watch_starts_with_the_state(subject) {
        let [a, b] = [record("state", "a", 1), record("state", "b", 2)];
        for record in [&a, &b] {
            must("register", subject.one.register(record, subject.long()).await)?;
        }
        eventually(subject, "state", |records| addresses(records).len() == 2).await?;
        let mut follower = watching(subject, Some("state")).await?;
        follower.saw(subject, &["a", "b"]).await?;
        let log = follower.log();
        ensure(log.is_empty(), || format!("the state came one by one: {log:?}"))?;
        watching(subject, Some("nothing")).await?.saw(subject, &[]).await
    }

    async fn a_watch_delivers_whole_batches(subject) {
        let mut follower = watching(subject, Some("batch")).await?;
        let ids: Vec<String> = (10..60).map(|n| n.to_string()).collect();
        let records: Vec<Record> =
            (10_u16..60).map(|n| record("batch", &n.to_string(), n)).collect();
        for record in &records {
            must("register", subject.one.register(record, subject.long()).await)?;
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        follower.saw(subject, &ids).await?;
        for record in records.iter().skip(1) {
            must("deregister", subject.one.deregister(record).await)?;
        }
        follower.saw(subject, ids.get(..1).unwrap_or_default()).await
    }

    async fn a_watch_keeps_the_order_of_one_nodes_changes(subject) {
        let mut follower = watching(subject, Some("order")).await?;
        let mut a = record("order", "a", 1);
        for port in 2..20 {
            a = record("order", "a", port);
            must("register", subject.one.register(&a, subject.long()).await)?;
        }
        let last = a.clone();
        follower.until(subject, "the last change", |found| subject.found_one(found, &last)).await?;
        must("deregister", subject.one.deregister(&a).await)?;
        follower.saw(subject, &[]).await
    }

    /// Changes during the start of a watch are in its state or follow it.
    async fn nothing_falls_between_a_lookup_and_a_watch(subject) {
        let records: Vec<Record> =
            (10_u16..50).map(|n| record("gap", &n.to_string(), n)).collect();
        let write = async {
            for record in &records {
                must("register", subject.one.register(record, subject.long()).await)?;
                clock::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        let watch = async {
            let mut followers = Vec::new();
            for _ in 0..8 {
                must("lookup", subject.two.lookup("gap").await)?;
                followers.push(watching(subject, Some("gap")).await?);
                clock::sleep(Duration::from_millis(3)).await;
            }
            Ok::<_, String>(followers)
        };
        let (written, followers) = tokio::join!(write, watch);
        let written: Verdict = written;
        written?;
        let ids: Vec<String> = (10..50).map(|n: u16| n.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        for mut follower in followers? {
            follower.saw(subject, &ids).await?;
        }
        Ok(())
    }

    async fn a_watch_tells_only_of_what_is_watched(subject) {
        let mut one = watching(subject, Some("mine")).await?;
        let everything = if subject.lists { None } else { Some("theirs") };
        let mut all = watching(subject, everything).await?;
        let [theirs, mine] = [record("theirs", "t", 1), record("mine", "m", 2)];
        for record in [&theirs, &mine] {
            must("register", subject.one.register(record, subject.long()).await)?;
        }
        one.saw(subject, &["m"]).await?;
        all.saw(subject, if subject.lists { &["m", "t"] } else { &["t"] }).await?;
        must("deregister", subject.one.deregister(&theirs).await)?;
        must("deregister", subject.one.deregister(&mine).await)?;
        all.saw(subject, &[]).await?;
        one.saw(subject, &[]).await
    }

    async fn dropped_watches_and_questions_do_no_harm(subject) {
        let a = record("dropped", "a", 1);
        for polls in 0..6 {
            poll_and_drop(polls, subject.one.register(&a, subject.long())).await;
            poll_and_drop(polls, subject.two.lookup("dropped")).await;
            poll_and_drop(polls, subject.two.list()).await;
            poll_and_drop(polls, subject.two.watch(Some("dropped").filter(|_| !subject.lists))).await;
            poll_and_drop(polls, subject.one.deregister(&a)).await;
            if subject.two.capabilities().watch {
                drop(must("watch", subject.two.watch(Some("dropped")).await)?);
            }
        }
        must("register", subject.one.register(&a, subject.long()).await)?;
        eventually(subject, "dropped", |records| subject.found_one(records, &a)).await
    }

    async fn what_nobody_could_use_is_refused(subject) {
        let good = record("refused", "a", 1);
        let at = |address: &str| {
            let node = Node { id: "a".to_owned(), address: address.to_owned(), ..Node::default() };
            Record { nodes: vec![node], ..good.clone() }
        };
        let nodes = [record("", "a", 1), record("", "b", 2)].into_iter().flat_map(|r| r.nodes);
        let bad = [
            ("two nodes", Record { nodes: nodes.collect(), ..good.clone() }),
            ("no node", Record { nodes: Vec::new(), ..good.clone() }),
            ("no service name", record("", "a", 1)),
            ("no node id", record("refused", "", 1)),
            ("no address", at("")),
            ("an unspecified address", at("0.0.0.0:80")),
            ("a port of no use", at("127.0.0.1:0")),
            ("a control character", record("a\nb", "a", 1)),
        ];
        for (what, record) in bad {
            let outcome = subject.one.register(&record, subject.long()).await;
            let code = outcome.map_or_else(|error| error.code(), |()| 200);
            ensure(code == 400, || format!("a record with {what} returned {code}, not 400"))?;
        }
        let outcome = subject.one.register(&good, Duration::ZERO).await;
        ensure(outcome.is_err(), || "a lease of no length was accepted".to_owned())
    }

    async fn names_are_listed_once_and_sorted(subject) {
        for (port, (service, id)) in (1..).zip([("c", "1"), ("a", "2"), ("b", "3"), ("a", "4")]) {
            let record = record(service, id, port);
            must("register", subject.one.register(&record, subject.long()).await)?;
        }
        listed(subject, &["a".to_owned(), "b".to_owned(), "c".to_owned()]).await
    }

    async fn many_register_at_once(subject) {
        let write = |handle: &'static str, port: u16| async move {
            let registry = if handle == "one" { &subject.one } else { subject.writer() };
            let record = record("many", &format!("{handle}{port}"), port);
            must("register", registry.register(&record, subject.long()).await)
        };
        for port in (1..=40).step_by(4) {
            let (a, b, c, d) = tokio::join!(
                write("one", port),
                write("two", port + 1),
                write("one", port + 2),
                write("two", port + 3),
            );
            a.and(b).and(c).and(d)?;
        }
        eventually(subject, "many", |records| addresses(records).len() == 40).await
    }
}

/// A follower, or nothing to see where the backend cannot watch.
struct Watching(Option<Follower>);

/// Returns where the writer has the nodes of these ids.
async fn written(subject: &Subject, ids: &[&str]) -> Result<Vec<String>, String> {
    let mut addresses = Vec::new();
    for service in must("list of the writer", subject.one.list().await)? {
        let records = must("lookup of the writer", subject.one.lookup(&service).await)?;
        let nodes = records.into_iter().flatten().flat_map(|record| record.nodes);
        let listed = nodes.filter(|node| ids.contains(&node.id.as_str()));
        addresses.extend(listed.map(|node| node.address));
    }
    addresses.sort_unstable();
    Ok(addresses)
}

async fn watching(subject: &Subject, service: Option<&str>) -> Result<Watching, String> {
    if !subject.two.capabilities().watch {
        return Ok(Watching(None));
    }
    Follower::start(&subject.two, service, subject).await.map(|follower| Watching(Some(follower)))
}

impl Watching {
    /// Reads until exactly these nodes are there.
    async fn saw(&mut self, subject: &Subject, ids: &[&str]) -> Verdict {
        let Some(follower) = &mut self.0 else { return Ok(()) };
        let what = format!("{} nodes {ids:?}", ids.len());
        if subject.tells == Tells::Addresses {
            let written = written(subject, ids).await?;
            let there = |found: &std::collections::BTreeMap<(String, String), Record>| {
                let found: Vec<Record> = found.values().cloned().collect();
                addresses(&found) == written
            };
            return follower.until(subject, &what, there).await;
        }
        let exactly = |found: &std::collections::BTreeMap<(String, String), Record>| {
            let mut found: Vec<&str> = found.keys().map(|(_, node)| node.as_str()).collect();
            found.sort_unstable();
            found == ids
        };
        follower.until(subject, &what, exactly).await
    }

    /// Reads until exactly these records are there.
    async fn until(
        &mut self,
        subject: &Subject,
        what: &str,
        wanted: impl Fn(&Vec<Record>) -> bool,
    ) -> Verdict {
        let Some(follower) = &mut self.0 else { return Ok(()) };
        follower.until(subject, what, |found| wanted(&found.values().cloned().collect())).await
    }

    fn log(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |follower| &follower.log)
    }
}

/// Asks until the names of all services are these.
async fn listed(subject: &Subject, names: &[String]) -> Verdict {
    if !subject.lists {
        return Ok(());
    }
    let deadline = clock::after(clock::now(), subject.patience);
    loop {
        let found = must("list", subject.two.list().await)?;
        if found == names {
            return Ok(());
        }
        if clock::now() >= deadline {
            return Err(format!("the list never became {names:?}, last seen {found:?}"));
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls a future a few times and drops it, finished or not.
async fn poll_and_drop<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(_done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn set_state(record: &mut Record) {
    if let Some(node) = record.nodes.first_mut() {
        node.metadata.insert("state".to_owned(), "draining".to_owned());
    }
}

/// A record in which every field is used.
fn full_record() -> Record {
    let mut full = record("full", "a", 1);
    let facts = |key: &str| [(key.to_owned(), "value \u{e9}".to_owned())].into();
    let value =
        |name: &str, values| Value { name: name.to_owned(), kind: "string".to_owned(), values };
    full.metadata = facts("owner");
    full.endpoints = vec![
        Endpoint {
            name: "Full.Call".to_owned(),
            request: Some(value("Request", vec![value("name", Vec::new())])),
            response: Some(value("Reply", Vec::new())),
            metadata: facts("stream"),
        },
        Endpoint { name: "Full.Bare".to_owned(), ..Endpoint::default() },
    ];
    for node in &mut full.nodes {
        node.metadata = facts("zone");
    }
    full
}
