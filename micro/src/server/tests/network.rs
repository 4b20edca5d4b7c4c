//! What other hosts can do.

use super::*;
use crate::core::account::Account;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::Error;
use crate::core::exchange::{Extra, Head, Route};
use crate::core::proven::Proven;
use crate::server::policy::{Access, Policy};
use crate::server::router::Door;
use crate::transport::native;

async fn sent(rig: &Rig, request: Request<Full<Bytes>>) -> Got {
    let mut http = rig.off_host().await;
    got(http.send_request(request).await.unwrap()).await
}

fn user() -> axum::Router {
    axum::Router::new().route("/page", axum::routing::get(|| async { "page" }))
}

#[tokio::test(start_paused = true)]
async fn with_no_configuration_other_hosts_reach_only_what_is_public() {
    let rig = Rig::new(|builder| builder.router(user()));
    for (request, status) in [
        (post("Echo", "\"x\""), 401),
        (post("Scoped", "\"x\""), 401),
        (post("Count", "3"), 401),
        (request("GET", "/page", ""), 401),
        (post("Public", "\"x\""), 200),
        (request("GET", "/healthz", ""), 200),
        (request("GET", "/readyz", ""), 200),
    ] {
        let text = format!("{request:?}");
        let got = sent(&rig, request).await;
        assert_eq!(got.status, status, "{text}");
        if status == 401 {
            assert_eq!(got.headers["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn other_hosts_learn_only_of_what_is_public() {
    let rig = Rig::plain();
    let got = sent(&rig, request("POST", "/sample/Sample.Ech", "")).await;
    assert_eq!(got.status, 404);
    assert!(!got.body.contains("Sample.Echo,") && got.body.contains("Sample.Public"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn an_open_server_is_open_but_for_scopes_and_baggage() {
    let rig = Rig::new(|builder| builder.router(user()).open_to_network());
    for (request, status) in [
        (post("Echo", "\"x\""), 200),
        (post("Scoped", "\"x\""), 401),
        (request("GET", "/page", ""), 200),
    ] {
        assert_eq!(sent(&rig, request).await.status, status);
    }
    let about = with(with(post("About", ""), "baggage", "user=ada"), "tenant", "acme");
    let got = sent(&rig, about).await;
    assert!(got.body.contains("metadata=[tenant=acme] persistent=[]"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_caller_is_refused_before_its_body_is_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::plain();
    let (mut here, there) = Pipe::pair();
    let port = Arc::clone(&rig.server.port);
    let member = port.roster.join(None, &port.scope.limits.connection).unwrap();
    let peer = Peer {
        remote: "10.0.0.9:1".into(),
        socket: None,
        origin: Origin::OffHost,
        proven: Proven::Nobody,
        bound: "test".into(),
        seat: Arc::clone(&member.seat),
        known: std::sync::OnceLock::new(),
    };
    let stream = Prefixed::new(bytes::BytesMut::new(), Stream::Pipe(there));
    let head = b"POST /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
    here.write_all(head).await.unwrap();
    let mut first = [0; 12];
    tokio::join!(async { port.face.serve_http1(stream, peer).await }, async {
        here.read_exact(&mut first).await.unwrap();
        drop(here);
    },);
    assert_eq!(&first, b"HTTP/1.1 401");
}

/// Calls an endpoint over the native protocol, as a caller on another host or on this one.
async fn native_call(rig: &Rig, off_host: bool, endpoint: &str, token: Option<&str>) -> u16 {
    let (here, there) = Pipe::pair();
    let port = Arc::clone(&rig.server.port);
    port.scope.tasks.spawn("connection", {
        let port = Arc::clone(&port);
        async move {
            let member = port.roster.join(None, &port.scope.limits.connection).unwrap();
            let origin = if off_host { Origin::OffHost } else { Origin::Local };
            let (router, seat) = (Arc::clone(&port.router), Arc::clone(&member.seat));
            let door = Arc::new(Door { router, origin, proven: Proven::Nobody, seat });
            let session = native::Session::new(Stream::Pipe(there), &port.scope);
            session.serve(bytes::BytesMut::new(), door, after(5), &port.scope).await;
        }
    });
    let connection = native::connect(Arc::new(here), "10.0.0.9:1".into(), &port.scope);
    let name: &'static str = Box::leak(format!("Sample.{endpoint}").into_boxed_str());
    let route = Route::new("sample", name, CallKind::Unary);
    let mut extra = Extra::default();
    if let Some(token) = token {
        extra.headers.insert("authorization", token).unwrap();
    }
    let head = Head {
        route: &route,
        now: clock::now(),
        deadline: None,
        content_type: ContentType::Json,
        extra: Some(Box::new(extra)),
        waker: None,
    };
    let mut exchange = connection.start(&head, &Bytes::from_static(b"\"x\""), None).unwrap();
    let answer = std::future::poll_fn(|task| exchange.poll_reply(task)).await;
    answer.result.map_or_else(|error| error.code(), |_| 200)
}

#[tokio::test(start_paused = true)]
async fn other_hosts_get_no_further_over_the_native_protocol() {
    let rig = Rig::plain();
    for (off_host, endpoint, expected) in [
        (true, "Echo", 401),
        (true, "Scoped", 401),
        (true, "Public", 200),
        (true, "Ech", 404),
        (false, "Echo", 200),
    ] {
        let code = native_call(&rig, off_host, endpoint, None).await;
        assert_eq!(code, expected, "{endpoint} off host: {off_host}");
    }
}

/// Knows one token, whatever the protocol brings it in.
#[derive(Debug)]
struct Token;

impl Policy for Token {
    fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>, Error> {
        match access.headers.get("authorization") {
            Some("Bearer good") => {
                Ok(Some(Arc::new(Account::service("ada", ["admin".to_owned()]))))
            }
            Some("Bearer page") if access.path == "/page" && access.method == "GET" => Ok(None),
            _ => Err(Error::unauthorized("test", "who is it?")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_sees_the_token_over_every_protocol() {
    let rig = Rig::new(|builder| builder.router(user()).policy(Arc::new(Token)));
    for (token, expected) in [(None, 401), (Some("Bearer bad"), 401), (Some("Bearer good"), 200)] {
        for endpoint in ["Echo", "Scoped"] {
            let mut call = post(endpoint, "\"x\"");
            let mut call2 = Request::post(format!("http://localhost/sample/Sample.{endpoint}"));
            if let Some(token) = token {
                call = with(call, "authorization", token);
                call2 = call2.header("authorization", token);
            }
            assert_eq!(sent(&rig, call).await.status, expected, "HTTP/1 {token:?}");
            let body = Full::new(Bytes::from_static(b"\"x\"")).map_err(|never| match never {});
            let body = http_body_util::combinators::BoxBody::new(body);
            let call2 = call2.header("content-type", "application/json").body(body).unwrap();
            let status = http2(rig.dial()).await.send_request(call2).await.unwrap().status();
            assert_eq!(status.as_u16(), expected, "HTTP/2 {token:?}");
            for off_host in [true, false] {
                let code = native_call(&rig, off_host, endpoint, token).await;
                assert_eq!(code, expected, "native {token:?}");
            }
        }
    }
    let page = |method, path| with(request(method, path, ""), "authorization", "Bearer page");
    assert_eq!(sent(&rig, page("GET", "/page")).await.status, 200);
    assert_eq!(sent(&rig, page("GET", "/other")).await.status, 401);
    assert_eq!(sent(&rig, page("POST", "/page")).await.status, 401);
}
