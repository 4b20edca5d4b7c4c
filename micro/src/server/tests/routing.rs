//! What answers which request.

use axum::routing::{get, post as on_post};

use super::*;

fn user() -> axum::Router {
    axum::Router::new()
        .route("/hello", get(|| async { "user" }))
        .route("/sample/Sample.Echo", get(|| async { "page" }).post(|| async { "shadowed" }))
        .route("/missing", get(|| async { http::StatusCode::NOT_FOUND }))
        .route("/panic", on_post(panics))
        .route("/healthz", get(|| async { "shadowed" }))
}

async fn panics() {
    panic!("on purpose");
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_first_then_health_then_the_users_routes_then_the_404() {
    let rig = Rig::new(|builder| builder.router(user()));
    for (method, path, status, body) in [
        ("POST", "/sample/Sample.Echo", 200, "\"x\""),
        ("GET", "/sample/Sample.Echo", 200, "page"),
        ("GET", "/healthz", 200, "ok\n"),
        ("GET", "/readyz", 200, "ready\n"),
        ("GET", "/hello", 200, "user"),
        ("POST", "/hello", 405, ""),
        ("GET", "/missing", 404, ""),
    ] {
        let got = rig.send(request(method, path, "\"x\"")).await;
        assert_eq!((got.status, got.body.as_str()), (status, body), "{method} {path}");
    }
    let got = rig.send(request("GET", "/sample/nothing", "")).await;
    assert_eq!((got.status, got.error().code()), (404, 404));
    assert!(got.error().detail().contains("sample/Sample.Echo"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_called_by_post_alone_and_its_name_is_exact() {
    let rig = Rig::plain();
    let got = rig.send(request("GET", "/sample/Sample.Echo", "")).await;
    assert_eq!((got.status, &got.headers["allow"]), (405, &"POST".parse().unwrap()));
    for path in ["/sample/sample.echo", "/sample/Sample.Echo/", "//sample/Sample.Echo", "/"] {
        let got = rig.send(request("POST", path, "\"x\"")).await;
        assert_eq!((got.status, got.error().code()), (404, 404), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_closure_and_health_does_not() {
    let rig = Rig::new(|builder| builder.ready(|| false));
    assert_eq!(rig.send(request("GET", "/readyz", "")).await.status, 503);
    assert_eq!(rig.send(request("GET", "/healthz", "")).await.status, 200);
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_route_is_a_500_and_the_connection_lives() {
    let rig = Rig::new(|builder| builder.router(user()));
    let mut http = rig.http1().await;
    let first = got(http.send_request(request("POST", "/panic", "")).await.unwrap()).await;
    assert_eq!((first.status, first.error().code()), (500, 500));
    http.ready().await.unwrap();
    let second = got(http.send_request(request("GET", "/hello", "")).await.unwrap()).await;
    assert_eq!(second.status, 200);
}
