//! Calls over HTTP: formats, errors, contexts, layers.

use std::sync::atomic::AtomicUsize;
use std::task::{Context as Task, Poll};

use tower_layer::layer_fn;
use tower_service::Service;

use super::*;
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::server::{HttpNext, Next};

#[tokio::test(start_paused = true)]
async fn a_call_needs_no_more_than_curl_d_sends() {
    let rig = Rig::plain();
    let plain = rig.call("Echo", "\"x\"").await;
    assert_eq!((plain.status, plain.body.as_str()), (200, "\"x\""));
    assert_eq!(plain.headers["content-type"], "application/json");
    let form = with(post("Echo", "\"x\""), "content-type", "application/x-www-form-urlencoded");
    assert_eq!(rig.send(form).await.body, "\"x\"");
}

#[tokio::test(start_paused = true)]
async fn the_response_has_the_format_that_was_asked_for() {
    let rig = Rig::plain();
    let both = with(post("Echo", "\u{1}x"), "content-type", "application/msgpack");
    let binary = Request::map(both, |_| Full::new(Bytes::from_static(b"\xa1x")));
    let got = rig.send(binary.clone()).await;
    assert_eq!(got.headers["content-type"], "application/msgpack");
    assert_eq!(got.body, "\u{fffd}x");
    let got = rig.send(with(binary, "accept", "application/json")).await;
    assert_eq!(
        (got.body.as_str(), got.headers["content-type"].as_bytes()),
        ("\"x\"", &b"application/json"[..])
    );
    let got = rig.send(with(post("Echo", "\"x\""), "accept", "text/html, */*")).await;
    assert_eq!(got.headers["content-type"], "application/json");
}

#[tokio::test(start_paused = true)]
async fn errors_are_go_micros_json_whatever_the_format() {
    let rig = Rig::plain();
    for (request, status, id) in [
        (post("Fail", ""), 409, "sample.Sample.Fail"),
        (post("Panic", ""), 500, "sample"),
        (post("Echo", "{"), 400, "micro.codec"),
        (post("Echo", "1"), 400, "micro.codec"),
        (with(post("Echo", "x"), "content-type", "application/xml"), 415, "micro.codec"),
        (with(post("Echo", "\"x\""), "timeout", "soon"), 400, "micro.server"),
        (with(post("Fail", ""), "accept", "application/msgpack"), 409, "sample.Sample.Fail"),
    ] {
        let text = format!("{request:?}");
        let got = rig.send(request).await;
        assert_eq!((got.status, got.error().id()), (status, id), "{text}");
        assert_eq!(got.error().code(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn the_context_says_what_the_headers_said() {
    let rig = Rig::plain();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut request = with(post("About", ""), "tenant", "acme");
    request = with(request, "baggage", "user=ada");
    request = with(request, "authorization", "Bearer secret");
    request = with(request, "timeout", "3s");
    request = with(request, "traceparent", trace);
    let got = rig.send(request).await;
    assert_eq!(
        got.body,
        "\"service=sample endpoint=Sample.About left=3000 metadata=[tenant=acme] \
         persistent=[user=ada] trace=4bf92f3577b34da6a3ce929d0e0e4736 current=true\""
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_the_least_of_callers_endpoints_and_processs() {
    let rig = Rig::limited(|limits| limits.connection.age_max = Duration::from_secs(36_000));
    for (endpoint, timeout, seconds) in [
        ("Hang", None, 10),
        ("Hang", Some("1s"), 1),
        ("Hang", Some("100m"), 3600),
        ("Brief", None, 2),
        ("Brief", Some("1s"), 1),
        ("Brief", Some("5s"), 2),
        ("Detached", Some("1s"), 1),
    ] {
        let start = clock::now();
        let mut request = post(endpoint, "");
        if let Some(timeout) = timeout {
            request = with(request, "timeout", timeout);
        }
        let got = rig.send(request).await;
        assert_eq!((got.status, got.error().code()), (504, 408), "{endpoint}");
        let took = clock::now() - start;
        assert_eq!(took.as_secs_f64().round(), f64::from(seconds), "{endpoint} {timeout:?}");
    }
    assert_eq!(rig.server.in_flight(), 1, "only the detached one runs on");
}

#[derive(Clone)]
struct Counted<S>(S, Arc<AtomicUsize>);

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;
    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(task)
    }
    fn call(&mut self, request: R) -> S::Future {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.call(request)
    }
}

#[derive(Clone)]
struct Refusing;

impl Service<crate::server::Request> for Refusing {
    type Response = Outgoing;
    type Error = Error;
    type Future = std::future::Ready<Result<Outgoing>>;
    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: crate::server::Request) -> Self::Future {
        std::future::ready(Err(Error::forbidden(request.spec().name, "layer")))
    }
}

#[tokio::test(start_paused = true)]
async fn layers_see_calls_and_http_layers_see_every_request() {
    let counts = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (calls, requests) = counts.clone();
    let rig = Rig::new(|builder| {
        let calls = layer_fn(move |next: Next| Counted(next, Arc::clone(&calls)));
        let requests = layer_fn(move |next: HttpNext| Counted(next, Arc::clone(&requests)));
        builder.layer(&calls).http_layer(requests)
    });
    assert_eq!(rig.call("Echo", "\"x\"").await.body, "\"x\"");
    assert_eq!(rig.call("Count", "2").await.body, "0\n1\n");
    assert_eq!(rig.send(request("GET", "/healthz", "")).await.status, 200);
    assert_eq!(rig.call("Nothing", "").await.status, 404);
    assert_eq!((counts.0.load(Ordering::SeqCst), counts.1.load(Ordering::SeqCst)), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_layer_answers_in_the_handlers_place() {
    let rig = Rig::new(|builder| builder.layer(&layer_fn(|_: Next| Refusing)));
    let got = rig.call("Hang", "").await;
    assert_eq!((got.status, got.error().id(), rig.started()), (403, "Sample.Hang", 0));
}

/// JSON in which every letter is upside down, so to speak.
#[derive(Debug)]
struct Turned;

impl crate::codec::Codec for Turned {
    fn content_type(&self) -> crate::core::content_type::ContentType {
        crate::core::content_type::ContentType::parse("application/x-turned")
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        let begun = out.len();
        crate::codec::Json.encode(value, out)?;
        out[begun..].reverse();
        Ok(())
    }

    fn decode(&self, bytes: &[u8], visit: &mut crate::codec::Visit<'_>) -> Result<()> {
        let turned: Vec<u8> = bytes.iter().rev().copied().collect();
        crate::codec::Json.decode(&turned, visit)
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_of_ones_own_is_found_by_content_type_and_by_accept() {
    let mut codecs = crate::codec::Codecs::default();
    codecs.register(Arc::new(Turned));
    let rig = Rig::new(|builder| builder.codecs(codecs));
    let turned = with(post("Echo", "\"cba\""), "content-type", "application/x-turned");
    let got = rig.send(with(turned.clone(), "accept", "application/json")).await;
    assert_eq!((got.status, got.body.as_str()), (200, "\"abc\""));
    let got = rig.send(turned).await;
    assert_eq!(got.headers["content-type"], "application/x-turned");
    assert_eq!(got.body, "\"cba\"");
    let asked = with(post("Echo", "\"abc\""), "accept", "application/x-turned");
    assert_eq!(rig.send(asked).await.body, "\"cba\"");
    let read =
        with(request("GET", "/sample/Sample.Find?text=abc", ""), "accept", "application/x-turned");
    assert_eq!(rig.send(read).await.body, "\"cba\"");
    let documented = rig.send(request("GET", "/openapi.json", "")).await;
    assert!(documented.body.contains("application/x-turned"));
}
