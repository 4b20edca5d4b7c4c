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

/// A page of the shop asks whether it may.
fn asked(path: &str, method: &'static str) -> Request<Full<Bytes>> {
    let asked = with(request("OPTIONS", path, ""), "access-control-request-method", method);
    let asked = with(asked, "access-control-request-headers", "content-type, tenant");
    with(asked, "origin", SHOP)
}

const SHOP: &str = "https://shop.example";

#[tokio::test(start_paused = true)]
async fn an_allowed_page_may_call_and_read() {
    let rig = Rig::new(|builder| builder.allow_origin(SHOP));
    for (endpoint, methods) in [("Echo", "POST"), ("Find", "GET, HEAD, POST")] {
        let got = rig.send(asked(&format!("/sample/Sample.{endpoint}"), "POST")).await;
        assert_eq!(got.status, 204);
        assert_eq!(got.headers["access-control-allow-methods"], methods);
        assert_eq!(got.headers["access-control-allow-headers"], "content-type, tenant");
        assert_eq!(got.headers["access-control-allow-origin"], SHOP);
        assert_eq!(got.headers["access-control-max-age"], "600");
        assert!(!got.headers.contains_key("access-control-allow-credentials"));
        let vary: Vec<_> = got.headers.get_all("vary").iter().collect();
        assert!(vary.contains(&&http::HeaderValue::from_static("origin")), "{vary:?}");
    }
    for (request, status) in [
        (post("Echo", "\"x\""), 200),
        (post("Fail", ""), 409),
        (request("GET", "/sample/Sample.Find?text=x", ""), 200),
        (request("GET", "/sample/Sample.Echo", ""), 405),
        (request("GET", "/nothing", ""), 404),
    ] {
        let got = rig.send(with(request, "origin", SHOP)).await;
        assert_eq!(got.status, status);
        assert_eq!(got.headers["access-control-allow-origin"], SHOP);
        assert_eq!(got.headers["access-control-expose-headers"], "micro-retry, retry-after");
        assert_eq!(got.headers["vary"], "origin");
    }
    let got = rig.call("Echo", "\"x\"").await;
    assert_eq!(got.headers["vary"], "origin", "a cache must not give it to the shop");
    assert!(!got.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test(start_paused = true)]
async fn what_pages_may_send_and_see_can_be_set() {
    let cors = crate::server::Cors::new()
        .origin(SHOP)
        .header("content-type")
        .expose("x-total")
        .credentials()
        .max_age(Duration::from_secs(60));
    let user = axum::Router::new().route("/page", axum::routing::put(|| async { "page" }));
    let rig = Rig::new(|builder| builder.cors(cors).router(user));
    for (path, method, methods) in
        [("/sample/Sample.Echo", "POST", "POST"), ("/page", "PUT", "PUT")]
    {
        let got = rig.send(asked(path, method)).await;
        assert_eq!(got.status, 204, "{path}");
        assert_eq!(got.headers["access-control-allow-methods"], methods);
        assert_eq!(got.headers["access-control-allow-headers"], "content-type");
        assert_eq!(got.headers["access-control-allow-credentials"], "true");
        assert_eq!(got.headers["access-control-max-age"], "60");
    }
    let got = rig.send(with(request("PUT", "/page", ""), "origin", SHOP)).await;
    assert_eq!((got.status, got.body.as_str()), (200, "page"));
    assert_eq!(got.headers["access-control-allow-origin"], SHOP);
    assert_eq!(got.headers["access-control-expose-headers"], "micro-retry, retry-after, x-total");
    let refused = rig.send(with(asked("/page", "PUT"), "host", "evil.example")).await;
    assert_eq!(refused.status, 403);
    let mut other = asked("/page", "PUT");
    other.headers_mut().insert("origin", http::HeaderValue::from_static("https://evil.example"));
    let refused = rig.send(other).await;
    assert_eq!(refused.status, 403);
    assert!(!refused.headers.contains_key("access-control-allow-methods"));
}
