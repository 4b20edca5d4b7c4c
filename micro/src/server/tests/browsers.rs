//! What web pages can do.

use super::*;

#[tokio::test(start_paused = true)]
async fn foreign_pages_reach_nothing_but_health() {
    let user = axum::Router::new().route("/page", axum::routing::get(|| async { "page" }));
    let rig = Rig::new(|builder| builder.router(user));
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("host", "evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for (request, status) in [
            (post("Echo", "\"x\""), 403),
            (request("GET", "/page", ""), 403),
            (request("GET", "/nothing", ""), 403),
            (request("OPTIONS", "/sample/Sample.Echo", ""), 403),
            (request("GET", "/healthz", ""), 200),
        ] {
            let got = rig.send(with(request, name, value)).await;
            assert_eq!(got.status, status, "{name}: {value}");
            assert!(!got.headers.contains_key("access-control-allow-origin"));
        }
    }
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_allowed_page_may_call_and_read() {
    let rig = Rig::new(|builder| builder.allow_origin("https://shop.example"));
    let origin = |request| with(request, "origin", "https://shop.example");
    let asked = with(
        request("OPTIONS", "/sample/Sample.Echo", ""),
        "access-control-request-method",
        "POST",
    );
    let asked = with(asked, "access-control-request-headers", "content-type");
    let preflight = rig.send(origin(asked)).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-methods"], "POST");
    assert_eq!(preflight.headers["access-control-allow-headers"], "content-type");
    for (request, status) in [(post("Echo", "\"x\""), 200), (post("Fail", ""), 409)] {
        let got = rig.send(origin(request)).await;
        assert_eq!(got.status, status);
        assert_eq!(got.headers["access-control-allow-origin"], "https://shop.example");
        assert_eq!(got.headers["vary"], "origin");
    }
}
