//! Each limit of a server at the limit, one above, and ten times above.

use crate::core::limits::Limits;
use crate::transport::native::frame::{HEADER_BYTES, Header, Kind};
use crate::transport::native::tests::raw::{
    Raw, Real, head, hello, open, open_with, server, whole,
};
use crate::transport::native::varint;

/// What a peer sees of a breach or a refusal.
#[derive(Debug, PartialEq)]
enum Seen {
    /// The call was answered.
    Answered,
    /// The call failed with this code, safely or not.
    Failed(u16, bool),
    /// The connection was closed, with a goaway that says why.
    Closed,
}

/// Waits for the answer to a call.
async fn answer(raw: &mut Raw, stream: u32) -> Seen {
    loop {
        let Some(frame) = raw.frame().await else { return Seen::Closed };
        let header = Header::read(&frame).unwrap();
        match header.kind {
            Kind::GoAway => {
                assert_eq!(frame[HEADER_BYTES..], [6], "a breach of the protocol");
                assert!(raw.kinds_to_end().await.is_empty());
                return Seen::Closed;
            }
            Kind::Data if header.stream == stream => return Seen::Answered,
            Kind::End if header.stream == stream => {
                let text = String::from_utf8_lossy(&frame[HEADER_BYTES + 1..]);
                let error = crate::core::error::Error::parse(&text);
                return Seen::Failed(error.code(), header.has(0x20));
            }
            _ => {}
        }
    }
}

async fn greeted(limits: &Limits) -> (Raw, Real) {
    let (mut raw, real) = server(limits);
    raw.greet().await;
    (raw, real)
}

/// Checks that a connection goes on as if nothing had happened.
async fn goes_on(raw: &mut Raw) {
    assert!(raw.send(&open(0x7fff_0009, "Echo", b"on")).await);
    assert_eq!(answer(raw, 0x7fff_0009).await, Seen::Answered);
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limit_costs_its_call_and_no_more() {
    const LIMIT: usize = 100_000;
    let mut limits = Limits::default();
    limits.message.bytes_max = LIMIT;
    for (length, seen) in [
        (LIMIT, Seen::Answered),
        (LIMIT + 1, Seen::Failed(413, false)),
        (LIMIT * 10, Seen::Failed(413, false)),
    ] {
        let (mut raw, real) = greeted(&limits).await;
        // In parts of less than a frame, then in one frame where that is possible.
        let mut session = open_with(0, "Later", 0x06, b"");
        let body = vec![7; length];
        let parts: Vec<_> = body.chunks(60_000).collect();
        for (at, part) in parts.iter().enumerate() {
            let flags = if at + 1 == parts.len() { 1 } else { 2 };
            session.extend(whole(Kind::Data, flags, 0, part));
        }
        assert!(raw.send(&session).await);
        assert_eq!(answer(&mut raw, 0).await, seen, "{length} in parts");
        if length < 120_000 {
            assert!(raw.send(&open(0x1_0000, "Echo", &body)).await);
            assert_eq!(answer(&mut raw, 0x1_0000).await, seen, "{length} in a frame");
        }
        goes_on(&mut raw).await;
        assert!(real.held() < 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_stream_beyond_the_limit_ends_the_stream() {
    let mut limits = Limits::default();
    limits.message.bytes_max = 1000;
    let too_large = || Seen::Failed(413, false);
    for (length, seen) in [(1000, Seen::Answered), (1001, too_large()), (10_000, too_large())] {
        let (mut raw, _real) = greeted(&limits).await;
        let message = whole(Kind::Data, 1, 0, &vec![0; length]);
        assert!(raw.send(&open_with(0, "Sum", 0, b"")).await && raw.send(&message).await);
        assert_eq!(answer(&mut raw, 0).await, seen);
        goes_on(&mut raw).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_beyond_the_limit_closes_the_connection_by_its_header_alone() {
    let limit = Limits::DEFAULT.message.frame_bytes_max;
    let (mut raw, _real) = greeted(&Limits::default()).await;
    let names = head("Echo").len();
    assert!(raw.send(&open(0, "Echo", &vec![7; limit - names])).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Answered);
    for length in [limit + 1, limit * 10, 1 << 31, 0xffff_ffff] {
        for kind in [0, 1, 2, 6, 99] {
            let (mut raw, real) = greeted(&Limits::default()).await;
            let length = u32::try_from(length).unwrap().to_be_bytes();
            assert!(raw.send(&[&length[..], &[kind, 0, 0, 0, 0, 0]].concat()).await);
            assert_eq!(answer(&mut raw, 0).await, Seen::Closed);
            assert!(real.is_closed());
        }
    }
}

/// An open frame with one map of metadata.
fn with_metadata(pairs: &[(String, String)]) -> Vec<u8> {
    let mut section = vec![0];
    varint::put(&mut section, u64::try_from(pairs.len()).unwrap());
    for (key, value) in pairs {
        section.push(0);
        varint::put_str(&mut section, key);
        varint::put_str(&mut section, value);
    }
    section.extend([0, 0]);
    let mut payload = head("Echo");
    varint::put(&mut payload, u64::try_from(section.len()).unwrap());
    payload.extend(section);
    whole(Kind::Open, 0x0d, 0, &payload)
}

#[tokio::test(start_paused = true)]
async fn metadata_over_a_limit_refuses_the_call_and_far_over_it_closes_the_connection() {
    let text = |length: usize| "x".repeat(length);
    let one = |key: usize, value: usize| vec![(text(key), text(value))];
    let many = |count: usize, value: usize| -> Vec<_> {
        (0..count).map(|n| (format!("k{n:03}"), text(value))).collect()
    };
    let refused = || Seen::Failed(400, false);
    for (pairs, seen) in [
        (one(256, 1), Seen::Answered),
        (one(257, 1), refused()),
        (one(1024, 1), refused()),
        (one(1025, 1), Seen::Closed),
        (one(2560, 1), Seen::Closed),
        (one(1, 8192), Seen::Answered),
        (one(1, 8193), refused()),
        (one(1, 32_768), refused()),
        (one(1, 32_769), Seen::Closed),
        (one(1, 81_920), Seen::Closed),
        (many(64, 1), Seen::Answered),
        (many(65, 1), refused()),
        (many(256, 1), refused()),
        (many(257, 1), Seen::Closed),
        (many(640, 1), Seen::Closed),
        (many(4, 4092), Seen::Answered),
        (many(4, 4093), refused()),
        (many(16, 4092), refused()),
        (many(16, 4093), Seen::Closed),
        (vec![(text(1), "\n".to_owned())], refused()),
        (vec![(String::new(), text(1))], refused()),
    ] {
        let shape = (pairs.len(), pairs[0].0.len(), pairs[0].1.len());
        let (mut raw, _real) = greeted(&Limits::default()).await;
        assert!(raw.send(&with_metadata(&pairs)).await);
        assert_eq!(answer(&mut raw, 0).await, seen, "{shape:?}");
        if seen != Seen::Closed {
            goes_on(&mut raw).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_break_limits_again_and_again_close_the_connection() {
    let (mut raw, _real) = greeted(&Limits::default()).await;
    let bad = with_metadata(&[("k".repeat(257), String::new())]);
    for _ in 0..Limits::DEFAULT.stream.local_error_resets_max {
        assert!(raw.send(&bad).await);
        assert_eq!(answer(&mut raw, 0).await, Seen::Failed(400, false));
    }
    assert!(raw.send(&bad).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Closed);
    // All at once, and far more.
    let (mut raw, real) = greeted(&Limits::default()).await;
    let _closed = raw.send(&bad.repeat(Limits::DEFAULT.stream.local_error_resets_max * 10)).await;
    raw.kinds_to_end().await;
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn streams_and_running_calls_beyond_the_limit_are_refused_safely() {
    let mut limits = Limits::default();
    limits.stream.native_max = 100;
    let (mut raw, real) = greeted(&limits).await;
    for slot in 0..100 {
        assert!(raw.send(&open(slot, "Never", b"")).await);
    }
    for slot in [100, 101, 1000, 0xffff] {
        assert!(raw.send(&open(slot, "Echo", b"")).await);
        assert_eq!(answer(&mut raw, slot).await, Seen::Failed(429, true));
    }
    assert_eq!(real.link.lock().streams.live(), 100);
    limits.stream.native_max = 1000;
    limits.call.in_flight_per_connection_max = 50;
    let (mut raw, _real) = greeted(&limits).await;
    for slot in 0..50 {
        assert!(raw.send(&open(slot, "Never", b"")).await);
    }
    for slot in 50..500 {
        assert!(raw.send(&open(slot, "Later", b"")).await);
        assert_eq!(answer(&mut raw, slot).await, Seen::Failed(429, true));
    }
    assert!(raw.send(&whole(Kind::Reset, 0, 7, &[1])).await);
    assert!(raw.send(&whole(Kind::Ping, 0, 0, &[1; 8])).await);
    raw.frame_of(Kind::Pong).await.unwrap();
    tokio::task::yield_now().await;
    assert!(raw.send(&open(50, "Later", b"")).await);
    assert_eq!(answer(&mut raw, 50).await, Seen::Answered);
}

/// An open frame that gives its endpoint, or refers to it, by a code.
fn open_code(code: u64, names: Option<(&str, &str)>) -> Vec<u8> {
    let mut payload = Vec::new();
    varint::put(&mut payload, code);
    if let Some((service, endpoint)) = names {
        varint::put_str(&mut payload, service);
        varint::put_str(&mut payload, endpoint);
    }
    payload.extend([0, 1]);
    whole(Kind::Open, 0x05, 0, &payload)
}

#[tokio::test(start_paused = true)]
async fn names_are_numbered_in_order_and_up_to_the_limit() {
    let mut limits = Limits::default();
    limits.stream.interned_names_max = 10;
    let (mut raw, _real) = greeted(&limits).await;
    for number in 1..=10 {
        let name = format!("Missing{number}");
        let names = if number == 10 { ("lab", "Echo") } else { ("lab", name.as_str()) };
        let seen = if number == 10 { Seen::Answered } else { Seen::Failed(404, false) };
        assert!(raw.send(&open_code(2 * number + 1, Some(names))).await);
        assert_eq!(answer(&mut raw, 0).await, seen);
    }
    assert!(raw.send(&open_code(2, None)).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Failed(404, false), "not forgotten");
    assert!(raw.send(&open_code(20, None)).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Answered);
    assert!(raw.send(&open_code(23, Some(("lab", "Echo")))).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Closed, "one above the limit");
    for code in [1, 2, 5, 20, 201, u64::MAX, u64::MAX - 1] {
        let (mut raw, _real) = greeted(&limits).await;
        assert!(raw.send(&open_code(code, (code % 2 == 1).then_some(("lab", "Echo")))).await);
        assert_eq!(answer(&mut raw, 0).await, Seen::Closed, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_have_a_length() {
    for (length, seen) in
        [(1024, Seen::Failed(404, false)), (1025, Seen::Closed), (10_240, Seen::Closed)]
    {
        let long = "n".repeat(length);
        for names in [("lab", long.as_str()), (long.as_str(), "Echos")] {
            let (mut raw, _real) = greeted(&Limits::default()).await;
            assert!(raw.send(&open_code(3, Some(names))).await);
            assert_eq!(answer(&mut raw, 0).await, seen);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_beyond_the_credit_of_their_stream_close_the_connection() {
    let window = Limits::DEFAULT.stream.window_bytes;
    // A reader that reads nothing: what is sent stays unread.
    let (mut raw, real) = greeted(&Limits::default()).await;
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    let message = whole(Kind::Data, 0, 0, &[7; 1014]);
    let within = window / 1024;
    assert!(raw.send(&message.repeat(within)).await);
    goes_on(&mut raw).await;
    assert!(real.held() <= window + within * 32);
    assert!(raw.send(&message).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Closed);

    // The last message within the credit may overdraw it.
    let (mut raw, _real) = greeted(&Limits::default()).await;
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    assert!(raw.send(&message.repeat(within - 1)).await);
    let parts = [whole(Kind::Data, 2, 0, &[7; 100_000]), whole(Kind::Data, 0, 0, b"end")].concat();
    assert!(raw.send(&parts).await);
    goes_on(&mut raw).await;
    assert!(raw.send(&whole(Kind::Data, 0, 0, b"")).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Closed);
}

#[tokio::test(start_paused = true)]
async fn empty_messages_cost_credit_and_empty_parts_are_counted() {
    let (mut raw, _real) = greeted(&Limits::default()).await;
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    let within = Limits::DEFAULT.stream.window_bytes.div_ceil(HEADER_BYTES);
    assert!(raw.send(&whole(Kind::Data, 0, 0, b"").repeat(within)).await);
    goes_on(&mut raw).await;
    assert!(raw.send(&whole(Kind::Data, 0, 0, b"")).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Closed);

    let limit = Limits::DEFAULT.stream.empty_frames_max;
    for (count, closed) in [(limit, false), (limit + 1, true), (limit * 10, true)] {
        let (mut raw, real) = greeted(&Limits::default()).await;
        assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
        assert!(raw.send(&whole(Kind::Data, 2, 0, b"").repeat(count)).await);
        assert!(raw.send(&whole(Kind::Ping, 0, 0, &[0; 8])).await || closed);
        let seen = raw.frame_of(Kind::Pong).await.is_some();
        assert_eq!((seen, real.is_closed()), (!closed, closed), "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_messages_share_one_bound() {
    let mut limits = Limits::default();
    limits.message.bytes_max = 100_000;
    limits.message.reassembly_bytes_max = 300_000;
    for (streams, closed) in [(6, false), (7, true), (60, true)] {
        let (mut raw, real) = greeted(&limits).await;
        let part = whole(Kind::Data, 2, 0, &[7; 50_000]);
        for stream in 0..streams {
            let begin = if stream % 2 == 0 {
                open_with(stream, "Echo", 0x06, b"")
            } else {
                open_with(stream, "Sum", 0, b"")
            };
            let mut part = part.clone();
            part[6..10].copy_from_slice(&stream.to_be_bytes());
            let _closed = raw.send(&begin).await && raw.send(&part).await;
        }
        if closed {
            assert_eq!(answer(&mut raw, 0).await, Seen::Closed);
        } else {
            goes_on(&mut raw).await;
            assert!(real.held() <= 2 * 300_000, "{}", real.held());
            // What is finished, or given up, makes room.
            assert!(raw.send(&whole(Kind::Reset, 0, 1, &[1])).await);
            assert!(raw.send(&whole(Kind::Data, 1, 0, b"")).await);
            assert_eq!(answer(&mut raw, 0).await, Seen::Answered);
            let again = [open_with(0x1_0001, "Echo", 0x06, b""), part.clone()].concat();
            assert!(raw.send(&again).await);
            goes_on(&mut raw).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_hello_closes_the_connection() {
    let (mut raw, _real) = greeted(&Limits::default()).await;
    assert!(raw.send(&hello(&Limits::default())).await);
    assert_eq!(answer(&mut raw, 0).await, Seen::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_first_message_of_a_stream_of_requests_is_limited_as_every_other() {
    const LIMIT: usize = 1024;
    let mut limits = Limits::default();
    limits.message.bytes_max = LIMIT;
    for (length, seen) in [
        (LIMIT, Seen::Answered),
        (LIMIT + 1, Seen::Failed(413, false)),
        (10 * LIMIT, Seen::Failed(413, false)),
    ] {
        let (mut raw, _real) = greeted(&limits).await;
        assert!(raw.send(&open(0, "Sum", &vec![0; length])).await);
        assert_eq!(answer(&mut raw, 0).await, seen, "{length}");
        goes_on(&mut raw).await;
    }
}
