//! The bounds of HTTP/2, held against frames that no proper client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// A type that nobody knows, to be passed over.
const UNKNOWN: u8 = 0x42;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let id = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &id, payload].concat()
}

/// A literal field without indexing, with lengths below 127.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name, &[length(value)], value].concat()
}

/// The head of a call.
fn head(endpoint: &str, fields: &[u8]) -> Vec<u8> {
    let path = format!("/sample/Sample.{endpoint}");
    // `:method: POST` and `:scheme: http` by their numbers.
    let fixed = [0x83, 0x86];
    [&fixed[..], &literal(b":path", path.as_bytes()), &literal(b":authority", b"localhost"), fields]
        .concat()
}

fn open(stream: u32, endpoint: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(endpoint, b""))
}

/// The id of the nth stream of a client.
fn id(n: u32) -> u32 {
    2 * n + 1
}

struct Raw {
    pipe: Pipe,
    /// Frames that came: kind, stream, payload.
    seen: Vec<(u8, u32, Vec<u8>)>,
}

impl Raw {
    async fn connect(rig: &Rig) -> Self {
        let mut raw = Self { pipe: rig.dial(), seen: Vec::new() };
        let settings = frame(4, 0, 0, b"");
        raw.send(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await;
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed takes no more.
        let _closed = self.pipe.write_all(bytes).await;
    }

    /// Reads until nothing comes for a moment.
    async fn settle(&mut self) {
        let mut head = [0; 9];
        let moment = Duration::from_millis(100);
        while let Ok(Ok(_)) = clock::timeout(moment, self.pipe.read_exact(&mut head)).await {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.pipe.read_exact(&mut payload).await.unwrap();
            self.seen.push((head[3], stream, payload));
        }
    }

    /// The reason of the goaway, if one came.
    fn goaway(&self) -> Option<u8> {
        self.seen.iter().find(|frame| frame.0 == GOAWAY).map(|frame| frame.2[7])
    }

    fn resets(&self, reason: u8) -> usize {
        self.seen.iter().filter(|frame| frame.0 == RST_STREAM && frame.2[3] == reason).count()
    }
}

const FLOW_CONTROL_ERROR: u8 = 3;
const FRAME_SIZE_ERROR: u8 = 6;
const REFUSED_STREAM: u8 = 7;
const ENHANCE_YOUR_CALM: u8 = 11;

#[tokio::test(start_paused = true)]
async fn a_frame_beyond_the_limit_ends_the_connection() {
    let limit = Limits::DEFAULT.message.http2_frame_bytes_max;
    for (length, ended) in [(limit, false), (limit + 1, true), (limit * 10, true)] {
        let rig = Rig::plain();
        let mut raw = Raw::connect(&rig).await;
        raw.send(&frame(UNKNOWN, 0, 0, &vec![7; length])).await;
        raw.send(&open(1, "Fail")).await;
        raw.settle().await;
        assert_eq!(raw.goaway(), ended.then_some(FRAME_SIZE_ERROR), "{length}");
        assert_eq!(raw.seen.iter().any(|frame| frame.0 == HEADERS), !ended, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limit_are_refused() {
    const LIMIT: u32 = 5;
    for (count, refused) in [(LIMIT, 0), (LIMIT + 1, 1), (LIMIT * 10, 45)] {
        let rig = Rig::limited(|limits| limits.stream.http2_max = 5);
        let mut raw = Raw::connect(&rig).await;
        for n in 0..count {
            raw.send(&open(id(n), "Hang")).await;
            raw.settle().await;
        }
        assert_eq!((raw.resets(REFUSED_STREAM), raw.goaway()), (refused, None), "{count}");
        assert_eq!(rig.started(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_reset_before_they_are_accepted_end_the_connection() {
    let limit = u32::try_from(Limits::DEFAULT.stream.pending_accept_resets_max).unwrap();
    for (count, ended) in [(limit, false), (limit + 1, true), (limit * 10, true)] {
        let rig = Rig::plain();
        let mut raw = Raw::connect(&rig).await;
        raw.settle().await;
        let burst = (0..count)
            .flat_map(|n| [open(id(n), "Hang"), frame(RST_STREAM, 0, id(n), &[0, 0, 0, 8])]);
        raw.send(&burst.collect::<Vec<_>>().concat()).await;
        raw.settle().await;
        assert_eq!(raw.goaway(), ended.then_some(ENHANCE_YOUR_CALM), "{count}");
        assert_eq!(rig.dropped(), rig.started());
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_the_server_resets_for_errors_end_the_connection() {
    for (count, ended) in [(8, false), (9, true), (80, true)] {
        let rig = Rig::limited(|limits| limits.stream.local_error_resets_max = 8);
        let mut raw = Raw::connect(&rig).await;
        for n in 0..count {
            raw.send(&open(id(n), "Hang")).await;
            // No window grows beyond what its number holds.
            raw.send(&frame(WINDOW_UPDATE, 0, id(n), &[0x7f, 0xff, 0xff, 0xff])).await;
            raw.settle().await;
        }
        assert_eq!(raw.goaway(), ended.then_some(ENHANCE_YOUR_CALM), "{count}");
        assert!(raw.resets(FLOW_CONTROL_ERROR) <= 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limit_is_a_413_and_the_connection_goes_on() {
    let rig = Rig::limited(|limits| limits.message.bytes_max = 1000);
    let mut raw = Raw::connect(&rig).await;
    for (n, (length, status)) in [(1000, 200), (1001, 413), (10_000, 413)].into_iter().enumerate() {
        let stream = id(u32::try_from(n).unwrap());
        raw.send(&frame(HEADERS, END_HEADERS, stream, &head("Echo", b""))).await;
        let body = format!("\"{}\"", "x".repeat(length - 2));
        raw.send(&frame(DATA, END_STREAM, stream, body.as_bytes())).await;
        raw.settle().await;
        let answered = raw.seen.iter().find(|frame| frame.0 == HEADERS && frame.1 == stream);
        // 200 is the eighth of the static table; others are spelled out.
        let is_ok = answered.unwrap().2.contains(&0x88);
        assert_eq!(is_ok, status == 200, "{length}");
    }
    assert_eq!(raw.goaway(), None);
}
