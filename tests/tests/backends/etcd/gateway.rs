//! Another client of etcd: its API as JSON over HTTP/1.1, which the server has on the same port.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Posts a question; `None` while the server does not answer it.
pub(super) async fn try_post(port: u16, path: &str, question: &Value) -> Option<Value> {
    let body = question.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let text = exchange(port, &(head + &body)).await?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    serde_json::from_str(&unchunked(head, body)).ok()
}

async fn exchange(port: u16, request: &str) -> Option<String> {
    let asked = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok()?;
        String::from_utf8(answer).ok()
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.ok()?
}

fn unchunked(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    whole
}

pub(super) async fn post(port: u16, path: &str, question: Value) -> Value {
    let answer = try_post(port, path, &question).await;
    answer.unwrap_or_else(|| panic!("{path} {question} is not answered"))
}

/// The keys that begin with a prefix, each with its value and lease; `None` while there is no
/// answer.
pub(super) async fn try_range(port: u16, prefix: &str) -> Option<Vec<(String, String, i64)>> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    let question = json!({"key": encode(prefix.as_bytes()), "range_end": encode(&end)});
    let answer = try_post(port, "/v3/kv/range", &question).await?;
    let text = |kv: &Value, name: &str| {
        let bytes = decode(kv[name].as_str().unwrap_or_default());
        String::from_utf8(bytes).unwrap()
    };
    let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
    let read = kvs.iter().map(|kv| {
        let lease = kv["lease"].as_str().map_or(0, |lease| lease.parse().unwrap());
        (text(kv, "key"), text(kv, "value"), lease)
    });
    Some(read.collect())
}

pub(super) async fn range(port: u16, prefix: &str) -> Vec<(String, String, i64)> {
    try_range(port, prefix).await.unwrap()
}

/// Puts a value and returns the revision of that.
pub(crate) async fn put(port: u16, key: &str, value: &str) -> i64 {
    let question = json!({"key": encode(key.as_bytes()), "value": encode(value.as_bytes())});
    revision(&post(port, "/v3/kv/put", question).await)
}

pub(super) async fn delete(port: u16, key: &str) {
    post(port, "/v3/kv/deleterange", json!({"key": encode(key.as_bytes())})).await;
}

pub(super) async fn compact(port: u16, revision: i64) {
    post(port, "/v3/kv/compaction", json!({"revision": revision, "physical": true})).await;
}

/// The ids of all leases.
pub(super) async fn leases(port: u16) -> usize {
    let answer = post(port, "/v3/lease/leases", json!({})).await;
    answer["leases"].as_array().map_or(0, Vec::len)
}

fn revision(answer: &Value) -> i64 {
    answer["header"]["revision"].as_str().unwrap().parse().unwrap()
}

/// The sum of a counter over all its labels that contain a text.
pub(super) async fn metric(port: u16, name: &str, labels: &str) -> f64 {
    let request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let text = exchange(port, request).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body = unchunked(head, body);
    let lines = body.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for n in 0..4 {
            let six = usize::try_from(group >> (18 - 6 * n) & 63).unwrap();
            let letter = if n <= three.len() { char::from(ALPHABET[six]) } else { '=' };
            text.write_char(letter).unwrap();
        }
    }
    text
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let letters: Vec<u32> = text
        .bytes()
        .filter_map(|letter| ALPHABET.iter().position(|known| *known == letter))
        .map(|six| u32::try_from(six).unwrap())
        .collect();
    for four in letters.chunks(4) {
        let group = four.iter().fold(0, |group, six| group << 6 | six) << (6 * (4 - four.len()));
        let [_, group @ ..] = group.to_be_bytes();
        bytes.extend_from_slice(&group[..four.len() - 1]);
    }
    bytes
}
