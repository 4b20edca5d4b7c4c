//! Endpoints that are read by GET.

use super::*;

fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", &format!("/sample/Sample.{path}"), "")
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_endpoint_answers_to_a_query() {
    let rig = Rig::plain();
    for (path, body) in [("Find?text=a%20b", "\"a b\""), ("Find?times=2&text=x", "\"xx\"")] {
        let got = rig.send(get(path)).await;
        assert_eq!((got.status, got.body.as_str()), (200, body), "{path}");
        assert_eq!(got.headers["content-type"], "application/json");
    }
    let got = rig.send(with(get("Find?text=x"), "accept", "application/msgpack")).await;
    assert_eq!((got.body.as_bytes()[0] != b'"', got.status), (true, 200));
    assert_eq!(got.headers["content-type"], "application/msgpack");
    assert_eq!(rig.send(get("List?text=x&times=2")).await.body, "\"x\"\n\"x\"\n");
    let events = with(get("List?text=x"), "accept", "text/event-stream");
    let events = rig.send(events).await;
    assert_eq!(events.body, "data: \"x\"\n\nevent: end\ndata: {}\n\n");
    for path in ["Find", "Find?text=a&times=x", "Find?text=a&text=b", "Find?text=%zz"] {
        let got = rig.send(get(path)).await;
        assert_eq!((got.status, got.error().code()), (400, 400), "{path}");
    }
    // The same endpoint is called by POST as any other.
    assert_eq!(rig.call("Find", "{\"text\":\"y\"}").await.body, "\"y\"");
}

#[tokio::test(start_paused = true)]
async fn a_head_has_the_headers_of_a_get_and_no_body() {
    let rig = Rig::plain();
    let head = |path: &str| request("HEAD", &format!("/sample/Sample.{path}"), "");
    let got = rig.send(head("Find?text=abc")).await;
    assert_eq!((got.status, got.body.as_str()), (200, ""));
    assert_eq!(
        (&got.headers["content-length"], &got.headers["content-type"]),
        (&http::HeaderValue::from_static("5"), &http::HeaderValue::from_static("application/json"),)
    );
    assert_eq!(rig.send(head("Find")).await.status, 400);
    let mut http = http2(rig.dial()).await;
    let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
    let path = "http://localhost/sample/Sample.Find?text=abc";
    let request = Request::builder().method("HEAD").uri(path).body(body).unwrap();
    let got = super::got(http.send_request(request).await.unwrap()).await;
    assert_eq!(
        (got.status, got.body.as_str(), &got.headers["content-length"]),
        (200, "", &http::HeaderValue::from_static("5"),)
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_not_idempotent_is_not_read() {
    let rig = Rig::plain();
    for (method, endpoint, allow) in [
        ("GET", "Echo", "POST"),
        ("HEAD", "Echo", "POST"),
        ("GET", "Sum", "POST"),
        ("PUT", "Find", "GET, HEAD, POST"),
        ("DELETE", "Hang", "POST"),
    ] {
        let got = rig.send(request(method, &format!("/sample/Sample.{endpoint}?text=x"), "")).await;
        assert_eq!(got.status, 405, "{method} {endpoint}");
        assert_eq!(got.headers["allow"], allow);
    }
    assert_eq!(rig.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_call_may_not_read() {
    let rig = Rig::plain();
    let mut stranger = rig.off_host().await;
    let refused = got(stranger.send_request(get("Find?text=x")).await.unwrap()).await;
    assert_eq!(refused.status, 401);
    let foreign = with(get("Find?text=x"), "sec-fetch-site", "cross-site");
    assert_eq!(rig.send(foreign).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn values_stream_both_ways_in_messagepack() {
    let rig = Rig::plain();
    let packed = |endpoint: &str, body: &'static [u8]| {
        let request = with(post(endpoint, ""), "content-type", "application/msgpack");
        Request::map(request, |_| Full::new(Bytes::from_static(body)))
    };
    let summed = with(packed("Sum", b"\x01\x02\x03"), "accept", "application/json");
    assert_eq!(rig.send(summed).await.body, "6");
    let cut = rig.send(packed("Sum", b"\x01\xcd\x01")).await;
    assert_eq!((cut.status, cut.error().code()), (400, 400));
    assert_eq!(rig.send(packed("Count", b"\x03")).await.body, "\0\u{1}\u{2}");
    // One that fails ends with an extension value that holds the error.
    let failed = rig.send(packed("Count", b"\x08")).await;
    assert!(failed.body.contains("e{\"id\":") && failed.body.contains("423"), "{failed:?}");
}
