//! Clients that flood, lie and mix up what they send, and how little it costs the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::clock;
use crate::core::exchange::Dispatch;
use crate::core::limits::Limits;
use crate::core::net::{Address, Socket, Stream};
use crate::transport::native::frame::{HEADER_BYTES, Header, Kind, PREFACE};
use crate::transport::native::tests::lab::Lab;
use crate::transport::native::tests::raw::{
    Raw, Real, head, open, open_with, scope, server, server_over, whole,
};
use crate::transport::native::varint;
use crate::transport::{Native, Transport};

async fn greeted() -> (Raw, Real) {
    let (mut raw, real) = server(&Limits::default());
    raw.greet().await;
    (raw, real)
}

/// Checks that a connection of somebody else is served at once.
async fn others_are_served(lab: &Arc<Lab>) {
    let (mut raw, _real) = server_over(&Limits::default(), Arc::clone(lab));
    let asked = clock::now();
    raw.greet().await;
    assert!(raw.send(&open(0, "Echo", b"me")).await);
    assert_eq!(raw.frame().await.unwrap()[HEADER_BYTES..], *b"me");
    assert!(clock::now() - asked < Duration::from_millis(10));
}

/// Sends a ping and reads until its pong; what came before it is returned by kind.
async fn until_pong(raw: &mut Raw) -> Vec<Kind> {
    assert!(raw.send(&whole(Kind::Ping, 0, 0, b"the last")).await);
    let mut kinds = Vec::new();
    loop {
        let frame = raw.frame().await.unwrap();
        if frame.ends_with(b"the last") {
            return kinds;
        }
        kinds.push(Header::read(&frame).unwrap().kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_calls_given_up_at_once_runs_no_more_than_the_limit() {
    for (endpoint, rounds) in [("Never", 20), ("Detached", 3)] {
        let (mut raw, real) = greeted().await;
        let limit = Limits::DEFAULT.call.in_flight_per_connection_max;
        for round in 0..rounds {
            let mut burst = Vec::new();
            for n in 0..1000_u32 {
                let id = ((round * 1000 + n) << 16) | (n % 8);
                burst.extend(open(id, endpoint, b""));
                burst.extend(whole(Kind::Reset, 0, id, &[1]));
            }
            assert!(raw.send(&burst).await);
            until_pong(&mut raw).await;
        }
        assert!(real.lab.alive_most.load(Ordering::Relaxed) <= limit);
        assert!(real.link.running.load(Ordering::Relaxed) <= limit);
        assert!(real.held() < 100_000 && !real.is_closed());
        others_are_served(&real.lab).await;
        // Detached calls run on; all others are gone.
        tokio::task::yield_now().await;
        let alive = real.lab.alive.load(Ordering::Relaxed);
        assert_eq!(alive, if endpoint == "Detached" { limit } else { 0 });
        assert!(raw.send(&open(0, "Later", b"")).await);
        let refused = raw.frame().await.unwrap();
        let refused = Header::read(&refused).unwrap();
        assert_eq!(refused.has(0x20), endpoint == "Detached", "refused, safely");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_that_nobody_reads_the_answers_of_is_bounded_and_ends() {
    let (raw, real) = greeted().await;
    let began = clock::now();
    let pings = whole(Kind::Ping, 0, 0, &[7; 8]).repeat(4096);
    let mut most = 0;
    for _ in 0..100 {
        if !raw.send(&pings).await {
            break;
        }
        most = most.max(real.held());
    }
    let limits = &Limits::DEFAULT.connection;
    assert!(most <= limits.outbound_bytes_max + 100_000, "{most}");
    others_are_served(&real.lab).await;
    clock::sleep(limits.write_timeout).await;
    assert!(real.is_closed(), "closed as slow after {:?}", clock::now() - began);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_holds_little_and_is_closed() {
    for (endpoint, body) in [("Echo", 60_000), ("Later", 60_000), ("Flood", 0), ("Missing", 0)] {
        let (raw, real) = greeted().await;
        let mut most = 0;
        for n in 0..2000_u32 {
            let id = if endpoint == "Echo" || endpoint == "Missing" { 0 } else { n % 1024 };
            if real.is_closed() || !raw.send(&open(id, endpoint, &vec![7; body])).await {
                break;
            }
            most = most.max(real.held());
        }
        clock::sleep(Duration::from_secs(30)).await;
        assert!(real.is_closed(), "{endpoint}");
        assert!(most <= Limits::DEFAULT.connection.outbound_bytes_max + 400_000, "{most}");
        others_are_served(&real.lab).await;
        assert_eq!(real.lab.alive.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn frames_about_nothing_cost_nothing() {
    let (mut raw, real) = greeted().await;
    let endless = 0xdead_0000;
    let floods = [
        whole(Kind::Data, 0, endless, &[7; 100]),
        whole(Kind::Data, 2, 77, &[7; 100]),
        whole(Kind::End, 0, endless, b""),
        whole(Kind::End, 0x10, endless, b"not an error"),
        whole(Kind::Reset, 0, endless, b""),
        whole(Kind::Reset, 1, endless, &[1]),
        whole(Kind::Credit, 0, endless, &[0xff; 4]),
        whole(Kind::Accept, 0, endless, b""),
        whole(Kind::GoAway, 0, 0, &[3]),
        whole(Kind::Pong, 0, 0, &[0; 8]),
        whole(Kind::Ping, 0, 0, b"short"),
        [&[0, 0, 0, 0, 200, 0][..], &[0; 4]].concat(),
    ];
    for flood in floods {
        assert!(raw.send(&flood.repeat(5000)).await);
        assert!(until_pong(&mut raw).await.is_empty());
        assert_eq!((real.held(), real.link.lock().streams.live()), (0, 0));
    }
    others_are_served(&real.lab).await;
}

#[tokio::test(start_paused = true)]
async fn credit_without_end_is_cut() {
    let (mut raw, real) = greeted().await;
    assert!(raw.send(&open_with(3, "Hold", 0, b"")).await);
    assert!(raw.send(&whole(Kind::Credit, 0, 3, &[0xff; 4]).repeat(2000)).await);
    assert!(until_pong(&mut raw).await.is_empty());
    let credit = real.link.lock().streams.get(3).unwrap().flow.as_ref().unwrap().credit;
    assert_eq!(credit, i64::from(u32::MAX));
    assert!(raw.send(&whole(Kind::Credit, 0, 3, &[1, 2, 3])).await);
    assert_eq!(raw.kinds_to_end().await, [Kind::GoAway]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_opened_twice_closes_the_connection_and_only_that() {
    for (first, second) in
        [("Never", "Never"), ("Never", "Later"), ("Hold", "Sum"), ("Never", "Hold")]
    {
        for generation in [0, 0x1_0000] {
            let (mut raw, real) = greeted().await;
            assert!(raw.send(&open(5, first, b"")).await);
            assert!(raw.send(&open(5 | generation, second, b"")).await);
            assert_eq!(raw.kinds_to_end().await, [Kind::GoAway], "{first} {second}");
            tokio::task::yield_now().await;
            assert_eq!(real.lab.alive.load(Ordering::Relaxed), 0);
            others_are_served(&real.lab).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn heads_cut_anywhere_or_filled_with_nonsense_never_panic() {
    let mut extra = head("Echo");
    let section = [&[1][..], &[9; 25], &[1, 3, 1, b'k', 1, b'v', 0, 0]].concat();
    varint::put(&mut extra, u64::try_from(section.len()).unwrap());
    extra.extend(section);
    let lab = Arc::new(Lab::default());
    for cut in 0..extra.len() {
        let cases = [
            extra[..cut].to_vec(),
            [&extra[..cut], &[0xff; 20]].concat(),
            [&extra[..cut], &[0x80; 20]].concat(),
            [&extra[..cut], &[0xff, 0xff, 0xff, 0xff, 0x0f], &extra[cut..]].concat(),
            [&extra[..cut], &[0xff], &extra[cut + 1..]].concat(),
        ];
        for payload in cases {
            let (mut raw, real) = server_over(&Limits::default(), Arc::clone(&lab));
            raw.greet().await;
            assert!(raw.send(&whole(Kind::Open, 0x0d, 0, &payload)).await);
            raw.end();
            raw.kinds_to_end().await;
            assert!(real.is_closed());
        }
    }
    others_are_served(&lab).await;
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf8_closes_the_connection() {
    for (names, at) in [(head("Echo"), 2), (head("Echo"), 6)] {
        let (mut raw, _real) = greeted().await;
        let mut payload = names;
        payload[at] = 0xff;
        assert!(raw.send(&whole(Kind::Open, 5, 0, &payload)).await);
        assert_eq!(raw.kinds_to_end().await, [Kind::GoAway]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_go_on_is_given_up_and_its_slot_is_free() {
    let (mut raw, real) = greeted().await;
    let began = clock::now();
    for slot in 0..100 {
        assert!(raw.send(&open_with(slot, "Echo", 6, &[7; 1000])).await);
    }
    for _ in 0..100 {
        raw.frame_of(Kind::Reset).await.unwrap();
    }
    let waited = clock::now() - began;
    assert_eq!(waited.as_secs(), Limits::DEFAULT.call.default_timeout.as_secs());
    assert_eq!((real.held(), real.link.lock().streams.live()), (0, 0));
    assert!(raw.send(&open(0x1_0003, "Echo", b"again")).await);
    assert!(raw.frame_of(Kind::Data).await.unwrap().ends_with(b"again"));
    // An end without a message is answered, not left open.
    assert!(raw.send(&open_with(4, "Echo", 0, b"")).await);
    assert!(raw.send(&whole(Kind::End, 0, 4, b"")).await);
    assert!(raw.frame_of(Kind::End).await.is_some());
    assert_eq!(real.link.lock().streams.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn small_messages_do_not_hold_the_reads_that_brought_them() {
    let (mut raw, real) = greeted().await;
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    // Each message arrives with a read full of nothing.
    let nothing = [&[0, 0, 0xea, 0x60, 200, 0][..], &[0; 4], &[0; 60_000]].concat();
    for _ in 0..100 {
        assert!(raw.send(&whole(Kind::Data, 0, 0, b"m")).await && raw.send(&nothing).await);
        assert!(until_pong(&mut raw).await.is_empty());
    }
    let state = &mut real.link.lock();
    let flow = state.streams.get(0).unwrap().flow.as_ref().unwrap();
    assert_eq!(flow.inbox.len(), 100);
    assert!(flow.reads.1 > 8, "there were many reads, of which few are held");
    // A message on its own can be taken out of its buffer, a part of a read cannot.
    let own = flow.inbox.wholes().filter(|whole| whole.is_unique()).count();
    assert!(own >= 90, "{own}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_use_is_not_idle_and_an_unused_one_is() {
    let (mut raw, real) = greeted().await;
    for n in 0..10 {
        clock::sleep(Duration::from_secs(59)).await;
        assert!(raw.send(&open(n << 16, "Echo", b"")).await);
        raw.frame_of(Kind::Data).await.unwrap();
    }
    let last = clock::now();
    assert!(!real.is_closed());
    // The client answers pings and asks for nothing; nor does it heed the goaway.
    let mut goaway = None;
    while let Some(frame) = raw.frame().await {
        if Header::read(&frame).unwrap().kind == Kind::GoAway {
            goaway = Some(clock::now());
        }
        let _closed = raw.send(&whole(Kind::Pong, 0, 0, &frame[HEADER_BYTES..])).await;
    }
    let limits = &Limits::DEFAULT.connection;
    let goaway = goaway.unwrap();
    assert_eq!((goaway - last).as_secs(), limits.server_idle_timeout.as_secs());
    assert_eq!((clock::now() - goaway).as_secs(), limits.age_grace.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_says_goaway_then_ends() {
    let (mut raw, real) = greeted().await;
    let began = clock::now();
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    let (mut goaway, mut told) = (None, false);
    while let Some(frame) = raw.frame().await {
        match Header::read(&frame).unwrap().kind {
            Kind::Ping => {
                assert!(raw.send(&whole(Kind::Pong, 0, 0, &frame[HEADER_BYTES..])).await);
            }
            Kind::GoAway => goaway = Some(clock::now() - began),
            Kind::End => told = String::from_utf8_lossy(&frame).contains("reached its age"),
            kind => panic!("{kind:?}"),
        }
    }
    let limits = &Limits::DEFAULT.connection;
    let (age, end) = (goaway.unwrap(), clock::now() - began);
    assert!(age >= limits.age_max * 9 / 10 && age <= limits.age_max * 11 / 10, "{age:?}");
    assert_eq!((end - age).as_secs(), limits.age_grace.as_secs());
    assert!(told, "the caller of the open stream learns why");
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_pings_is_dropped() {
    let (mut raw, _real) = greeted().await;
    let began = clock::now();
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    assert_eq!(raw.kinds_to_end().await, [Kind::Ping]);
    let limits = &Limits::DEFAULT.connection;
    let most = limits.keepalive_interval + limits.keepalive_timeout;
    assert_eq!((clock::now() - began).as_secs(), most.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_pinged_at_a_slower_pace() {
    let limits = &Limits::DEFAULT.connection;
    let (mut raw, real) = greeted().await;
    let began = clock::now();
    for n in 1..=3 {
        let frame = raw.frame().await.unwrap();
        assert_eq!(Header::read(&frame).unwrap().kind, Kind::Ping);
        let due = limits.keepalive_idle_interval * n;
        assert_eq!((clock::now() - began).as_secs(), due.as_secs(), "ping {n}");
        assert!(raw.send(&whole(Kind::Pong, 0, 0, &frame[HEADER_BYTES..])).await);
    }
    assert_eq!(raw.kinds_to_end().await, [Kind::Ping]);
    let most = limits.keepalive_idle_interval * 4 + limits.keepalive_timeout;
    assert_eq!((clock::now() - began).as_secs(), most.as_secs());
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_speak_the_protocol_is_closed_in_time() {
    for first in
        [&b""[..], &PREFACE[..7], b"\x8dmicrp\x01\x00", b"GET / HTTP/1.1\r\n\r\n", &[0; 64]]
    {
        let (mut raw, _real) = server(&Limits::default());
        let began = clock::now();
        assert!(raw.send(first).await);
        assert!(raw.kinds_to_end().await.is_empty());
        assert!(clock::now() - began <= Limits::DEFAULT.connection.handshake_timeout);
    }
}

#[tokio::test]
async fn hostile_sockets_leave_the_listener_to_others() {
    let (limits, lab) = (Limits::default(), Arc::new(Lab::default()));
    let scope = scope(&limits);
    let dispatch: Arc<dyn Dispatch> = lab.clone();
    let any: Address = "127.0.0.1:0".parse().unwrap();
    let address = Native.listen(&any, dispatch, &scope).await.unwrap();
    let connect =
        async || Stream::connect(&address, Duration::from_secs(1)).await.unwrap().into_socket();
    let mut kept: Vec<Arc<dyn Socket>> = Vec::new();
    for n in 0..60_u8 {
        let raw = Raw::new(connect().await);
        let garbage = [&PREFACE[..], &[n; 300]].concat();
        assert!(raw.send(if n % 3 == 0 { &garbage } else { &PREFACE[..usize::from(n % 8)] }).await);
        kept.push(Arc::clone(&raw.socket));
        if n % 2 == 0 {
            kept.clear();
        }
    }
    let mut raw = Raw::new(connect().await);
    raw.greet().await;
    assert!(raw.send(&open(0, "Echo", b"me")).await);
    assert_eq!(raw.frame().await.unwrap()[HEADER_BYTES..], *b"me");
    scope.tasks.abort_all();
    let soon = clock::now() + Duration::from_secs(5);
    assert_eq!(scope.tasks.wait(soon).await, 0);
}
