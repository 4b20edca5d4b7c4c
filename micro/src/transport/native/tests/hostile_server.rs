//! Servers that flood, lie and mix up what they send, and what their callers see of it.

use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Result, Retry};
use crate::core::exchange::{Exchange, Head, Route};
use crate::core::limits::Limits;
use crate::transport::native::frame::{HEADER_BYTES, Header, Kind};
use crate::transport::native::tests::lab::{opened, reply};
use crate::transport::native::tests::raw::{Raw, Real, client, hello, whole};

async fn welcomed(limits: &Limits) -> (Raw, Real) {
    let (mut raw, real) = client(limits);
    raw.welcome().await;
    // The pong shows that the hello was read.
    assert!(raw.send(&whole(Kind::Ping, 0, 0, b"the last")).await);
    assert!(raw.frame().await.unwrap().ends_with(b"the last"));
    (raw, real)
}

impl Real {
    fn try_call(&self, kind: CallKind) -> Result<Exchange> {
        let route = Route::new("lab", "Echo", kind);
        let now = clock::now();
        let deadline = Some(now + Duration::from_secs(10));
        let content_type = ContentType::MsgPack;
        let head = Head { route: &route, now, deadline, content_type, extra: None, waker: None };
        self.connection().start(&head, &Bytes::from_static(b"hi"), None)
    }

    fn call(&self, kind: CallKind) -> Exchange {
        self.try_call(kind).unwrap()
    }
}

/// Waits until the client has read all that was sent; returns the kinds it sent before the pong.
async fn until_pong(raw: &mut Raw) -> Vec<Kind> {
    assert!(raw.send(&whole(Kind::Ping, 0, 0, b"the last")).await);
    let mut kinds = Vec::new();
    loop {
        let frame = raw.frame().await.expect("a pong");
        if frame.ends_with(b"the last") {
            return kinds;
        }
        kinds.push(Header::read(&frame).unwrap().kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_beyond_the_limit_fails_its_call_and_is_reset_once() {
    let mut limits = Limits::default();
    limits.message.bytes_max = 100_000;
    for (length, code) in [(100_000, None), (100_001, Some(413)), (1_000_000, Some(413))] {
        let (mut raw, real) = welcomed(&limits).await;
        let call = real.call(CallKind::Unary);
        assert_eq!(until_pong(&mut raw).await, [Kind::Open]);
        let parts: Vec<_> = vec![7; length].chunks(50_000).map(<[u8]>::to_vec).collect();
        for (at, part) in parts.iter().enumerate() {
            let flags = if at + 1 == parts.len() { 1 } else { 2 };
            assert!(raw.send(&whole(Kind::Data, flags, 0, part)).await);
        }
        // More of it, again and again, for a caller that does not look.
        let more = [whole(Kind::Data, 2, 0, &[7; 60_000]), whole(Kind::Data, 1, 0, b"x")].concat();
        for _ in 0..20 {
            assert!(raw.send(&more).await);
        }
        let resets = until_pong(&mut raw).await;
        assert_eq!(resets.len(), usize::from(code.is_some()), "{length}");
        assert!(real.held() < 10_000, "{}", real.held());
        let answer = reply(call).await;
        assert_eq!(answer.as_ref().err().map(crate::core::error::Error::code), code);
        assert!(real.connection().is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_beyond_the_limit_ends_the_connection_and_its_calls() {
    let limit = Limits::DEFAULT.message.frame_bytes_max;
    for length in [limit + 1, limit * 10, 0xffff_ffff] {
        let (mut raw, real) = welcomed(&Limits::default()).await;
        let call = real.call(CallKind::Unary);
        let length = u32::try_from(length).unwrap().to_be_bytes();
        assert!(raw.send(&[&length[..], &[2, 1, 0, 0, 0, 0]].concat()).await);
        let error = reply(call).await.unwrap_err();
        assert_eq!(error.retry(), Retry::Unknown, "{error}");
        assert_eq!(raw.kinds_to_end().await, [Kind::Open, Kind::GoAway]);
        assert_eq!(real.try_call(CallKind::Unary).unwrap_err().retry(), Retry::Safe);
    }
    // Another protocol altogether.
    let (raw, real) = client(&Limits::default());
    let call = real.call(CallKind::Unary);
    assert!(raw.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
    assert!(reply(call).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_wrong_kind_fail_the_call_at_once() {
    let asked = clock::now();
    for (kind, answer) in [
        (CallKind::Unary, whole(Kind::Accept, 0, 0, b"")),
        (CallKind::Unary, whole(Kind::End, 0, 0, b"")),
        (CallKind::Unary, whole(Kind::End, 0x10, 0, b"\x00{nonsense \xff")),
        (CallKind::Unary, whole(Kind::Reset, 0, 0, b"")),
        (CallKind::ServerStream, whole(Kind::Data, 1, 0, b"one")),
        (CallKind::ServerStream, whole(Kind::End, 0, 0, b"")),
        (CallKind::ServerStream, whole(Kind::Reset, 0, 0, &[7])),
    ] {
        let (mut raw, real) = welcomed(&Limits::default()).await;
        let mut call = real.call(kind);
        assert!(raw.send(&answer.repeat(3)).await);
        let opens = kind.streams_responses();
        let code = if opens {
            let opened = std::future::poll_fn(|task| call.poll_opened(task)).await;
            opened.unwrap_err().code()
        } else {
            reply(call).await.unwrap_err().code()
        };
        assert_eq!(code, 500, "{kind:?} {answer:?}");
        assert!(real.connection().is_open());
        assert_eq!(real.link.lock().streams.live(), 0);
        assert!(until_pong(&mut raw).await.len() <= 2);
    }
    assert!(clock::now() - asked < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_error_ends_the_connection() {
    let (mut raw, real) = welcomed(&Limits::default()).await;
    let call = real.call(CallKind::Unary);
    assert!(raw.send(&whole(Kind::End, 0x10, 0, b"")).await);
    assert!(reply(call).await.is_err());
    assert_eq!(raw.kinds_to_end().await, [Kind::Open, Kind::GoAway]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_an_earlier_call_never_reaches_a_later_one() {
    let (mut raw, real) = welcomed(&Limits::default()).await;
    drop(real.call(CallKind::Unary));
    let call = real.call(CallKind::Unary);
    until_pong(&mut raw).await;
    assert!(raw.send(&whole(Kind::Data, 1, 0, b"late")).await);
    assert!(raw.send(&whole(Kind::Data, 1, 0x1_0001, b"never opened")).await);
    assert!(raw.send(&whole(Kind::Data, 1, 0x1_0000, b"right")).await);
    assert!(raw.send(&whole(Kind::Data, 1, 0x1_0000, b"twice")).await);
    until_pong(&mut raw).await;
    assert_eq!(reply(call).await.unwrap(), "right");
}

#[tokio::test(start_paused = true)]
async fn responses_beyond_the_credit_end_the_connection() {
    let window = Limits::DEFAULT.stream.window_bytes;
    let (mut raw, real) = welcomed(&Limits::default()).await;
    let call = real.call(CallKind::ServerStream);
    assert!(raw.send(&whole(Kind::Accept, 0, 0, b"")).await);
    let message = whole(Kind::Data, 0, 0, &[7; 1014]);
    assert!(raw.send(&message.repeat(window / 1024)).await);
    until_pong(&mut raw).await;
    assert!(real.held() <= window + window / 32);
    let mut responses = opened(call).await;
    assert_eq!(responses.next().await.unwrap().unwrap().len(), 1014);
    // What the reader has begun to take is not taken yet.
    assert!(raw.send(&message).await);
    assert_eq!(raw.kinds_to_end().await, [Kind::GoAway]);
    let mut left = 0;
    let error = loop {
        match responses.next().await.unwrap() {
            Ok(_) => left += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(left, window / 1024 - 1, "what had arrived is not lost");
    assert_eq!(error.retry(), Retry::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_client_gives_credit_for_what_was_read_and_no_more() {
    let (mut raw, real) = welcomed(&Limits::default()).await;
    let call = real.call(CallKind::ServerStream);
    assert!(raw.send(&whole(Kind::Accept, 0, 0, b"")).await);
    let mut responses = opened(call).await;
    until_pong(&mut raw).await;
    let (mut sent, mut given) = (0, 0);
    for round in 0..40 {
        // Short messages, so that what a message costs beside its length counts.
        let count = if round % 2 == 0 { 1000 } else { 3 };
        assert!(raw.send(&whole(Kind::Data, 0, 0, b"four").repeat(count)).await);
        sent += count * 14;
        for _ in 0..count {
            responses.next().await.unwrap().unwrap();
        }
        assert!(raw.send(&whole(Kind::Ping, 0, 0, b"the last")).await);
        loop {
            let frame = raw.frame().await.unwrap();
            if frame.ends_with(b"the last") {
                break;
            }
            given += u32::from_be_bytes(frame[HEADER_BYTES..].try_into().unwrap());
        }
    }
    let given = usize::try_from(given).unwrap();
    assert!(given <= sent && given + 32_768 + 1000 * 14 >= sent, "{given} of {sent}");
}

#[tokio::test(start_paused = true)]
async fn floods_cost_nothing_and_calls_go_on() {
    let (mut raw, real) = welcomed(&Limits::default()).await;
    for flood in [
        whole(Kind::GoAway, 0, 0, &[3]),
        whole(Kind::Accept, 0, 0x7777_0000, b""),
        whole(Kind::Reset, 0, 0x7777_0000, &[1]),
        whole(Kind::Credit, 0, 0x7777_0000, &[0xff; 4]),
        whole(Kind::Open, 5, 0, b"a server opens nothing"),
        whole(Kind::Data, 2, 0x7777_0000, &[7; 100]),
        whole(Kind::Pong, 0, 0, &[0; 8]),
        [&[0, 0, 0, 0, 200, 0][..], &[0; 4]].concat(),
    ] {
        if !flood.starts_with(&[0, 0, 0, 1, 8]) {
            assert!(raw.send(&flood.repeat(5000)).await);
            assert!(until_pong(&mut raw).await.is_empty());
            assert_eq!(real.held(), 0);
        }
    }
    let call = real.call(CallKind::Unary);
    assert!(raw.send(&whole(Kind::GoAway, 0, 0, &[3]).repeat(5000)).await);
    assert!(raw.send(&whole(Kind::Data, 1, 0, b"still")).await);
    assert_eq!(reply(call).await.unwrap(), "still");
    assert_eq!(real.try_call(CallKind::Unary).unwrap_err().retry(), Retry::Safe);
    assert!(raw.kinds_to_end().await.contains(&Kind::Open));
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_only_as_far_as_the_server_reads() {
    let (raw, real) = welcomed(&Limits::default()).await;
    let pings = whole(Kind::Ping, 0, 0, &[7; 8]).repeat(4096);
    let mut most = 0;
    for _ in 0..100 {
        if real.is_closed() || !raw.send(&pings).await {
            break;
        }
        most = most.max(real.held());
    }
    let limits = &Limits::DEFAULT.connection;
    assert!(most <= limits.outbound_bytes_max + 100_000, "{most}");
    clock::sleep(limits.write_timeout + Duration::from_secs(1)).await;
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn unfinished_responses_share_one_bound() {
    let mut limits = Limits::default();
    limits.message.bytes_max = 100_000;
    limits.message.reassembly_bytes_max = 300_000;
    let (mut raw, real) = welcomed(&limits).await;
    let calls: Vec<_> = (0..10).map(|_| real.call(CallKind::Unary)).collect();
    for stream in 0..7 {
        let _closed = raw.send(&whole(Kind::Data, 2, stream, &[7; 50_000])).await;
        assert!(real.held() < 700_000);
    }
    assert!(raw.kinds_to_end().await.ends_with(&[Kind::GoAway]));
    for call in calls {
        assert!(reply(call).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_hello_ends_the_connection_and_so_does_a_bad_one() {
    let bad = [0x02, 0x0a];
    for second in [hello(&Limits::default()), whole(Kind::Hello, 0, 0, &bad)] {
        let (mut raw, _real) = welcomed(&Limits::default()).await;
        assert!(raw.send(&second).await);
        assert_eq!(raw.kinds_to_end().await, [Kind::GoAway]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_nothing_makes_callers_wait_then_fails_them() {
    let (raw, real) = welcomed(&Limits::default()).await;
    let (mut calls, mut refused) = (Vec::new(), None);
    let route = Route::new("lab", "Echo", CallKind::Unary);
    let body = Bytes::from(vec![7; 50_000]);
    for _ in 0..100 {
        let now = clock::now();
        let head = Head {
            route: &route,
            now,
            deadline: Some(now + Duration::from_secs(60)),
            content_type: ContentType::MsgPack,
            extra: None,
            waker: None,
        };
        match real.connection().start(&head, &body, None) {
            Ok(call) => calls.push(call),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert_eq!(refused.unwrap().retry(), Retry::Safe);
    assert!(real.held() <= Limits::DEFAULT.connection.outbound_bytes_max + 60_000);
    let began = clock::now();
    let last = calls.pop().unwrap();
    assert_eq!(reply(last).await.unwrap_err().retry(), Retry::Safe, "it was never written");
    let first = calls.swap_remove(0);
    assert_eq!(reply(first).await.unwrap_err().retry(), Retry::Unknown, "it was written");
    assert!(clock::now() - began <= Limits::DEFAULT.connection.keepalive_timeout * 3);
    drop(raw);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_come_back_to_write_holds_up_nobody() {
    let (mut raw, real) = welcomed(&Limits::default()).await;
    let _busy = real.call(CallKind::Unary);
    raw.frame_of(Kind::Open).await.unwrap();
    // Polled once it is to write for itself and others, and then it is left alone.
    let mut left = real.call(CallKind::Unary);
    let polled =
        std::future::poll_fn(|task| std::task::Poll::Ready(left.poll_reply(task).is_pending()));
    assert!(polled.await);
    let began = clock::now();
    let relying = real.call(CallKind::Unary);
    raw.frame_of(Kind::Open).await.unwrap();
    raw.frame_of(Kind::Open).await.unwrap();
    assert!(clock::now() - began <= Duration::from_millis(5), "{:?}", clock::now() - began);
    drop((left, relying));
}
