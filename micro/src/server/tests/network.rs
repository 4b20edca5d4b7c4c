//! What other hosts can do.

use super::*;

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
        bound: "test".into(),
        seat: Arc::clone(&member.seat),
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
