//! The registries.

use std::sync::Arc;
use std::time::Duration;

use micro::core::clock;
use micro::core::limits::Limits;
use micro::registry::{Cached, Event, Lease, Nats, NatsBroadcast, Node, Record, Registry, Watch};
use micro::testkit::registry::{Subject, conformance};
use serde_json::{Value, json};

use super::raw::Raw;
use super::{Ground, pause, tests, until};

tests! {
    it_conforms_in_a_bucket
    it_conforms_by_broadcast
    a_server_that_is_absent_fails_what_is_asked_and_is_used_when_it_is_there
    a_node_is_back_two_seconds_after_a_server_that_lost_everything
    a_view_is_served_while_the_server_is_away_and_followed_after
    a_watch_goes_on_after_a_restart_with_what_happened_meanwhile
    a_paused_server_ends_no_node_and_no_watch
    a_record_is_go_micros_json_with_its_time_to_live
    an_old_bucket_without_times_to_live_is_refused
    a_service_of_go_micro_is_found_and_finds
    a_broadcast_node_is_back_after_a_restart_without_a_heartbeat
    a_heartbeat_is_told_to_nobody
}

const LONG: Duration = Duration::from_secs(3600);

fn record(service: &str, id: &str, port: u16) -> Record {
    let address = format!("127.0.0.1:{port}");
    let node = Node { id: id.to_owned(), address, ..Node::default() };
    let mut record = Record::default();
    (record.name, record.version) = (service.to_owned(), "1.0.0".to_owned());
    record.nodes = vec![node];
    record
}

async fn it_conforms_in_a_bucket() {
    let made = conformance(async || {
        let ground = Ground::start();
        let make = || Arc::new(Nats::new(ground.connect()).unwrap());
        Subject::new(make(), make()).with_ttl(Duration::from_secs(2)).with_guard(ground)
    });
    made.await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn it_conforms_by_broadcast() {
    let made = conformance(async || {
        let ground = Ground::start();
        let make = || Arc::new(NatsBroadcast::new(ground.connect(), &ground.tasks));
        Subject::new(make(), make()).with_ttl(Duration::from_secs(2)).with_guard(ground)
    });
    made.await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn a_server_that_is_absent_fails_what_is_asked_and_is_used_when_it_is_there() {
    let ground = Ground::start();
    ground.server().kill();
    let bucket: Arc<dyn Registry> = Arc::new(Nats::new(ground.connect()).unwrap());
    let broadcast = Arc::new(NatsBroadcast::new(ground.connect(), &ground.tasks));
    for registry in [Arc::clone(&bucket), broadcast] {
        let began = clock::now();
        let a = record("early", "a", 1);
        let error = registry.register(&a, LONG).await.unwrap_err();
        assert_eq!(error.code(), 503, "{error}");
        assert_eq!(registry.lookup("early").await.unwrap_err().code(), 503);
        assert_eq!(registry.list().await.unwrap_err().code(), 503);
        assert_eq!(registry.watch(None).await.unwrap_err().code(), 503);
        assert!(clock::now() - began < Duration::from_secs(20));
    }
    ground.server().start_again();
    let a = record("early", "a", 1);
    until("it is registered", async || bucket.register(&a, LONG).await.is_ok()).await;
    assert_eq!(bucket.lookup("early").await.unwrap(), Some(vec![a]));
}

fn limits(ttl: Duration) -> Limits {
    let mut limits = Limits::default();
    limits.registry.ttl = ttl;
    limits.registry.heartbeat_interval = ttl / 4;
    limits
}

async fn a_node_is_back_two_seconds_after_a_server_that_lost_everything() {
    let ground = Ground::start();
    let registry: Arc<dyn Registry> = Arc::new(Nats::new(ground.connect()).unwrap());
    let a = record("lost", "a", 1);
    let limits = limits(Duration::from_secs(15));
    let lease = Lease::start(Arc::clone(&registry), a.clone(), &limits, &ground.tasks).unwrap();
    lease.registered().await.unwrap();
    let other = Nats::new(ground.connect()).unwrap();
    for _ in 0..3 {
        ground.server().kill();
        std::fs::remove_dir_all(ground.server().folder().join("data")).unwrap();
        // The lease finds out that it fails.
        until("it fails", async || lease.failure().is_some()).await;
        ground.server().start_again();
        let back = clock::now();
        until("the node is back", async || {
            other.lookup("lost").await.is_ok_and(|found| found == Some(vec![a.clone()]))
        })
        .await;
        let took = clock::now() - back;
        assert!(took <= Duration::from_secs(2), "it took {took:?}");
        lease.registered().await.unwrap();
        until("the lease is well", async || lease.failure().is_none()).await;
    }
}

async fn a_view_is_served_while_the_server_is_away_and_followed_after() {
    let ground = Ground::start();
    let registry: Arc<dyn Registry> = Arc::new(Nats::new(ground.connect()).unwrap());
    let a = record("view", "a", 1);
    registry.register(&a, LONG).await.unwrap();
    let cached = Cached::new(Arc::clone(&registry), ground.tasks.clone());
    let view = cached.view("view");
    until("it is seen", async || {
        cached.lookup("view").await.is_ok_and(|found| found == Some(vec![a.clone()]))
    })
    .await;
    ground.server().kill();
    until("it is away", async || registry.list().await.is_err()).await;
    for _ in 0..10 {
        let stale = cached.lookup("view").await.unwrap();
        assert_eq!(stale, Some(vec![a.clone()]));
    }
    ground.server().start_again();
    let b = record("view", "b", 2);
    until("it is registered", async || registry.register(&b, LONG).await.is_ok()).await;
    let both = Record::merge([a, b]);
    until("both are seen", async || {
        cached.lookup("view").await.is_ok_and(|found| found.as_ref() == Some(&both))
    })
    .await;
    drop(view);
}

/// Reads a watch until it tells this, and returns how many times it told the state.
async fn told(watch: &mut Watch, wanted: impl Fn(&Event) -> bool) -> usize {
    let mut resets = 0;
    let told = clock::timeout(super::PATIENCE, async {
        loop {
            let event = watch.next().await.unwrap();
            resets += usize::from(matches!(event, Event::Reset(_)));
            if wanted(&event) {
                return;
            }
        }
    });
    assert!(told.await.is_ok(), "the watch does not tell it");
    resets
}

async fn a_watch_goes_on_after_a_restart_with_what_happened_meanwhile() {
    let ground = Ground::start();
    let registry = Nats::new(ground.connect()).unwrap();
    let [a, b, c] = [record("gap", "a", 1), record("gap", "b", 2), record("gap", "c", 3)];
    for record in [&a, &b] {
        registry.register(record, LONG).await.unwrap();
    }
    let mut watch = registry.watch(Some("gap")).await.unwrap();
    told(&mut watch, |event| matches!(event, Event::Reset(state) if state[0].nodes.len() == 2))
        .await;
    // The watch is not read while all this happens.
    ground.restart();
    let other = Nats::new(ground.connect()).unwrap();
    until("it is gone", async || other.deregister(&a).await.is_ok()).await;
    other.register(&c, LONG).await.unwrap();
    let after = Record::merge([b, c]);
    let resets = told(&mut watch, |event| matches!(event, Event::Reset(s) if *s == after)).await;
    assert!(resets >= 1);
    let d = record("gap", "d", 4);
    other.register(&d, LONG).await.unwrap();
    told(&mut watch, |event| *event == Event::Update(d.clone())).await;
}

async fn a_paused_server_ends_no_node_and_no_watch() {
    let ground = Ground::start();
    let registry: Arc<dyn Registry> = Arc::new(Nats::new(ground.connect()).unwrap());
    let a = record("pause", "a", 1);
    let limits = limits(Duration::from_secs(120));
    let lease = Lease::start(Arc::clone(&registry), a.clone(), &limits, &ground.tasks).unwrap();
    lease.registered().await.unwrap();
    let mut watch = registry.watch(Some("pause")).await.unwrap();
    told(&mut watch, |event| matches!(event, Event::Reset(state) if !state.is_empty())).await;
    ground.server().pause();
    let began = clock::now();
    let error = registry.lookup("pause").await.unwrap_err();
    assert_eq!(error.code(), 503, "{error}");
    assert!(clock::now() - began < Duration::from_secs(15), "it hangs");
    clock::sleep(pause()).await;
    ground.server().resume();
    until("it answers", async || {
        registry.lookup("pause").await.is_ok_and(|found| found == Some(vec![a.clone()]))
    })
    .await;
    let b = record("pause", "b", 2);
    registry.register(&b, LONG).await.unwrap();
    told(&mut watch, |event| {
        let is_there = |r: &Record| r.nodes.iter().any(|node| node.id == "b");
        match event {
            Event::Update(record) => is_there(record),
            Event::Reset(state) => state.iter().any(is_there),
            _ => false,
        }
    })
    .await;
}

async fn a_record_is_go_micros_json_with_its_time_to_live() {
    let ground = Ground::start();
    let registry = Nats::new(ground.connect()).unwrap();
    registry
        .register(&record("com.shop", "shop-1", 80), Duration::from_millis(14_001))
        .await
        .unwrap();
    let subject = "$KV.micro-registry.com-2eshop.shop-2d1";
    let mut raw = Raw::connect(ground.port());
    let kept = raw.request(&format!("$JS.API.DIRECT.GET.KV_micro-registry.{subject}"), "");
    let written: Value = serde_json::from_str(&kept.body).unwrap();
    let wanted = json!({
        "name": "com.shop", "version": "1.0.0", "metadata": {}, "endpoints": [],
        "nodes": [{"id": "shop-1", "address": "127.0.0.1:80", "metadata": {}}],
    });
    assert_eq!(written, wanted);
    assert!(kept.headers.contains(&"Nats-TTL: 15".to_owned()), "{kept:?}");
    // One that another wrote, in the other order of the fields.
    let node = r#"{"metadata":null,"id":"b","address":"127.0.0.1:81"}"#;
    let other = format!(
        r#"{{"name":"go","version":"2","metadata":null,"endpoints":null,"nodes":[{node}]}}"#
    );
    raw.request("$KV.micro-registry.go.b", &other);
    // And two that are not what their key says, which hide nothing.
    raw.request("$KV.micro-registry.go.c", &other);
    raw.request("$KV.micro-registry.go.d", "no json");
    let found = registry.lookup("go").await.unwrap().unwrap();
    assert_eq!((found.len(), found[0].nodes[0].address.as_str()), (1, "127.0.0.1:81"));
}

async fn an_old_bucket_without_times_to_live_is_refused() {
    let ground = Ground::start();
    let mut raw = Raw::connect(ground.port());
    let plain = json!({
        "name": "KV_old", "subjects": ["$KV.old.>"], "max_msgs_per_subject": 1,
        "retention": "limits", "storage": "file", "discard": "new", "num_replicas": 1,
    });
    raw.request("$JS.API.STREAM.CREATE.KV_old", &plain.to_string());
    let limits = Limits::default().registry;
    let registry = Nats::in_bucket(ground.connect(), "old", 1, limits).unwrap();
    let error = registry.register(&record("a", "a", 1), LONG).await.unwrap_err();
    assert_eq!(error.code(), 412, "{error}");
    assert!(error.detail().contains("allow_msg_ttl"), "{error}");
}

async fn a_service_of_go_micro_is_found_and_finds() {
    let ground = Ground::start();
    let registry = NatsBroadcast::new(ground.connect(), &ground.tasks);
    registry.register(&record("ours", "a", 1), LONG).await.unwrap();
    let mut go = Raw::connect(ground.port());
    let asked = r#"{"Action":"get","Service":{"name":"ours","version":"","metadata":null,"endpoints":null,"nodes":null}}"#;
    let answer = go.request("micro.nats.query", asked);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&answer["name"], &answer["nodes"][0]["id"]), (&json!("ours"), &json!("a")));

    go.subscribe("micro.nats.watch");
    registry.register(&record("ours", "b", 2), LONG).await.unwrap();
    let told: Value = serde_json::from_str(&go.next().body).unwrap();
    assert_eq!(
        (&told["Action"], &told["Service"]["nodes"][0]["id"]),
        (&json!("create"), &json!("b"))
    );
    registry.deregister(&record("ours", "b", 2)).await.unwrap();
    let told = go.next();
    assert!(told.subject == "micro.nats.watch" && told.body.starts_with(r#"{"Action":"delete","#));

    // The other way: what a service of go-micro answers and announces.
    let theirs = r#"{"name":"theirs","version":"latest","metadata":null,"endpoints":[],"nodes":[{"id":"g","address":"127.0.0.1:9","metadata":{"protocol":"mucp"}}]}"#;
    go.subscribe("micro.nats.query");
    let port = ground.port();
    let serving = std::thread::spawn(move || {
        let asked = go.next();
        assert!(asked.body.contains(r#""Action":"get""#) && asked.body.contains("theirs"));
        go.publish(&asked.reply.unwrap(), None, theirs);
        // The answer is on its way before the connection ends.
        go.subscribe("raw.last");
        Raw::connect(port)
    });
    let found = registry.lookup("theirs").await.unwrap().unwrap();
    assert_eq!(found[0].nodes[0].metadata["protocol"], "mucp");
    let mut go = serving.join().unwrap();
    let mut watch = registry.watch(Some("theirs")).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Reset(vec![])));
    go.publish("micro.nats.watch", None, &format!(r#"{{"Action":"create","Service":{theirs}}}"#));
    told_by(&mut watch, "g").await;
}

async fn told_by(watch: &mut Watch, id: &str) {
    told(watch, |event| matches!(event, Event::Update(r) if r.nodes[0].id == id)).await;
}

async fn a_broadcast_node_is_back_after_a_restart_without_a_heartbeat() {
    let ground = Ground::start();
    let registry = NatsBroadcast::new(ground.connect(), &ground.tasks);
    let other = NatsBroadcast::new(ground.connect(), &ground.tasks);
    let a = record("back", "a", 1);
    registry.register(&a, LONG).await.unwrap();
    let mut watch = other.watch(Some("back")).await.unwrap();
    told(&mut watch, |event| matches!(event, Event::Reset(state) if state.len() == 1)).await;
    ground.restart();
    let back = clock::now();
    until("it answers", async || {
        other.lookup("back").await.is_ok_and(|found| found == Some(vec![a.clone()]))
    })
    .await;
    let took = clock::now() - back;
    assert!(took <= Duration::from_secs(3), "it took {took:?}");
    let b = record("back", "b", 2);
    registry.register(&b, LONG).await.unwrap();
    told_by(&mut watch, "b").await;
}

async fn a_heartbeat_is_told_to_nobody() {
    let ground = Ground::start();
    let bucket: Arc<dyn Registry> = Arc::new(Nats::new(ground.connect()).unwrap());
    let broadcast = Arc::new(NatsBroadcast::new(ground.connect(), &ground.tasks));
    for registry in [bucket, broadcast] {
        let [a, b] = [record("beats", "a", 1), record("beats", "b", 2)];
        registry.register(&a, LONG).await.unwrap();
        let mut watch = registry.watch(Some("beats")).await.unwrap();
        let Some(Event::Reset(first)) = watch.next().await else { panic!("no state at first") };
        for _ in 0..20 {
            registry.register(&a, LONG).await.unwrap();
        }
        registry.register(&b, LONG).await.unwrap();
        // A node that is slow to answer is told once, after the beginning.
        let mut told = first.len();
        loop {
            match watch.next().await {
                Some(Event::Update(record)) if record == b => break,
                Some(Event::Update(record)) if record == a => told += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, 1);
    }
}
