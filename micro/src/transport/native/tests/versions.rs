//! A peer of an older version that says less, and one of a newer version that says more.

use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::descriptor::CallKind;
use crate::core::exchange::{Exchange, Head, Route};
use crate::core::limits::Limits;
use crate::core::stream::{BoxSource, Streaming};
use crate::transport::native::frame::{self, HEADER_BYTES, Header, Kind, PREFACE};
use crate::transport::native::tests::lab::{opened, reply, source};
use crate::transport::native::tests::raw::{
    Raw, Real, client, head, hello, open, open_with, server, whole,
};
use crate::transport::native::varint;

/// A hello that states some settings, known or not.
fn hello_of(settings: &[(u64, u64)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (key, value) in settings {
        varint::put(&mut payload, *key);
        varint::put(&mut payload, *value);
    }
    whole(Kind::Hello, 0, 0, &payload)
}

/// A frame as a newer version may send it: unknown flags, and more payload than is known.
fn newer(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let longer = [payload, b"and more"].concat();
    let plain = matches!(kind, Kind::Hello | Kind::Open | Kind::Data);
    whole(kind, flags | 0x80, stream, if plain { payload } else { &longer })
}

/// Frames of kinds that nobody knows.
fn unknown() -> Vec<u8> {
    let kinds = [10, 99, 255];
    let frame = |kind: u8| [&[0, 0, 0, 3, kind, 0xff, 0, 0, 0, 0][..], b"abc"].concat();
    kinds.into_iter().flat_map(frame).collect()
}

async fn payload_of(raw: &mut Raw, kind: Kind) -> Vec<u8> {
    raw.frame_of(kind).await.unwrap().split_off(HEADER_BYTES)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_states_less_is_served() {
    for greeting in
        [Vec::new(), hello_of(&[]), hello_of(&[(1, 10)]), hello_of(&[(5, 7), (2, 65_536)])]
    {
        let (mut raw, _real) = server(&Limits::default());
        assert!(raw.send(&PREFACE).await && raw.send(&greeting).await);
        assert!(raw.send(&open(0, "Echo", b"hi")).await);
        assert_eq!(payload_of(&mut raw, Kind::Data).await, b"hi");
        assert!(raw.send(&open(0x1_0000, "Later", &[7; 65_000])).await);
        assert_eq!(payload_of(&mut raw, Kind::Data).await, [7; 65_000]);
        // It takes no frame longer than what everyone takes, and no more than the least window.
        let flood = raw.send(&open(0x2_0000, "Flood", b"")).await;
        assert!(flood);
        let mut received = 0;
        while received < 65_536 {
            let frame = raw.frame_of(Kind::Data).await.unwrap();
            assert!(frame.len() <= HEADER_BYTES + 65_536);
            received += frame.len();
        }
        assert!(raw.send(&whole(Kind::Ping, 0, 0, &[1; 8])).await);
        assert_eq!(Header::read(&raw.frame().await.unwrap()).unwrap().kind, Kind::Pong);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_more_is_served() {
    let (mut raw, _real) = server(&Limits::default());
    let mut preface = PREFACE;
    preface[7] = 9;
    assert!(raw.send(&preface).await && raw.send(&unknown()).await);
    assert!(raw.send(&hello_of(&[(99, u64::MAX), (1, 5), (1 << 40, 0)])).await);
    let mut extra = head("Describe");
    // A part that this version does not know, behind those it knows.
    let section = [&[0xfe, 1, 0, 1][..], b"k\x01v", &[0, 0], b"later part"].concat();
    varint::put(&mut extra, u64::try_from(section.len()).unwrap());
    extra.extend(section);
    let all_flags = 0x08 | frame::FLAG_BODY | frame::FLAG_END;
    assert!(raw.send(&newer(Kind::Open, all_flags, 0, &extra)).await);
    let described = String::from_utf8(payload_of(&mut raw, Kind::Data).await).unwrap();
    assert!(described.contains("\"k\": \"v\""), "{described}");

    assert!(raw.send(&newer(Kind::Open, 0, 1, &head("Mirror"))).await);
    assert!(raw.send(&newer(Kind::Data, 0, 1, b"one")).await && raw.send(&unknown()).await);
    assert!(raw.send(&newer(Kind::Credit, 0, 1, &[0, 0, 1, 0])).await);
    assert!(raw.send(&newer(Kind::Accept, 0, 1, b"")).await);
    assert_eq!(payload_of(&mut raw, Kind::Data).await, b"one");
    assert!(raw.send(&newer(Kind::End, 0, 1, b"")).await);
    assert_eq!(payload_of(&mut raw, Kind::End).await, b"");
    assert!(raw.send(&newer(Kind::Ping, 0, 0, &[7; 8])).await);
    assert_eq!(payload_of(&mut raw, Kind::Pong).await, [7; 8]);
    assert!(raw.send(&newer(Kind::Open, 0, 2, &head("Never"))).await);
    assert!(raw.send(&newer(Kind::Reset, 0, 2, &[200])).await);
    assert!(raw.send(&newer(Kind::GoAway, 0, 0, &[200])).await);
    assert!(raw.send(&open(3, "Echo", b"still")).await);
    assert_eq!(payload_of(&mut raw, Kind::Data).await, b"still");
}

#[tokio::test(start_paused = true)]
async fn a_content_type_of_a_later_version_is_one_that_nobody_knows() {
    let (mut raw, _real) = server(&Limits::default());
    raw.greet().await;
    let mut payload = head("Describe");
    *payload.last_mut().unwrap() = 77;
    assert!(raw.send(&whole(Kind::Open, 0x05, 0, &payload)).await);
    let described = String::from_utf8(payload_of(&mut raw, Kind::Data).await).unwrap();
    assert!(described.contains("micro/77"), "{described}");
}

#[tokio::test(start_paused = true)]
async fn another_major_version_is_turned_away() {
    for at in 0..7 {
        let (mut raw, _real) = server(&Limits::default());
        let mut preface = PREFACE;
        preface[at] ^= 1;
        assert!(raw.send(&preface).await);
        assert!(raw.kinds_to_end().await.is_empty());
    }
}

fn start(real: &Real, name: &str, kind: CallKind, body: &'static [u8]) -> Exchange {
    start_with(real, name, kind, body, None)
}

fn start_with(
    real: &Real,
    name: &str,
    kind: CallKind,
    body: &'static [u8],
    source: Option<BoxSource>,
) -> Exchange {
    let route = Route::new("lab", name, kind);
    let head = Head {
        route: &route,
        now: clock::now(),
        deadline: None,
        content_type: crate::core::content_type::ContentType::MsgPack,
        extra: None,
        waker: None,
    };
    real.connection().start(&head, &Bytes::from_static(body), source).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_states_less_is_called() {
    static LONG: [u8; 200_000] = [3; 200_000];
    for greeting in [Vec::new(), hello_of(&[]), hello_of(&[(4, 1 << 22)])] {
        let (mut raw, real) = client(&Limits::default());
        assert!(raw.send(&greeting).await);
        assert_eq!(raw.bytes(8).await.unwrap(), PREFACE);
        let first = start(&real, "Echo", CallKind::Unary, b"a");
        let second = start(&real, "Echo", CallKind::Unary, &LONG);
        let mut open = raw.frame_of(Kind::Open).await.unwrap();
        assert_eq!(open[HEADER_BYTES], 0, "the name is sent in full: no number was offered");
        for _ in 0..4 {
            assert!(open.len() <= HEADER_BYTES + 65_536);
            open = raw.frame().await.unwrap();
        }
        let many = source(Streaming::from_iter((0..).map(|_: u32| vec![7; 1000])));
        let third = start_with(&real, "Sum", CallKind::ClientStream, b"", Some(many));
        let mut sent = 0;
        while sent < 65_536 {
            sent += raw.frame_of(Kind::Data).await.unwrap().len();
        }
        for stream in 0..3 {
            assert!(raw.send(&whole(Kind::Data, 1, stream, b"done")).await);
        }
        for exchange in [first, second, third] {
            assert_eq!(reply(exchange).await.unwrap(), "done");
        }
        assert!(sent < 65_536 + 2 * 1010, "held by the least window");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_more_is_called() {
    let (mut raw, real) = client(&Limits::default());
    assert_eq!(raw.bytes(8).await.unwrap(), PREFACE);
    assert!(raw.send(&unknown()).await && raw.send(&hello_of(&[(77, 1), (5, 10)])).await);
    let unary = start(&real, "Echo", CallKind::Unary, b"a");
    raw.frame_of(Kind::Open).await.unwrap();
    assert!(raw.send(&unknown()).await && raw.send(&newer(Kind::Data, 1, 0, b"b")).await);
    assert_eq!(reply(unary).await.unwrap(), "b");
    let stream = start(&real, "Count", CallKind::ServerStream, b"a");
    let id = Header::read(&raw.frame_of(Kind::Open).await.unwrap()).unwrap().stream;
    assert!(raw.send(&newer(Kind::Accept, 0, id, b"")).await);
    assert!(raw.send(&newer(Kind::Data, 0, id, b"1")).await && raw.send(&unknown()).await);
    assert!(raw.send(&newer(Kind::End, 0, id, b"")).await);
    assert_eq!(opened(stream).await.collect(9).await.unwrap(), ["1"]);
    let reset = start(&real, "Echo", CallKind::Unary, b"a");
    let id = Header::read(&raw.frame_of(Kind::Open).await.unwrap()).unwrap().stream;
    assert!(raw.send(&newer(Kind::Reset, 0, id, &[200])).await);
    assert_eq!(reply(reset).await.unwrap_err().code(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_comes_late_changes_what_is_open_already() {
    let (mut raw, real) = client(&Limits::default());
    let many = source(Streaming::from_iter((0..).map(|_: u32| vec![7; 1000])));
    let _open = start_with(&real, "Sum", CallKind::ClientStream, b"", Some(many));
    assert_eq!(raw.bytes(8).await.unwrap(), PREFACE);
    let mut messages = 0;
    // Each message costs 1,010, and one may be begun while anything is left.
    while messages < 65_536_usize.div_ceil(1010) {
        raw.frame_of(Kind::Data).await.unwrap();
        messages += 1;
    }
    assert!(raw.send(&hello(&Limits::default())).await);
    while messages < 262_144_usize.div_ceil(1010) {
        raw.frame_of(Kind::Data).await.unwrap();
        messages += 1;
    }
    assert!(raw.send(&whole(Kind::Ping, 0, 0, &[0; 8])).await);
    assert_eq!(Header::read(&raw.frame().await.unwrap()).unwrap().kind, Kind::Pong);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_another_kind_still_answers() {
    let (mut raw, _real) = server(&Limits::default());
    raw.greet().await;
    // One message for a stream of requests.
    assert!(raw.send(&open(0, "Sum", &[1, 2, 3])).await);
    assert_eq!(payload_of(&mut raw, Kind::Data).await, [6]);
    // A stream of requests for one message.
    assert!(raw.send(&open_with(1, "Echo", 0, b"")).await);
    assert!(raw.send(&whole(Kind::Data, 0, 1, b"only")).await);
    assert!(raw.send(&whole(Kind::Data, 0, 1, b"more")).await);
    assert_eq!(payload_of(&mut raw, Kind::Data).await, b"only");
    // The first message of a stream in parts.
    assert!(raw.send(&open_with(2, "Sum", 0x06, &[1, 2])).await);
    assert!(raw.send(&whole(Kind::Data, 1, 2, &[3])).await);
    assert_eq!(payload_of(&mut raw, Kind::Data).await, [6]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_goodbye_is_told_of_the_end_all_the_same() {
    let (mut raw, real) = server(&Limits::default());
    raw.greet().await;
    assert!(raw.send(&whole(Kind::GoAway, 0, 0, &[3])).await);
    clock::sleep(Duration::from_millis(1)).await;
    real.scope.shutdown.drain();
    let frame = raw.frame().await.unwrap();
    assert_eq!(Header::read(&frame).unwrap().kind, Kind::GoAway);
}
