//! What any HTTP client sees of a service.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::http::{Answer, get, post};
use crate::harness::{Place, Process};

const HELLO: &str = "/greeter/Greeter.Hello";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn serve() -> (Place, Process, String) {
    let place = Place::new();
    let server = place.serve("one").await;
    let address = server.address().await;
    (place, server, address)
}

fn assert_error(answer: &Answer, code: u16) {
    assert_eq!(answer.status, code, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["code"], code, "{error}");
    assert!(error["id"].is_string() && error["detail"].is_string(), "{error}");
    assert!(error["status"].is_string(), "{error}");
}

#[tokio::test]
async fn a_post_of_json_is_answered_in_json() {
    let (_place, _server, address) = serve().await;
    // The second is what curl sends if it is not told otherwise.
    for format in ["application/json", "application/x-www-form-urlencoded"] {
        let headers = [("content-type", format)];
        let answer = post(&address, HELLO, &headers, br#"{"name":"Ada"}"#).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json(), serde_json::json!({"message": "Hello Ada"}));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn a_post_of_message_pack_is_answered_in_message_pack() {
    let (_place, _server, address) = serve().await;
    let headers = [("content-type", "application/msgpack")];
    let answer = post(&address, HELLO, &headers, b"\x81\xa4name\xa3Ada").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, b"\x81\xa7message\xa9Hello Ada");
    assert_eq!(answer.header("content-type"), Some("application/msgpack"));
}

#[tokio::test]
async fn what_is_missing_lists_what_exists() {
    let (_place, _server, address) = serve().await;
    let answer = post(&address, "/greeter/Greeter.Hullo", &[JSON], b"{}").await;
    assert_error(&answer, 404);
    assert!(answer.text().contains("Greeter.Hello"), "{}", answer.text());
    let answer = get(&address, "/").await;
    assert_error(&answer, 404);
    assert!(answer.text().contains("Greeter.Hello"), "{}", answer.text());
    assert_error(&get(&address, HELLO).await, 405);
}

#[tokio::test]
async fn errors_are_the_documents_of_go_micro() {
    let (_place, _server, address) = serve().await;
    for body in ["{", "[1]", r#"{"name":7}"#, "{}"] {
        assert_error(&post(&address, HELLO, &[JSON], body.as_bytes()).await, 400);
    }
    let answer = post(&address, HELLO, &[JSON], br#"{"name":"nobody"}"#).await;
    let expected = serde_json::json!({
        "id": "greeter", "code": 404, "detail": "there is nobody to greet", "status": "Not Found",
    });
    assert_eq!((answer.status, answer.json()), (404, expected));
}

#[tokio::test]
async fn health_is_told_to_anyone_on_the_machine() {
    let (_place, _server, address) = serve().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&address, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let (_place, _server, address) = serve().await;
    for foreign in [
        ("host", "attacker.example"),
        ("origin", "https://attacker.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = post(&address, HELLO, &[JSON, foreign], br#"{"name":"Ada"}"#).await;
        assert_error(&answer, 403);
    }
    let own = format!("http://{address}");
    let answer = post(&address, HELLO, &[JSON, ("origin", &own)], br#"{"name":"Ada"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A frame of HTTP/2: kind, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A header that is sent as it is, without a table.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

#[tokio::test]
async fn http_2_is_spoken_without_an_upgrade() {
    let (_place, _server, address) = serve().await;
    let head = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", HELLO),
        field(":authority", &address),
        field("content-type", "application/json"),
    ];
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, b""),
        frame(1, 4, 1, &head.concat()),
        frame(0, 1, 1, br#"{"name":"Ada"}"#),
    ];
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(&request.concat()).await.unwrap();
    // Progress: each turn reads a frame; the server ends the stream or the connection.
    let (mut status, mut body) = (None, Vec::new());
    loop {
        let mut prefix = [0; 9];
        stream.read_exact(&mut prefix).await.unwrap();
        let [_, high, low, kind, flags, .., number] = prefix;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        stream.read_exact(&mut payload).await.unwrap();
        match (kind, number) {
            (1, 1) => status = payload.first().copied(),
            (0, 1) => body.extend(payload),
            _ => continue,
        }
        if flags & 1 != 0 {
            break;
        }
    }
    // The status 200 has a number in the table that is part of the protocol.
    assert_eq!(status, Some(0x88));
    assert_eq!(body, br#"{"message":"Hello Ada"}"#);
}
