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

/// Every path there is, and what it answers to a request of nobody foreign.
const PATHS: [(&str, &str, u16); 13] = [
    ("POST", "/sample/Sample.Echo", 200),
    ("POST", "/sample/Sample.Public", 200),
    ("POST", "/sample/Sample.Count", 200),
    ("GET", "/sample/Sample.Echo", 405),
    ("OPTIONS", "/sample/Sample.Echo", 405),
    ("POST", "/sample/Sample.Nothing", 404),
    ("GET", "/nothing", 404),
    ("GET", "/", 404),
    ("GET", "/page", 200),
    ("POST", "/page", 405),
    ("GET", "/metrics", 200),
    ("GET", "/openapi.json", 200),
    ("POST", "/?id=node", 404),
];

/// Paths that are answered to whoever asks: probes know no names.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

#[tokio::test(start_paused = true)]
async fn f50_every_path_refuses_foreign_pages_and_names_over_both_versions() {
    let user = axum::Router::new().route("/page", axum::routing::get(|| async { "page" }));
    let rig = Rig::new(|builder| builder.router(user));
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost.evil.example"),
        ("host", "evil.example"),
        ("host", "localhost.evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("", ""),
    ] {
        for (method, path, own) in PATHS {
            let expected = if name.is_empty() { own } else { 403 };
            let plain = request(method, path, "1");
            let asked = if name.is_empty() { plain } else { with(plain, name, value) };
            let got = rig.send(asked).await;
            assert_eq!(
                got.status == 403,
                expected == 403,
                "{name}: {value} {method} {path} {got:?}"
            );
            let second = over_http2(&rig, (method, path), (name, value)).await;
            assert_eq!(
                second == 403,
                expected == 403,
                "h2 {name}: {value} {method} {path} {second}"
            );
        }
        for path in PROBES {
            let plain = request("GET", path, "");
            let asked = if name.is_empty() { plain } else { with(plain, name, value) };
            assert_eq!(rig.send(asked).await.status, 200, "{path}");
        }
    }
    assert_eq!(rig.started(), 2, "the streams that were asked for by nobody foreign");
}

/// Sends a request over HTTP/2, where the name of the host is the authority.
async fn over_http2(rig: &Rig, (method, path): (&str, &str), (name, value): (&str, &str)) -> u16 {
    let mut http = http2(rig.dial()).await;
    let host = if name == "host" { value } else { "localhost" };
    let mut request = Request::builder().method(method).uri(format!("http://{host}{path}"));
    if !matches!(name, "" | "host") {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from_static(b"1")).map_err(|never| match never {});
    let body = http_body_util::combinators::BoxBody::new(body);
    http.send_request(request.body(body).unwrap()).await.unwrap().status().as_u16()
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
