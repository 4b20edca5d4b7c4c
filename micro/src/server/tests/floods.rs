//! Floods over HTTP: much that costs the peer little. Each is bounded in memory, ends or changes
//! nothing, and leaves the rest of the port to others.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::conformance::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE,
    PRIORITY, RST_STREAM, SETTINGS, Talk, WINDOW_UPDATE, call, frame, hang, head, literal, open,
};
use super::*;

/// How long somebody else may wait for an answer meanwhile.
const VICTIM_WAITS: Duration = Duration::from_secs(1);

/// Calls as somebody else.
async fn others_are_served(rig: &Rig) {
    let start = clock::now();
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
    assert!(clock::now() - start < VICTIM_WAITS);
}

/// Sends the same bytes again and again, reading as it goes; returns after how many the connection
/// was gone, or `None`.
async fn flood(rig: &Rig, talk: &mut Talk, bytes: &[u8], times: usize) -> Option<usize> {
    for n in 0..times {
        let sent = clock::timeout(Duration::from_secs(60), talk.pipe.write_all(bytes)).await;
        if !matches!(sent, Ok(Ok(()))) {
            talk.settle().await;
            return Some(n);
        }
        if n % 64 == 0 {
            talk.settle().await;
            if talk.heard.closed {
                return Some(n);
            }
        }
    }
    talk.settle().await;
    others_are_served(rig).await;
    talk.heard.closed.then_some(times)
}

#[tokio::test(start_paused = true)]
async fn f40_calls_that_are_reset_at_once_run_no_more_than_there_is_room_for() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    for n in 0..20_000_u32 {
        let id = 2 * n + 1;
        talk.send(&[hang(id), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()).await;
        assert!(rig.server.in_flight() <= Limits::DEFAULT.stream.http2_max);
        if n % 1000 == 0 {
            others_are_served(&rig).await;
        }
    }
    talk.settle().await;
    assert_eq!(rig.server.in_flight(), 0);
    assert_eq!(rig.started(), rig.dropped());
    assert!(rig.started() < 20_000, "most never ran");
    others_are_served(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn f40_calls_that_are_reset_once_they_run_are_dropped_one_by_one() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    for n in 0..2000_u32 {
        let id = 2 * n + 1;
        talk.send(&hang(id)).await;
        while rig.started() <= usize::try_from(n).unwrap() {
            tokio::task::yield_now().await;
        }
        talk.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await;
    }
    talk.settle().await;
    assert_eq!((rig.started(), rig.dropped(), rig.server.in_flight()), (2000, 2000, 0));
    others_are_served(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn f40_a_peer_that_makes_the_server_reset_is_cut_off() {
    let rig = Rig::plain();
    let limit = Limits::DEFAULT.stream.local_error_resets_max;
    let mut talk = Talk::begin(&rig).await;
    for n in 0..u32::try_from(limit * 10).unwrap() {
        let id = 2 * n + 1;
        // An empty window is an error of the stream: the server resets it by itself.
        talk.send(&[hang(id), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat()).await;
        talk.settle().await;
        if talk.heard.closed {
            break;
        }
    }
    assert!(talk.heard.closed, "{:?}", talk.heard.goaway());
    assert!(rig.started() <= limit + 1, "{}", rig.started());
    assert_eq!((rig.started(), rig.server.in_flight()), (rig.dropped(), 0));
    others_are_served(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn f41_continuations_without_end_are_cut_off() {
    for part in [literal("a", "b"), literal("a", &"v".repeat(120)).repeat(100), Vec::new()] {
        let rig = Rig::plain();
        let mut talk = Talk::begin(&rig).await;
        talk.send(&frame(HEADERS, END_STREAM, 1, &head(b""))).await;
        let gone = flood(&rig, &mut talk, &frame(CONTINUATION, 0, 1, &part), 20_000).await;
        let bytes = gone.expect("it is cut off") * (part.len() + 9);
        assert!(bytes < 512 * 1024, "after {bytes} bytes");
        others_are_served(&rig).await;
    }
}

#[tokio::test(start_paused = true)]
async fn l03_a_list_of_headers_beyond_the_limit_is_refused_and_far_beyond_it_the_end() {
    for (bytes, served) in [(12_000, true), (40_000, false), (200_000, false)] {
        let rig = Rig::plain();
        let mut talk = Talk::begin(&rig).await;
        let field = literal("x-ignored", &"v".repeat(100));
        let all = field.repeat(bytes / field.len() / 2);
        talk.send(&frame(HEADERS, END_STREAM, 1, &head(b""))).await;
        for part in all.chunks(16_000) {
            talk.send(&frame(CONTINUATION, 0, 1, part)).await;
        }
        talk.send(&frame(CONTINUATION, END_HEADERS, 1, b"")).await;
        talk.settle().await;
        let answered = talk.heard.frames.iter().any(|f| (f.0, f.2) == (HEADERS, 1));
        assert!(answered || talk.heard.closed || talk.heard.reset(1).is_some());
        assert!(served || talk.heard.status(1) != Some(200), "{bytes}");
        others_are_served(&rig).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f42_empty_and_small_data_is_cut_off() {
    for (bytes, most) in [(&b""[..], 1000), (b" ", 100_000)] {
        let rig = Rig::plain();
        let mut talk = Talk::begin(&rig).await;
        talk.send(&open(1)).await;
        let gone = flood(&rig, &mut talk, &frame(DATA, 0, 1, bytes), 200_000).await;
        let gone = gone.unwrap_or(usize::MAX);
        assert!(gone <= most, "after {gone}");
        others_are_served(&rig).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f42_settings_pings_and_windows_without_end_cost_nobody_else_anything() {
    for bytes in [
        frame(SETTINGS, 0, 0, b""),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9].repeat(100)),
        frame(SETTINGS, ACK, 0, b""),
        frame(PING, 0, 0, b"12345678"),
        frame(PING, ACK, 0, b"12345678"),
        frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 9]),
        frame(0x42, 0, 0, b"unknown"),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ] {
        let rig = Rig::plain();
        let mut talk = Talk::begin(&rig).await;
        // The connection goes on or ends; what it never does is to keep what came.
        let _gone = flood(&rig, &mut talk, &bytes.repeat(100), 100).await;
        assert_eq!(rig.server.in_flight(), 0);
        others_are_served(&rig).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f09_a_peer_that_reads_nothing_is_closed_however_it_asks() {
    for bytes in
        [frame(SETTINGS, 0, 0, b"").repeat(100), frame(PING, 0, 0, b"12345678").repeat(100)]
    {
        let rig = Rig::plain();
        let mut pipe = rig.dial();
        pipe.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
        let start = clock::now();
        // Progress: the server ends it once its answers are taken by nobody.
        while clock::timeout(Duration::from_secs(30), pipe.write_all(&bytes)).await.unwrap().is_ok()
        {
            tokio::task::yield_now().await;
        }
        assert!(clock::now() - start <= Duration::from_secs(30), "{:?}", clock::now() - start);
        assert_eq!(rig.server.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn f43_heads_and_bodies_that_drip_end_in_their_time() {
    let limits = Limits::DEFAULT.connection;
    let head = "POST /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\n";
    let body = format!("{head}content-length: 5000\r\n\r\n");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    for (start_with, drip, most) in [
        ("GET", "x", limits.handshake_timeout),
        ("GET / HTTP/1.1\r\n", "a: b\r\n", limits.handshake_timeout),
        (&body, " ", limits.body_progress_timeout),
        (&chunked, "1\r\n \r\n", limits.body_progress_timeout),
    ] {
        let rig = Rig::plain();
        let (mut pipe, start) = (rig.dial(), clock::now());
        let mut bytes = start_with.as_bytes().to_vec();
        let mut some = Vec::new();
        loop {
            if pipe.write_all(&bytes).await.is_err() {
                break;
            }
            let reading = async { while let Ok(1..) = pipe.read_buf(&mut some).await {} };
            if clock::timeout(Duration::from_millis(500), reading).await.is_ok() {
                break;
            }
            bytes = drip.as_bytes().to_vec();
        }
        let took = clock::now() - start;
        // What is still sent to a refusal is read and dropped for a second.
        clock::sleep(Duration::from_secs(2)).await;
        assert!(took <= most + Duration::from_secs(3), "{start_with:?}: {took:?}");
        assert_eq!((rig.server.connections(), rig.server.in_flight()), (0, 0), "{start_with:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f43_a_later_head_that_drips_ends_in_its_own_time() {
    let own = Duration::from_secs(2);
    let rig = Rig::limited(|limits| {
        limits.connection.header_read_timeout = own;
        limits.connection.handshake_timeout = Duration::from_secs(600);
    });
    let mut pipe = rig.dial();
    let whole = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..2 {
        pipe.write_all(whole).await.unwrap();
        let mut some = Vec::new();
        let reading = async { while let Ok(1..) = pipe.read_buf(&mut some).await {} };
        // A connection that is kept says no end.
        assert!(clock::timeout(Duration::from_millis(1), reading).await.is_err());
        assert!(some.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&some));
        // Silence between requests is no head.
        clock::sleep(own * 3).await;
    }
    let start = clock::now();
    // Progress: the server ends it within the time of a head.
    for byte in whole.iter().cycle() {
        let sent = pipe.write_all(&[*byte | 0x20]).await;
        let reading = async { while let Ok(1..) = pipe.read_buf(&mut Vec::new()).await {} };
        let closed = clock::timeout(Duration::from_millis(300), reading).await.is_ok();
        if closed || sent.is_err() {
            break;
        }
    }
    let took = clock::now() - start;
    assert!(took >= own && took <= own * 2, "{took:?}");
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn f43_bodies_that_drip_over_http2_are_given_up() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    let start = clock::now();
    talk.send(&open(1)).await;
    // Progress: the server gives the body up in its time.
    while talk.heard.frames.iter().all(|f| f.2 != 1) && !talk.heard.closed {
        talk.send(&frame(DATA, 0, 1, b" ")).await;
        talk.send(&frame(PING, ACK, 0, &last_ping(&talk))).await;
        talk.settle().await;
        clock::sleep(Duration::from_millis(900)).await;
    }
    let took = clock::now() - start;
    assert!(took <= Duration::from_secs(17), "{took:?}");
    assert_eq!(rig.server.in_flight(), 0);
    others_are_served(&rig).await;
}

/// The bytes of the latest ping, as an answer has them.
fn last_ping(talk: &Talk) -> Vec<u8> {
    let mut pings = talk.heard.frames.iter().filter(|f| f.0 == PING && f.1 & ACK == 0);
    pings.next_back().map_or_else(|| vec![0; 8], |ping| ping.3.clone())
}

#[tokio::test(start_paused = true)]
async fn f43_a_connection_of_http2_that_never_asks_for_anything_ends() {
    for bytes in [
        PREFACE.to_vec(),
        [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, 0, 1, &head(b""))].concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, b""), &call(1)[..12]].concat(),
    ] {
        let rig = Rig::plain();
        let (mut pipe, start) = (rig.dial(), clock::now());
        pipe.write_all(&bytes).await.unwrap();
        let mut all = Vec::new();
        while let Ok(1..) = pipe.read_buf(&mut all).await {}
        let took = clock::now() - start;
        let most = Limits::DEFAULT.connection.server_idle_timeout + Duration::from_secs(60);
        assert!(took <= most, "{took:?}");
        assert_eq!(rig.server.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn f43_thousands_of_silent_connections_keep_nobody_out() {
    const FULL: usize = 200;
    let rig = Rig::limited(|limits| limits.connection.total_max = FULL);
    let starts = [&b""[..], b"G", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01"];
    let mut held = Vec::new();
    for n in 0..FULL * 10 {
        let mut pipe = rig.dial();
        let _closed = pipe.write_all(starts[n % starts.len()]).await;
        held.push(pipe);
        tokio::task::yield_now().await;
        if n % 100 == 0 {
            others_are_served(&rig).await;
        }
    }
    assert!(rig.server.connections() <= FULL + 1, "{}", rig.server.connections());
    others_are_served(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn f44_what_a_length_promises_is_not_believed() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    let length = literal("content-length", "99999999999999");
    talk.send(&frame(HEADERS, END_HEADERS, 1, &head(&length))).await;
    talk.settle().await;
    assert!(talk.heard.frames.iter().any(|f| (f.0, f.2) == (HEADERS, 1)), "answered at once");
    assert_eq!(talk.heard.goaway(), None);
    assert_ne!(talk.heard.goaway(), Some(ENHANCE_YOUR_CALM));
    others_are_served(&rig).await;
}
