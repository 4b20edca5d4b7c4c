//! Calls with one request and one response.

use std::time::Duration;

use super::*;
use crate::auth::Handle;
use crate::server::Guard;
use crate::server::http::Peer;
use crate::server::policy::Origin;
use crate::server::testing::Two;
use crate::transport::mucp::tests::golden;

/// Recorded calls whose answers are the same here, and where they differ why.
const SAME: [&str; 11] = [
    "unary json",
    "unary json 2nd on same conn",
    "unary json-rpc",
    "error micro",
    "after error",
    "no method",
    "no service",
    "bad endpoint",
    "protobuf",
    "proto-rpc",
    "grpc+proto",
];

async fn recorded(bytes: &[u8]) -> Message {
    let (here, mut there) = Pipe::pair();
    there.write_all(bytes).await.unwrap();
    reader(here).next().await.unwrap().unwrap()
}

/// The headers that go-micro answered, but for those it repeats of another request: the first on
/// the same connection.
fn expected(message: &Message, exchange: &golden::Exchange) -> BTreeMap<String, String> {
    let mut headers = headers(message);
    let own = |name: &str| {
        let text = String::from_utf8(exchange.client.clone()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.map(str::to_owned).unwrap_or_default()
    };
    headers.insert("accept".to_owned(), own("Accept"));
    headers.insert("user-agent".to_owned(), own("User-Agent"));
    headers
}

/// Reads a request of bytes that are no text.
fn lossy(exchange: &golden::Exchange) -> golden::Exchange {
    let client = String::from_utf8_lossy(&exchange.client).into_owned().into_bytes();
    golden::Exchange { client, ..exchange.clone() }
}

#[tokio::test(start_paused = true)]
async fn every_recorded_call_is_answered_as_go_micro_answers_it_however_it_is_cut() {
    let rig = rig();
    for name in SAME {
        let exchange = golden::exchange(name);
        let theirs = recorded(&exchange.answer()).await;
        let expected = expected(&theirs, &lossy(&exchange));
        let ours = ask(&rig, &[&exchange.client]).await;
        assert_eq!((ours.status, headers(&ours)), (200, expected.clone()), "{name}");
        assert_eq!(ours.body, theirs.body, "{name}");
        for at in 1..exchange.client.len() {
            let (first, second) = exchange.client.split_at(at);
            let cut = ask(&rig, &[first, second]).await;
            assert_eq!((headers(&cut), &cut.body), (expected.clone(), &theirs.body), "{name} {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn plain_failures_have_an_id_and_the_time_of_a_call_is_kept() {
    let rig = rig();
    let failed = ask(&rig, &[&golden::exchange("error plain").client]).await;
    let said = error(&failed);
    assert_eq!(
        (said.id(), said.code(), said.detail()),
        ("greeter.Greeter.Plain", 500, "plain failure")
    );
    assert!(failed.body.is_empty() && failed.headers.get("X-Micro-Id").is_none());
    let start = clock::now();
    let late = ask(&rig, &[&golden::exchange("timeout").client]).await;
    assert_eq!(error(&late).code(), 408);
    assert_eq!(clock::now() - start, Duration::from_millis(300));
    for timeout in ["Timeout: 0|", "Timeout: 000|", "Timeout:|", ""] {
        let lines = format!("{timeout}Micro-Endpoint: Greeter.Slow|Content-Type: application/json");
        let done = ask(&rig, &[&post(&lines, "{}")]).await;
        assert_eq!(&done.body[..], b"{\"msg\":\"late\"}\n", "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_read_with_or_without_the_headers_that_do_not_matter() {
    let rig = rig();
    for lines in [
        "Micro-Endpoint: Greeter.Hello",
        "Micro-Method: Greeter.Hello",
        "X-Micro-Endpoint: Greeter.Hello|Micro-Service: elsewhere",
        "x-micro-method: Greeter.Hello|X-Micro-Service: greeter|Micro-Id: zzz",
        "Micro-Service: greeter|Micro-Endpoint: Greeter.Hello|Micro-Id:",
        "Micro-Endpoint: Greeter.Hello|Connection: close",
        "Micro-Endpoint: Greeter.Hello|Micro-Target: x|Micro-Protocol: mucp",
    ] {
        let lines = format!("{lines}|Content-Type: application/json");
        let done = ask(&rig, &[&post(&lines, "{\"name\":\"x\"}")]).await;
        assert_eq!(&done.body[..], b"{\"msg\":\"Hello x\"}\n", "{lines}");
        assert_eq!(done.status, 200);
    }
    let chunked =
        b"PUT /any/path?x=1 HTTP/1.1\r\nHost: localhost\r\nMicro-Endpoint: Greeter.Hello\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\n{\"\r\nb\r\nname\":\"yz\"}\r\n0\r\n\r\n";
    let done = ask(&rig, &[chunked]).await;
    assert_eq!(&done.body[..], b"{\"msg\":\"Hello yz\"}\n");
    let empty = ask(&rig, &[&post("Micro-Endpoint: Greeter.PB", "")]).await;
    assert_eq!(&empty.body[..], b"\n\x06Hello ");
    assert_eq!(empty.headers.get("Content-Type"), Some("application/protobuf"));
}

#[tokio::test(start_paused = true)]
async fn old_clients_name_the_endpoint_in_the_envelope() {
    let rig = rig();
    let json = "{\"id\":7,\"method\":\"Greeter.Hello\",\"params\":[{\"name\":\"x\"}]}";
    for lines in [
        "Content-Type: application/json-rpc",
        "Content-Type: application/json|Micro-Target: greeter",
        "Content-Type: application/json|Micro-Target: greeter|Micro-Service: greeter",
    ] {
        let done = ask(&rig, &[&post(lines, json)]).await;
        let body = String::from_utf8_lossy(&done.body).into_owned();
        assert_eq!(
            body, "{\"id\":\"7\",\"result\":{\"msg\":\"Hello x\"},\"error\":null}\n",
            "{lines}"
        );
        assert_eq!(done.headers.get("Micro-Id"), Some("7"));
    }
    let missing = json.replace("Hello", "Nope");
    let failed = ask(&rig, &[&post("Content-Type: application/json-rpc", &missing)]).await;
    assert_eq!(failed.headers.get("Micro-Error"), Some("rpc: can't find method Nope"));
    assert_eq!(
        &failed.body[..],
        b"{\"id\":\"7\",\"result\":null,\"error\":\"rpc: can't find method Nope\"}\n"
    );
    let broken = ask(&rig, &[&post("Content-Type: application/json-rpc", "{")]).await;
    assert_eq!(error(&broken).code(), 400);
    let msgpack = b"\x94\0\x07\xadGreeter.Hello\x91\x81\xa4name\xa1x";
    let mut request = post("Content-Type: application/msgpack-rpc", "");
    let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
    request = text.replace("Length: 0", &format!("Length: {}", msgpack.len())).into_bytes();
    request.extend_from_slice(msgpack);
    let done = ask(&rig, &[&request]).await;
    assert_eq!(&done.body[..], b"\x94\x01\x07\xc0\x81\xa3msg\xa7Hello x");
}

#[tokio::test(start_paused = true)]
async fn a_content_type_without_a_codec_fails_in_a_header_that_go_reads() {
    let rig = rig();
    for name in ["application/xml", "application/grpc+xml", "application/bson-rpc"] {
        let lines = format!("Micro-Endpoint: Greeter.Hello|Content-Type: {name}");
        let failed = ask(&rig, &[&post(&lines, "")]).await;
        let code = error(&failed).code();
        assert!(code == 415 || name == "application/bson-rpc" && code == 400, "{name} {code}");
    }
    let lines = "Micro-Endpoint: Greeter.Hello|Content-Type: application/xml";
    let failed = ask(&rig, &[&post(lines, "<a/>")]).await;
    assert_eq!(failed.headers.get("Content-Type"), Some("text/plain"));
    assert_eq!(&failed.body[..], b"Unsupported Content-Type: application/xml");
}

#[tokio::test(start_paused = true)]
async fn errors_never_break_a_header_and_say_when_nothing_ran() {
    let rig = Rig::new(|builder| {
        let mut limits = Limits::default();
        limits.message.bytes_max = 100;
        builder.mount(Greeter::default()).limits(limits)
    });
    let lines = "Micro-Endpoint: Greeter.Hello|Content-Type: application/json";
    for (length, code) in [(100, None), (101, Some(413)), (1000, Some(413))] {
        let body = format!("{:length$}", "{\"name\":\"x\"}");
        let done = ask(&rig, &[&post(lines, &body)]).await;
        let said = done.headers.get("Micro-Error").map(|_| error(&done).code());
        assert_eq!((done.status, said), (200, code), "{length}");
    }
    let lines = format!("{lines}|Authorization: Bearer secret|Cookie: a=b|Tenant: acme");
    let done = ask(&rig, &[&post(&lines, "[1,\n2")]).await;
    assert_eq!(error(&done).code(), 400);
    assert_eq!(done.headers.get("Tenant"), Some("acme"));
    for name in ["Authorization", "Cookie"] {
        assert_eq!(done.headers.get(name), None, "{name}");
    }
    let lines = "Micro-Endpoint: Greeter.Count|Content-Type: application/json";
    assert_eq!(error(&ask(&rig, &[&post(lines, "{}")]).await).code(), 501);
    rig.server.port.router.gate.close();
    let lines = "Micro-Endpoint: Greeter.Hello|Content-Type: application/json";
    let refused = ask(&rig, &[&post(lines, "{}")]).await;
    assert_eq!(error(&refused).code(), 503);
    assert_eq!(refused.headers.get("Micro-Retry"), Some("safe"));
}

#[tokio::test(start_paused = true)]
async fn callers_meet_the_policy_the_browser_rule_and_the_users_own_routes() {
    let rig = rig();
    let foreign = "Micro-Endpoint: Greeter.Hello|Origin: http://evil.example";
    assert_eq!(ask(&rig, &[&post(foreign, "{}")]).await.status, 403);
    let (here, there) = Pipe::pair();
    let port = Arc::clone(&rig.server.port);
    let member = port.roster.join(None, &port.scope.limits.connection).unwrap();
    let peer = Peer {
        remote: "10.0.0.9:1".into(),
        socket: None,
        origin: Origin::OffHost,
        proven: Proven::Nobody,
        bound: "test".into(),
        known: std::sync::OnceLock::new(),
        seat: Arc::clone(&member.seat),
    };
    let stream = Prefixed::new(BytesMut::new(), Stream::Pipe(there));
    spawn(async move { port.face.serve_http1(stream, peer).await });
    let mut here = here;
    let lines = "Micro-Endpoint: Greeter.Hello|Content-Type: application/json";
    here.write_all(&post(lines, "{}")).await.unwrap();
    let mut answers = reader(here);
    assert_eq!(error(&answers.next().await.unwrap().unwrap()).code(), 401);
    drop(member);
    let routed = Rig::new(|builder| {
        let own = axum::Router::new().fallback(|| async { "own" });
        builder.mount(Greeter::default()).router(own)
    });
    assert_eq!(&ask(&routed, &[&post(lines, "{}")]).await.body[..], b"{\"msg\":\"Hello \"}\n");
    let elsewhere = String::from_utf8(post(lines, "{}")).unwrap().replace("POST /", "POST /a");
    assert_eq!(&ask(&routed, &[elsewhere.as_bytes()]).await.body[..], b"own");
}

#[tokio::test(start_paused = true)]
async fn credentials_are_judged_before_what_nobody_can_decode() {
    let auth = Handle::shared(Arc::new(Two::default()));
    let rig = Rig::new(|builder| {
        let guard = Guard::new(auth).everywhere();
        builder.mount(Greeter::default()).policy(Arc::new(guard))
    });
    let lines = "Micro-Endpoint: Greeter.Hello|Content-Type: application/json";
    for (token, code) in
        [("", 401), ("|Authorization: Bearer forged", 401), ("|Authorization: Bearer staff", 400)]
    {
        let answer = ask(&rig, &[&post(&format!("{lines}{token}"), "{{")]).await;
        assert_eq!(error(&answer).code(), code, "{token}");
    }
}
