//! Messages cut anywhere, and messages that nobody should send.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;
use crate::transport::mucp::tests::golden;

/// Brings pieces one at a time, then ends, or never comes.
struct Pieces {
    pieces: VecDeque<Bytes>,
    ends: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.pieces.pop_front() {
            Some(mut piece) => {
                let count = piece.len().min(buffer.remaining());
                buffer.put_slice(&piece.split_to(count));
                if !piece.is_empty() {
                    self.pieces.push_front(piece);
                }
                Poll::Ready(Ok(()))
            }
            None if self.ends => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }
}

fn reader(pieces: &[&[u8]], side: Side) -> Reader<Pieces> {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece));
    let pieces = pieces.filter(|piece| !piece.is_empty()).collect();
    let mut limits = Limits::default();
    limits.message.bytes_max = 1000;
    let io = Pieces { pieces, ends: true };
    Reader::new(io, BytesMut::new(), side, Bounds::of(&limits))
}

async fn read(pieces: &[&[u8]], side: Side) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut reader = reader(pieces, side);
    let mut all = Vec::new();
    while let Some(message) = reader.next().await? {
        all.push((message.status, message.body.to_vec()));
    }
    Ok(all)
}

fn head(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\n{}\r\n\r\n", lines.replace('|', "\r\n"))
}

async fn code(text: &str) -> Option<u16> {
    read(&[text.as_bytes()], Side::Requests).await.err().map(|error| error.code())
}

#[tokio::test]
async fn what_go_micro_writes_is_read_however_it_is_cut() {
    for exchange in golden::all() {
        let sides =
            [(exchange.client.clone(), Side::Requests), (exchange.answer(), Side::Responses)];
        for (bytes, side) in sides {
            let whole = read(&[&bytes], side).await.unwrap();
            let streams = exchange.name.contains("stream");
            assert_eq!(whole.len() > 1, streams, "{}", exchange.name);
            for at in 0..bytes.len() {
                let (first, second) = bytes.split_at(at);
                assert_eq!(read(&[first, second], side).await.unwrap(), whole, "{at}");
            }
            let single: Vec<_> = bytes.chunks(1).collect();
            assert_eq!(read(&single, side).await.unwrap(), whole);
        }
        let pieces: Vec<_> = exchange.server.iter().map(Vec::as_slice).collect();
        let whole = read(&[&exchange.answer()], Side::Responses).await.unwrap();
        assert_eq!(read(&pieces, Side::Responses).await.unwrap(), whole);
    }
}

#[tokio::test]
async fn a_message_cut_off_is_a_failure_wherever_it_ends() {
    let exchange = golden::exchange("unary json");
    for (bytes, side) in
        [(exchange.client.clone(), Side::Requests), (exchange.answer(), Side::Responses)]
    {
        for at in 1..bytes.len() {
            let error = read(&[&bytes[..at]], side).await.unwrap_err();
            assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{at}");
        }
    }
}

#[tokio::test]
async fn bodies_come_in_chunks_with_extensions_and_trailers() {
    let text = head("Transfer-Encoding: Chunked")
        + "3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    for at in 0..text.len() {
        let (first, second) = text.as_bytes().split_at(at);
        let all = read(&[first, second], Side::Requests).await.unwrap();
        assert_eq!(all, [(0, b"abc0123456789".to_vec())]);
    }
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        " \r\n",
        "1\r\nab\r\n",
        "1_0\r\n",
        "\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
    ] {
        let text = head("Transfer-Encoding: chunked") + chunks;
        assert_eq!(code(&text).await, Some(400), "{chunks:?}");
    }
    for huge in ["ffffffffffffffff\r\n", "fffffffffffffffff\r\n", "7fffffffffffffff\r\n"] {
        let text = head("Transfer-Encoding: chunked") + huge;
        assert_eq!(code(&text).await, Some(413), "{huge:?}");
    }
}

#[tokio::test]
async fn lengths_that_two_readers_could_read_differently_are_refused() {
    for lines in [
        "Content-Length: 1|Content-Length: 2",
        "Content-Length: 1|Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked|Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: \u{b}chunked",
        "Content-Length: +1",
        "Content-Length: -1",
        "Content-Length: 1,1",
        "Content-Length: 0x1",
        "Content-Length:",
        "Content-Length: 1 1",
        "Content-Length : 1",
        " Content-Length: 1",
        "Micro-Id: 1| folded",
        "Micro\0Id: 1",
    ] {
        assert_eq!(code(&(head(lines) + "xyz")).await, Some(400), "{lines}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(code(old).await, Some(400));
    assert_eq!(code(&(head("Content-Length: 1|Content-Length: 1") + "x")).await, None);
}

#[tokio::test]
async fn a_body_at_the_limit_passes_and_above_it_is_never_read() {
    let max = 1000 + ENVELOPE_BYTES_MAX;
    for (length, code) in [(max, None), (max + 1, Some(413)), (max * 10, Some(413))] {
        let body = vec![b'x'; length];
        let plain = head(&format!("Content-Length: {length}"));
        let done = read(&[plain.as_bytes(), &body], Side::Requests).await;
        assert_eq!(done.err().map(|error| error.code()), code, "{length}");
        let chunked = head("Transfer-Encoding: chunked") + &format!("{length:x}\r\n");
        let done = read(&[chunked.as_bytes(), &body, b"\r\n0\r\n\r\n"], Side::Requests).await;
        assert_eq!(done.err().map(|error| error.code()), code, "{length}");
        let open = b"HTTP/1.1 200 OK\r\n\r\n";
        let done = read(&[open, &body], Side::Responses).await;
        assert_eq!(done.err().map(|error| error.code()), code, "{length}");
    }
    for declared in ["99999999999999999999999", "18446744073709551615", "4611686018427387904"] {
        let text = head(&format!("Content-Length: {declared}"));
        assert_eq!(code(&text).await, Some(413), "{declared}");
    }
}

#[tokio::test]
async fn a_head_at_its_limits_passes_and_above_them_does_not() {
    for (headers, passes) in
        [(HEADERS_MAX, true), (HEADERS_MAX + 1, false), (HEADERS_MAX * 10, false)]
    {
        let lines: Vec<_> = (0..headers).map(|n| format!("K{n}: v")).collect();
        assert_eq!(code(&head(&lines.join("|"))).await.is_none(), passes, "{headers}");
    }
    let bare = head("K: ").len() - 4;
    for (bytes, passes) in
        [(HEAD_BYTES_MAX, true), (HEAD_BYTES_MAX + 1, false), (HEAD_BYTES_MAX * 10, false)]
    {
        let text = head(&format!("K: {}", "v".repeat(bytes - bare)));
        assert_eq!(code(&text).await.is_none(), passes, "{bytes}");
    }
}

#[tokio::test]
async fn answers_without_a_length_and_interim_ones_are_read() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\nall of it", &[(200, "all of it")][..]),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            &[(200, "x")],
        ),
        ("\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", &[(204, "")]),
        ("HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\n", &[(404, "")]),
    ] {
        let all = read(&[text.as_bytes()], Side::Responses).await.unwrap();
        let all: Vec<_> = all.iter().map(|(s, b)| (*s, std::str::from_utf8(b).unwrap())).collect();
        assert_eq!(all, expected, "{text}");
    }
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_MAX + 1);
    assert_eq!(read(&[endless.as_bytes()], Side::Responses).await.unwrap_err().code(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_on_ends_in_time_and_silence_between_messages_does_not() {
    let limits = Limits::default();
    for (text, seconds) in [
        ("P", Some(5)),
        ("POST / HTTP/1.1\r\nA: b\r\n", Some(5)),
        ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", Some(10)),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", Some(10)),
        ("", None),
        ("\r\n", None),
    ] {
        let pieces = (!text.is_empty()).then(|| Bytes::copy_from_slice(text.as_bytes()));
        let io = Pieces { pieces: pieces.into_iter().collect(), ends: false };
        let mut reader = Reader::new(io, BytesMut::new(), Side::Requests, Bounds::of(&limits));
        let start = clock::now();
        let read = clock::timeout(Duration::from_secs(3600), reader.next()).await;
        match seconds {
            Some(seconds) => {
                assert_eq!(read.unwrap().unwrap_err().code(), 408, "{text}");
                assert_eq!(clock::now() - start, Duration::from_secs(seconds), "{text}");
            }
            None => assert!(read.is_err(), "{text}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for start in ["", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"] {
            for side in [Side::Requests, Side::Responses] {
                let _read = runtime.block_on(read(&[start.as_bytes(), &bytes], side));
            }
        }
    }
}
