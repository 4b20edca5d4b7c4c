//! Requests that two readers may take for different ones: each is refused, or read in one way and
//! the connection closed after it, so that nothing that was hidden in it is ever dispatched.
//!
//! # Where the HTTP library is lenient
//!
//! A bare line feed ends a line of a head, as RFC 9112 (2.2) allows: what follows it is another
//! field, here as everywhere in this server. Lengths that are repeated and equal count once (6.3).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connections::upgrading;
use super::*;

/// The request that must never run: its handler counts.
const HIDDEN: &str = "POST /sample/Sample.Count HTTP/1.1\r\nhost: localhost\r\n\
                      content-length: 1\r\n\r\n1";

/// Longer than any part of a request may take, and shorter than a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to come of a case.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// One answer of this status, then the end of the connection.
    Once(u16),
    /// The end of the connection, without an answer that says that anything was done.
    Closed,
    /// One answer of this status, and the connection goes on: there is one way to read it.
    Clear(u16),
}

/// Sends bytes; returns the status of each answer and whether the connection was closed.
async fn exchange(rig: &Rig, bytes: &[u8]) -> (Vec<u16>, bool, String) {
    let mut pipe = rig.dial();
    let _closed = pipe.write_all(bytes).await;
    let mut all = Vec::new();
    let reading = async { while let Ok(1..) = pipe.read_buf(&mut all).await {} };
    let closed = clock::timeout(PATIENCE, reading).await.is_ok();
    let text = String::from_utf8_lossy(&all).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1);
    let statuses = statuses.map(|rest| rest[..3].parse().unwrap()).collect();
    (statuses, closed, text)
}

async fn check(bytes: impl AsRef<[u8]>, want: Want) {
    let rig = Rig::plain();
    let (statuses, closed, text) = exchange(&rig, bytes.as_ref()).await;
    let fine = match want {
        Want::Once(status) => statuses == [status] && closed,
        Want::Closed => {
            closed && statuses.iter().all(|status| *status >= 400) && statuses.len() < 2
        }
        Want::Clear(status) => statuses == [status] && !closed,
    };
    assert!(fine, "{want:?}, but {statuses:?}, closed: {closed}\n{text}");
    assert_eq!(rig.started(), 0, "what was hidden ran");
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200, "nobody else is concerned");
}

/// A call with these lines in its head and this body, then the hidden request.
fn post_with(lines: &str, body: &str) -> String {
    format!("POST /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n\r\n{body}{HIDDEN}")
}

/// A chunked call of this body, then the hidden request.
fn chunks(body: &str) -> String {
    post_with("transfer-encoding: chunked", body)
}

/// A whole chunked body.
const CHUNKED: &str = "3\r\n\"x\"\r\n0\r\n\r\n";

/// A call whose head is all of `lines`, with a body of three bytes.
fn raw(lines: &str) -> String {
    format!("{lines}\r\n\r\n\"x\"{HIDDEN}")
}

macro_rules! cases {
    ($($name:ident: $bytes:expr => $want:expr;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            check($bytes, $want).await;
        }
    )*};
}

cases! {
    // Two lengths.
    a_length_before_chunks: post_with("content-length: 6\r\ntransfer-encoding: chunked", CHUNKED)
        => Want::Once(200);
    chunks_before_a_length: post_with("transfer-encoding: chunked\r\ncontent-length: 6", CHUNKED)
        => Want::Once(200);
    a_length_that_hides_a_request_behind_the_last_chunk:
        post_with(&format!("content-length: {}\r\ntransfer-encoding: chunked", 5 + HIDDEN.len()), "0\r\n\r\n")
        => Want::Once(400);
    lengths_that_differ: post_with("content-length: 3\r\ncontent-length: 9", "\"x\"") => Want::Once(400);
    lengths_that_differ_in_one_line: post_with("content-length: 3, 9", "\"x\"") => Want::Once(400);
    equal_lengths_in_one_line: post_with("content-length: 3, 3", "\"x\"") => Want::Once(400);
    a_length_with_a_plus: post_with("content-length: +3", "\"x\"") => Want::Once(400);
    a_negative_length: post_with("content-length: -3", "\"x\"") => Want::Once(400);
    a_hexadecimal_length: post_with("content-length: 0x3", "\"x\"") => Want::Once(400);
    a_length_of_two_numbers: post_with("content-length: 3 9", "\"x\"") => Want::Once(400);
    a_length_with_a_fraction: post_with("content-length: 3.0", "\"x\"") => Want::Once(400);
    an_empty_length: post_with("content-length:", "\"x\"") => Want::Once(400);
    a_length_of_other_digits: post_with("content-length: \u{0663}", "\"x\"") => Want::Once(400);
    a_length_beyond_64_bits: post_with("content-length: 18446744073709551619", "\"x\"") => Want::Once(400);
    a_length_of_the_most_of_64_bits:
        post_with("content-length: 18446744073709551615", "\"x\"") => Want::Closed;
    a_length_after_a_bare_carriage_return:
        post_with("a: b\rcontent-length: 3", "\"x\"") => Want::Once(400);

    // Other encodings of transfer.
    an_encoding_that_is_unknown: post_with("transfer-encoding: xchunked", CHUNKED) => Want::Once(400);
    an_encoding_before_chunks: post_with("transfer-encoding: gzip, chunked", CHUNKED) => Want::Once(400);
    an_encoding_after_chunks: post_with("transfer-encoding: chunked, gzip", CHUNKED) => Want::Once(400);
    chunks_twice: post_with("transfer-encoding: chunked, chunked", CHUNKED) => Want::Once(400);
    chunks_in_two_lines:
        post_with("transfer-encoding: chunked\r\ntransfer-encoding: chunked", CHUNKED) => Want::Once(400);
    identity_before_chunks:
        post_with("transfer-encoding: identity\r\ntransfer-encoding: chunked", CHUNKED) => Want::Once(400);
    identity_after_chunks:
        post_with("transfer-encoding: chunked\r\ntransfer-encoding: identity", CHUNKED) => Want::Once(400);
    identity_alone: post_with("transfer-encoding: identity\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    an_empty_encoding: post_with("transfer-encoding:", CHUNKED) => Want::Once(400);
    a_quoted_encoding: post_with("transfer-encoding: \"chunked\"", CHUNKED) => Want::Once(400);
    an_encoding_with_a_parameter: post_with("transfer-encoding: chunked;a=b", CHUNKED) => Want::Once(400);
    an_encoding_with_a_comma: post_with("transfer-encoding: ,chunked", CHUNKED) => Want::Once(400);
    an_encoding_after_a_vertical_tab: post_with("transfer-encoding: \x0bchunked", CHUNKED) => Want::Once(400);
    an_encoding_with_a_space_before_the_colon:
        post_with("transfer-encoding : chunked\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    an_encoding_with_a_tab_before_the_colon:
        post_with("transfer-encoding\t: chunked\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    an_encoding_with_a_zero_in_its_name:
        post_with("transfer-encoding\0: chunked\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    an_encoding_on_a_folded_line:
        post_with("a: b\r\n transfer-encoding: chunked\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    an_encoding_folded_into_two_lines:
        post_with("transfer-encoding:\r\n chunked\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    an_encoding_by_an_underscore:
        post_with("transfer_encoding: chunked\r\ncontent-length: 3\r\nconnection: close", "\"x\"")
        => Want::Once(200);
    an_encoding_of_http_1_0:
        raw("POST /sample/Sample.Echo HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked")
        => Want::Once(400);
    an_encoding_in_upper_case: chunked_in_capitals() => Want::Clear(200);

    // Chunks.
    a_chunk_of_a_negative_size: chunks("-3\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_with_a_plus: chunks("+3\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_with_a_prefix: chunks("0x3\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_with_an_underscore: chunks("3_0\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_without_a_size: chunks("\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_beyond_64_bits: chunks("10000000000000003\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_beyond_32_bits: chunks("100000003\r\n\"x\"\r\n0\r\n\r\n") => Want::Closed;
    a_chunk_size_ended_by_a_line_feed: chunks("3\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_size_ended_by_a_carriage_return: chunks("3\r\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_longer_than_its_size: chunks("1\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_chunk_ended_by_a_line_feed: chunks("3\r\n\"x\"\n0\r\n\r\n") => Want::Once(400);
    a_chunk_ended_by_nothing: chunks("3\r\n\"x\"0\r\n\r\n") => Want::Once(400);
    a_space_within_a_chunk_size: chunks("3 3\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    a_space_before_a_chunk_size: chunks(" 3\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    an_extension_with_a_line_feed: chunks("3;a\nb\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    an_extension_with_a_carriage_return: chunks("3;a\rb\r\n\"x\"\r\n0\r\n\r\n") => Want::Once(400);
    extensions_without_end: chunks(&format!("3;{}\r\n\"x\"\r\n0\r\n\r\n", "a".repeat(20_000)))
        => Want::Closed;
    a_last_chunk_ended_by_a_line_feed: chunks("3\r\n\"x\"\r\n0\n\r\n") => Want::Once(400);
    // What follows is taken for more trailers, the hidden request among them.
    trailers_ended_by_a_line_feed: chunks("3\r\n\"x\"\r\n0\r\na: b\n\r\n") => Want::Clear(200);
    trailers_without_end: chunks(&format!("3\r\n\"x\"\r\n0\r\n{}", "a: b\r\n".repeat(20_000)))
        => Want::Closed;
    a_trailer_with_a_zero: chunks("3\r\n\"x\"\r\n0\r\na: b\0c\r\n\r\n") => Want::Closed;

    // Heads.
    a_zero_in_a_value: post_with("a: b\0c\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    a_zero_in_the_target:
        raw("POST /sample/\0Sample.Echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_line_without_a_colon: post_with("abc\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    a_line_without_a_name: post_with(": b\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    a_space_before_the_first_field:
        raw("POST /sample/Sample.Echo HTTP/1.1\r\n host: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_space_before_the_colon_of_a_length: post_with("content-length : 3", "\"x\"") => Want::Once(400);
    a_folded_value: post_with("a: b\r\n c\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    a_version_that_is_unknown:
        raw("POST /sample/Sample.Echo HTTP/1.2\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_version_of_two_digits:
        raw("POST /sample/Sample.Echo HTTP/1.10\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_version_of_another_protocol:
        raw("POST /sample/Sample.Echo HTTPS/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    no_version: raw("POST /sample/Sample.Echo\r\nhost: localhost\r\ncontent-length: 3") => Want::Once(400);
    a_space_in_the_target:
        raw("POST /sample/Sample.Echo /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_tab_after_the_method:
        raw("POST\t/sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Closed;

    // Names of hosts.
    no_host: raw("POST /sample/Sample.Echo HTTP/1.1\r\ncontent-length: 3") => Want::Once(400);
    two_hosts: post_with("host: localhost\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    two_hosts_of_which_one_is_foreign:
        post_with("host: evil.example\r\ncontent-length: 3", "\"x\"") => Want::Once(400);
    a_target_of_another_host:
        raw("POST http://127.0.0.1/sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_target_of_a_foreign_host:
        raw("POST http://evil.example/sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);
    a_target_with_a_user:
        raw("POST http://localhost@evil.example/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3")
        => Want::Once(400);

    // A body where none is read.
    a_body_for_a_path_that_is_not: hidden_in_body("POST /nothing") => Want::Clear(404);
    a_body_of_a_get: hidden_in_body("GET /healthz") => Want::Clear(200);
    a_body_of_a_head: hidden_in_body("HEAD /healthz") => Want::Clear(200);
    a_body_of_a_delete: hidden_in_body("DELETE /sample/Sample.Echo") => Want::Clear(405);
    a_body_of_options: hidden_in_body("OPTIONS /sample/Sample.Echo") => Want::Clear(405);
    a_body_of_trace: hidden_in_body("TRACE /sample/Sample.Echo") => Want::Clear(405);
    a_body_behind_an_expectation: hidden_in_body_with("POST /nothing", "expect: 100-continue\r\n")
        => Want::Clear(404);
    a_body_behind_an_upgrade:
        hidden_in_body_with("POST /nothing", "connection: upgrade\r\nupgrade: websocket\r\n")
        => Want::Clear(404);
    a_tunnel:
        format!("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n{HIDDEN}") => Want::Once(404);
}

fn chunked_in_capitals() -> String {
    let body = CHUNKED;
    format!(
        "POST /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\nTransfer-Encoding: CHUNKED\r\n\r\n{body}"
    )
}

fn hidden_in_body(line: &str) -> String {
    hidden_in_body_with(line, "")
}

/// A request whose body is the hidden one.
fn hidden_in_body_with(line: &str, fields: &str) -> String {
    let length = HIDDEN.len();
    format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\n{fields}content-length: {length}\r\n\r\n{HIDDEN}"
    )
}

#[tokio::test(start_paused = true)]
async fn what_is_not_hidden_runs_and_is_seen_to() {
    let rig = Rig::plain();
    let (statuses, _, text) =
        exchange(&rig, post_with("content-length: 3", "\"x\"").as_bytes()).await;
    assert_eq!((statuses, rig.started()), (vec![200, 200], 1), "{text}");
}

#[tokio::test(start_paused = true)]
async fn equal_lengths_in_two_lines_count_once() {
    let rig = Rig::plain();
    let lines = "content-length: 3\r\ncontent-length: 3\r\nconnection: close";
    let (statuses, closed, _) = exchange(&rig, post_with(lines, "\"x\"").as_bytes()).await;
    assert_eq!((statuses, closed, rig.started()), (vec![200], true, 0));
}

#[tokio::test(start_paused = true)]
async fn bare_line_feeds_end_lines_and_hide_nothing() {
    let rig = Rig::plain();
    // The length is a field of its own, whoever takes it for a part of the value before it.
    let lines = "a: b\ncontent-length: 3\nconnection: close";
    let (statuses, closed, _) = exchange(&rig, post_with(lines, "\"x\"").as_bytes()).await;
    assert_eq!((statuses, closed, rig.started()), (vec![200], true, 0));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_before_an_upgrade_is_granted_are_its_own() {
    let rig = Rig::new(|builder| builder.router(upgrading()));
    let head =
        "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let (statuses, _, text) = exchange(&rig, format!("{head}{HIDDEN}").as_bytes()).await;
    assert_eq!((statuses.first(), rig.started()), (Some(&101), 0), "{text}");
}
