//! What the process shows of itself, to whom, and that it counts what it served.

use super::*;
use crate::auth::{Handle, Resource, Rule, Rules, StoredRules};
use crate::core::account::Account;
use crate::core::descriptor::{EndpointSpec, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::shutdown::TaskTracker;
use crate::debug::{Check, CheckKind, EndpointStats, Memory, Monitor, Root, SpanQuery};
use crate::server::policy::{Access, Policy};
use crate::server::serve::{Endpoint, Serve};
use crate::server::testing::{Two, spec};
use crate::server::{Guard, Subscription};
use crate::store;

/// Lets callers in who bring the word.
#[derive(Debug)]
struct Word;

impl Policy for Word {
    fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
        match access.headers.get("authorization") {
            Some("Bearer word") => Ok(Some(Arc::new(Account::service("ada", [])))),
            Some(_) => Err(Error::unauthorized("test", "no such token")),
            None => Ok(None),
        }
    }
}

struct Seen {
    rig: Rig,
    monitor: Monitor,
}

fn seen(build: impl FnOnce(Builder) -> Builder, change: impl FnOnce(&mut Limits)) -> Seen {
    let mut limits = Limits::default();
    limits.debug.questions_burst = 1000;
    change(&mut limits);
    let monitor = Monitor::new(Arc::new(Memory::new()), limits.debug.clone(), Root::Never);
    let shown = monitor.clone();
    let rig = Rig::new(|builder| {
        build(builder.limits(limits).monitor(shown)).mount_internal(&["sample"], Sample::default())
    });
    Seen { rig, monitor }
}

fn plain() -> Seen {
    seen(|builder| builder, |_| {})
}

impl Seen {
    fn stats(&self, endpoint: &str) -> EndpointStats {
        let name = format!("Sample.{endpoint}");
        let stats = self.monitor.stats("test").endpoints;
        stats.into_iter().find(|stats| stats.endpoint == name).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Got {
        self.rig.send(request("GET", path, "")).await
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_once_by_how_they_ended() {
    let seen = plain();
    for (endpoint, body, count) in [
        ("Echo", "\"x\"", |s: &EndpointStats| s.outcomes.ok),
        ("Fail", "", |s: &EndpointStats| s.outcomes.rejected),
        ("Panic", "", |s: &EndpointStats| s.outcomes.failed),
        ("Brief", "", |s: &EndpointStats| s.outcomes.late),
    ] as [(_, _, fn(&EndpointStats) -> u64); 4]
    {
        for _ in 0..3 {
            seen.rig.call(endpoint, body).await;
        }
        let stats = seen.stats(endpoint);
        assert_eq!((count(&stats), stats.outcomes.requests()), (3, 3), "{endpoint}: {stats:?}");
        assert_eq!((stats.in_flight, stats.latency.count()), (0, 3), "{endpoint}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_is_seen_and_one_that_is_given_up_is_cancelled() {
    let seen = plain();
    let in_flight = tokio::select! {
        hang = seen.rig.call("Hang", "") => panic!("{hang:?}"),
        in_flight = async {
            seen.rig.until_started(1).await;
            seen.stats("Hang").in_flight
        } => in_flight,
    };
    assert_eq!(in_flight, 1);
    while seen.rig.dropped() == 0 {
        tokio::task::yield_now().await;
    }
    let stats = seen.stats("Hang");
    assert_eq!((stats.in_flight, stats.outcomes.cancelled), (0, 1), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_one_call_that_ends_with_it() {
    let seen = plain();
    assert_eq!(seen.rig.call("Count", "5").await.status, 200);
    assert_eq!(seen.stats("Count").outcomes.ok, 1);
    seen.rig.call("Count", "8").await;
    assert_eq!(seen.stats("Count").outcomes.requests(), 2);
    seen.rig.call("Count", "20").await;
    assert_eq!(seen.stats("Count").outcomes.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn what_no_handler_saw_is_counted_apart() {
    let seen = plain();
    let mut stranger = seen.rig.off_host().await;
    let refused = got(stranger.send_request(post("Echo", "\"x\"")).await.unwrap()).await;
    assert_eq!(refused.status, 401);
    let stats = seen.stats("Echo");
    assert_eq!((stats.outcomes.refused, stats.latency.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_traced_call_is_a_span_whose_parent_is_the_callers() {
    let seen = plain();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    seen.rig.send(with(post("Fail", ""), "traceparent", trace)).await;
    seen.rig.call("Echo", "\"x\"").await;
    let quiet = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";
    seen.rig.send(with(post("Echo", "\"x\""), "traceparent", quiet)).await;
    let spans = seen.monitor.recorder().spans(&SpanQuery::default()).await.unwrap();
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(span.trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(
        (span.parent.as_str(), span.name.as_str()),
        ("00f067aa0ba902b7", "sample.Sample.Fail")
    );
    assert_eq!(span.code, 409);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_numbers_is_what_prometheus_reads() {
    let seen = plain();
    seen.rig.call("Echo", "\"x\"").await;
    let page = seen.get("/metrics").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let line = "micro_requests_total{service=\"sample\",endpoint=\"Sample.Echo\",outcome=\"ok\"} 1";
    assert!(page.body.lines().any(|l| l == line), "{}", page.body);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let page = seen.rig.send(with(request("GET", "/metrics", ""), "accept", accept)).await;
    assert!(page.body.ends_with("# EOF\n"));
    assert_eq!(seen.rig.send(request("POST", "/metrics", "")).await.status, 404);
}

/// A20: whoever is open to the network still shows its inside only to callers with an account.
#[tokio::test(start_paused = true)]
async fn a20_callers_from_other_hosts_need_an_account_to_see_the_inside() {
    type Build = fn(Builder) -> Builder;
    let builds: [(&str, Build, u16); 3] = [
        ("closed", |builder| builder, 401),
        ("open", Builder::open_to_network, 200),
        ("policy", |builder| builder.policy(Arc::new(Word)), 200),
    ];
    for (name, build, plain) in builds {
        let rig = Rig::new(|builder| {
            // A second name, under which nothing else is mounted.
            build(builder).mount_internal(&["inside"], Sample::default())
        });
        let calls = [
            (request("GET", "/metrics", ""), 401),
            (request("POST", "/inside/Sample.Echo", "\"x\""), 401),
            (post("Echo", "\"x\""), plain),
        ];
        for (request, status) in calls {
            let path = request.uri().path().to_owned();
            let mut stranger = rig.off_host().await;
            let answer = got(stranger.send_request(request).await.unwrap()).await;
            assert_eq!(answer.status, status, "{name} {path}: {}", answer.body);
        }
    }
    let rig = Rig::new(|builder| {
        builder.policy(Arc::new(Word)).mount_internal(&["inside"], Sample::default())
    });
    for (token, status) in [("Bearer word", 200), ("Bearer wrong", 401)] {
        for request in
            [request("GET", "/metrics", ""), request("POST", "/inside/Sample.Echo", "\"x\"")]
        {
            let mut caller = rig.off_host().await;
            let request = with(request, "authorization", token);
            let answer = got(caller.send_request(request).await.unwrap()).await;
            assert_eq!(answer.status, status, "{token}: {}", answer.body);
        }
    }
}

/// Endpoints by the names of those that show the inside of a process.
#[derive(Debug)]
struct Inside;

const SHOWN: [EndpointSpec; 3] = [spec("Debug.Log"), spec("Debug.Dump"), spec("Debug.Profile")];

const NOTHING: Endpoint<Inside> = Endpoint {
    call: |_, _, _| Box::pin(async { Ok(Outgoing::Message(Bytes::from_static(b"null"))) }),
};

impl Serve for Inside {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: "debug",
        version: "1.0.0",
        type_name: "Debug",
        doc: "",
        endpoints: &SHOWN,
        subscriptions: &[],
        metadata: &[],
    };
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
    const ENDPOINTS: &'static [Endpoint<Self>] = &[NOTHING, NOTHING, NOTHING];
}

/// Asks for everything inside as a caller on another host; returns the one status of all.
async fn looked_at(rig: &Rig, token: &'static str) -> u16 {
    let shown = SHOWN.iter().map(|spec| request("POST", &format!("/inside/{}", spec.name), ""));
    let mut statuses = std::collections::BTreeSet::new();
    for request in shown.chain([request("GET", "/metrics", "")]) {
        let request = match token {
            "" => request,
            token => with(request, "authorization", token),
        };
        let mut caller = rig.off_host().await;
        statuses.insert(caller.send_request(request).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses.len(), 1, "{token}: {statuses:?}");
    statuses.into_iter().next().unwrap()
}

/// A20: an account is enough to look inside, until a rule says who may.
#[tokio::test(start_paused = true)]
async fn a20_a_rule_that_denies_the_inside_holds_for_accounts_of_other_hosts() {
    let table = store::Handle::new(store::Memory::new()).table("rules").unwrap();
    let rules = StoredRules::open(table, &TaskTracker::new()).await.unwrap();
    let auth = Handle::new(Two::default()).with_rules(rules.clone());
    let mut limits = Limits::default();
    limits.debug.questions_burst = 1000;
    let rig = Rig::new(|builder| {
        let builder = builder.limits(limits).policy(Arc::new(Guard::new(auth)));
        builder.mount_internal(&["inside"], Inside)
    });
    for (token, status) in [("", 401), ("Bearer plain", 200), ("Bearer staff", 200)] {
        assert_eq!(looked_at(&rig, token).await, status, "{token}: without rules");
    }
    let inside = || Resource::service("*", "Debug.*");
    for rule in [
        Rule::grant("all", "*", Resource::any()),
        Rule::deny("inside", "*", inside()),
        Rule::grant("operators", "staff", inside()).with_priority(1),
    ] {
        rules.grant(&rule).await.unwrap();
    }
    for (token, status) in [("", 401), ("Bearer plain", 403), ("Bearer staff", 200)] {
        assert_eq!(looked_at(&rig, token).await, status, "{token}: with rules");
    }
    let mut caller = rig.off_host().await;
    let call = with(post("Echo", "\"x\""), "authorization", "Bearer plain");
    assert_eq!(caller.send_request(call).await.unwrap().status(), 200, "all else is granted");
}

/// F50: no web page reads the numbers of a process on loopback.
#[tokio::test(start_paused = true)]
async fn f50_foreign_pages_and_hosts_see_nothing_of_the_inside() {
    let seen = plain();
    for path in ["/metrics", "/sample/Debug.Stats"] {
        let method = if path == "/metrics" { "GET" } else { "POST" };
        for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]
        {
            let answer = seen.rig.send(with(request(method, path, ""), name, value)).await;
            assert_eq!(answer.status, 403, "{path} {name}");
        }
        let mut rebound = request(method, path, "");
        rebound.headers_mut().insert("host", http::HeaderValue::from_static("evil.example"));
        assert_eq!(seen.rig.send(rebound).await.status, 403, "{path}");
    }
}

/// L29: questions have a pace.
#[tokio::test(start_paused = true)]
async fn l29_numbers_are_read_at_a_pace() {
    let seen = seen(|builder| builder, |limits| limits.debug.questions_burst = 3);
    for n in 0..30 {
        let status = seen.get("/metrics").await.status;
        assert_eq!(status, if n < 3 { 200 } else { 429 }, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_inside_is_seen_when_the_process_is_full_and_holds_up_no_stop() {
    let rig = Rig::new(|builder| {
        let mut limits = Limits::default();
        limits.call.in_flight_max = 1;
        builder.limits(limits).mount_internal(&["inside"], Sample::default())
    });
    let status = tokio::select! {
        hang = rig.call("Hang", "") => hang.status,
        status = async {
            rig.until_started(1).await;
            assert_eq!(rig.server.in_flight(), 1);
            rig.send(request("POST", "/inside/Sample.Echo", "\"x\"")).await.status
        } => status,
    };
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_shows_the_inside_is_listed_nowhere_and_gives_way() {
    let seen = plain();
    assert_eq!(seen.rig.server.services().len(), 1);
    let missing = seen.rig.send(request("POST", "/inside/Nothing", "")).await;
    assert_eq!(missing.body.matches("Sample.Echo").count(), 1, "{}", missing.body);
    // The service's own endpoint is served, as the handler that it counts shows.
    seen.rig.call("Echo", "\"x\"").await;
    assert_eq!(seen.stats("Echo").outcomes.ok, 1);
}

#[tokio::test(start_paused = true)]
async fn health_follows_the_checks() {
    for (kind, healthz, readyz) in
        [(CheckKind::Ready, 200, 503), (CheckKind::Live, 503, 503), (CheckKind::Info, 200, 200)]
    {
        let seen = plain();
        let failing = || async { Err(Error::unavailable("db", "the password is hunter2")) };
        seen.monitor.health().add(Check::new("db", failing).kind(kind)).unwrap();
        for (path, status) in [("/healthz", healthz), ("/readyz", readyz)] {
            let answer = seen.get(path).await;
            assert_eq!(answer.status, status, "{path} {kind:?}");
            assert!(!answer.body.contains("db"), "{}", answer.body);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_numbers_of_the_users_own_is_the_one_that_is_served() {
    let own = axum::Router::new().route("/metrics", axum::routing::get(|| async { "mine" }));
    let seen = seen(|builder| builder.router(own), |_| {});
    assert_eq!(seen.get("/metrics").await.body, "mine");
}
