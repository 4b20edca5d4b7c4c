//! Who gets in, on every way in, where accounts and rules decide.

use super::*;
use crate::auth::{Handle, Resource, Rule, Rules, StoredRules};
use crate::core::content_type::ContentType;
use crate::core::error::Result;
use crate::core::exchange::{Dispatch, Extra, Inbound, Outgoing};
use crate::core::metadata::Metadata;
use crate::core::shutdown::TaskTracker;
use crate::core::stream::{RawStream, Streaming};
use crate::server::Guard;
use crate::server::testing::Two;
use crate::store;

const HEADERS: [(&str, &str); 5] = [
    ("absent", ""),
    ("forged", "Bearer forged"),
    ("several", "Bearer staff, Bearer plain"),
    ("plain", "Bearer plain"),
    ("staff", "Bearer staff"),
];

fn user() -> axum::Router {
    axum::Router::new().route("/page", axum::routing::get(|| async { "page" }))
}

fn guarded(auth: Handle) -> Rig {
    Rig::new(|builder| builder.router(user()).policy(Arc::new(Guard::new(auth))))
}

fn asked(endpoint: &str) -> Request<Full<Bytes>> {
    match endpoint {
        "/page" => request("GET", "/page", ""),
        "Count" | "Sum" => post(endpoint, "3"),
        _ => post(endpoint, "\"x\""),
    }
}

async fn over_http(rig: &Rig, endpoint: &str, header: &'static str) -> Got {
    let mut request = asked(endpoint);
    if !header.is_empty() {
        request = with(request, "authorization", header);
    }
    let mut http = rig.off_host().await;
    got(http.send_request(request).await.unwrap()).await
}

fn inbound(rig: &Rig, endpoint: &str, header: &str, messages: Option<RawStream>) -> Inbound {
    let router = rig.server.router();
    let target = router.resolve("sample", &format!("Sample.{endpoint}")).unwrap();
    let mut headers = Metadata::new();
    if !header.is_empty() {
        headers.insert("authorization", header).unwrap();
    }
    let body = if endpoint == "Count" { "3" } else { "\"x\"" };
    Inbound {
        target,
        now: clock::now(),
        deadline: None,
        content_type: ContentType::Json,
        extra: Some(Box::new(Extra { headers, ..Extra::default() })),
        body: if messages.is_some() { Bytes::new() } else { body.into() },
        messages,
        remote: "10.0.0.9:1".into(),
    }
}

/// Calls as the transports other than HTTP do.
async fn natively(rig: &Rig, endpoint: &str, header: &str) -> u16 {
    let messages = (endpoint == "Sum").then(|| Streaming::from_iter([Bytes::from_static(b"3")]));
    dispatched(rig, inbound(rig, endpoint, header, messages)).await
}

async fn dispatched(rig: &Rig, call: Inbound) -> u16 {
    let code = |outcome: Result<Outgoing>| outcome.map_or_else(|error| error.code(), |_| 200);
    match rig.server.router().dispatch(call) {
        Ok(running) => code(running.await),
        Err(error) => error.code(),
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_in_by_any_way_without_good_credentials() {
    let rig = guarded(Handle::new(Two::default()));
    let mut refusals = std::collections::BTreeSet::new();
    for endpoint in ["Echo", "Scoped", "Public", "Count", "Sum", "/page"] {
        for (what, header) in HEADERS {
            let code = match (endpoint, what) {
                ("Public", "absent") => 200,
                (_, "absent" | "forged" | "several") => 401,
                ("Scoped", _) if what == "plain" || what == "staff" => 403,
                _ => 200,
            };
            let got = over_http(&rig, endpoint, header).await;
            assert_eq!(got.status, code, "{endpoint} {what}: {got:?}");
            if code == 401 {
                assert_eq!(got.headers["www-authenticate"], "Bearer");
                refusals.insert(got.error().detail().to_owned());
            }
            if endpoint != "/page" {
                assert_eq!(natively(&rig, endpoint, header).await, code, "{endpoint} {what}");
            }
        }
    }
    assert!(refusals.len() <= 3, "they tell too much: {refusals:?}");
}

/// What no endpoint can decode: whoever sees a 400 saw it decoded.
const NOISE: &[u8] = b"{\xff";

#[tokio::test(start_paused = true)]
async fn credentials_are_judged_before_what_nobody_can_decode() {
    let rig = guarded(Handle::new(Two::default()));
    for (what, header) in HEADERS {
        let code = if matches!(what, "plain" | "staff") { 400 } else { 401 };
        for endpoint in ["Echo", "Count", "Sum"] {
            let noise = || Bytes::from_static(NOISE);
            let messages = (endpoint == "Sum").then(|| Streaming::from_iter([noise()]));
            let mut call = inbound(&rig, endpoint, header, messages);
            if call.messages.is_none() {
                call.body = noise();
            }
            assert_eq!(dispatched(&rig, call).await, code, "{endpoint} {what}");
        }
        let mut request = post("Echo", "").map(|_| Full::new(Bytes::from_static(NOISE)));
        if !header.is_empty() {
            request = with(request, "authorization", header);
        }
        let mut http = rig.off_host().await;
        let got = got(http.send_request(request).await.unwrap()).await;
        assert_eq!(got.status, code, "{what}: {got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_decide_on_endpoints_and_on_the_users_own_routes() {
    let table = store::Handle::new(store::Memory::new()).table("rules").unwrap();
    let rules = StoredRules::open(table, &TaskTracker::new()).await.unwrap();
    let rig = guarded(Handle::new(Two::default()).with_rules(rules.clone()));
    assert_eq!(over_http(&rig, "Echo", "Bearer plain").await.status, 200);
    for rule in [
        Rule::grant("pages", "", Resource::route("/page")),
        Rule::grant("staff", "staff", Resource::service("sample", "Sample.*")),
    ] {
        rules.grant(&rule).await.unwrap();
    }
    for (endpoint, header, code) in [
        ("/page", "", 200),
        ("Echo", "", 401),
        ("Echo", "Bearer plain", 403),
        ("Echo", "Bearer staff", 200),
        ("Count", "Bearer plain", 403),
        ("Public", "", 200),
    ] {
        assert_eq!(over_http(&rig, endpoint, header).await.status, code, "{endpoint} {header}");
        // Once there are rules they hold on this machine too.
        let mut request = asked(endpoint);
        if !header.is_empty() {
            request = with(request, "authorization", header);
        }
        assert_eq!(rig.send(request).await.status, code, "{endpoint} {header}");
    }
    rules.revoke("staff").await.unwrap();
    assert_eq!(over_http(&rig, "Echo", "Bearer staff").await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a13_a_stream_ends_soon_after_its_credentials() {
    for endpoint in ["Sum", "Double"] {
        let auth = Two::default();
        let rig = guarded(Handle::new(auth.clone()));
        let (_sender, messages) = Streaming::channel(1);
        let call = inbound(&rig, endpoint, "Bearer plain", Some(messages));
        let (router, began) = (rig.server.router(), clock::now());
        let ending = async {
            clock::sleep(Duration::from_secs(70)).await;
            auth.over.store(true, Ordering::SeqCst);
        };
        let running = async {
            let mut out = Vec::new();
            match router.dispatch(call).unwrap().await? {
                Outgoing::Message(_) => Ok(()),
                Outgoing::Stream(mut source) => {
                    std::future::poll_fn(|task| source.as_mut().poll_encode(task, &mut out))
                        .await
                        .unwrap()
                }
            }
        };
        let (ended, ()) = tokio::join!(running, ending);
        assert_eq!(ended.unwrap_err().code(), 401, "{endpoint}");
        let lasted = clock::now() - began;
        assert!(
            lasted > Duration::from_secs(70) && lasted <= Duration::from_secs(100),
            "{lasted:?}"
        );
    }
}
