//! What a fault of one side costs the other, and what it does not.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Retry};
use crate::core::exchange::{Exchange, Head, Route};
use crate::core::limits::Limits;
use crate::core::net::{Address, Pipe};
use crate::transport::native::frame::{HEADER_BYTES, Header, Kind, PREFACE};
use crate::transport::native::link;
use crate::transport::native::streams::Stream;
use crate::transport::native::tests::lab::{Lab, fixture, opened, reply};
use crate::transport::native::tests::raw::{
    Raw, Real, client, hello, open, open_with, scope, server, whole,
};
use crate::transport::{Memory, Native, Scope, Transport};

async fn welcomed() -> (Raw, Real) {
    let (mut raw, real) = client(&Limits::default());
    raw.welcome().await;
    (raw, real)
}

async fn greeted() -> (Raw, Real) {
    let (mut raw, real) = server(&Limits::default());
    raw.greet().await;
    (raw, real)
}

fn call(real: &Real, kind: CallKind, body: &Bytes) -> Exchange {
    let route = Route::new("lab", "Echo", kind);
    let mut head = Head::new(&route, clock::now(), ContentType::MsgPack);
    head.deadline = Some(head.now + Duration::from_secs(600));
    real.connection().start(&head, body, None).unwrap()
}

/// Reads frames, pongs to pings, and passes over the rest, until one is of a kind.
async fn patient(raw: &mut Raw, kind: Kind) -> Option<Vec<u8>> {
    loop {
        let frame = raw.frame().await?;
        match Header::read(&frame).unwrap().kind {
            Kind::Ping => {
                assert!(raw.send(&whole(Kind::Pong, 0, 0, &frame[HEADER_BYTES..])).await);
            }
            found if found == kind => return Some(frame),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_breach_of_the_node_is_an_outage_of_the_node_to_its_callers() {
    for breach in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &whole(Kind::Credit, 0, 0, b"")] {
        let (raw, real) = welcomed().await;
        let running = call(&real, CallKind::Unary, &Bytes::new());
        assert!(raw.send(breach).await);
        let error = reply(running).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Unknown), "{error}");
        assert!(error.detail().contains("the node broke the protocol"), "{error}");
        let source = error.source().and_then(|source| source.downcast_ref::<Error>()).unwrap();
        assert!(source.code() < 500, "{source}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_a_long_message_slowly_is_not_dropped() {
    // The node says nothing, and takes 64 KiB every 9 s.
    let (mut raw, real) = welcomed().await;
    let long = call(&real, CallKind::Unary, &Bytes::from(vec![7; 1 << 20]));
    for _ in 0..10 {
        clock::sleep(Duration::from_secs(9)).await;
        raw.bytes(60_000).await.unwrap();
        assert!(!real.is_closed());
    }
    drop(long);
    // The caller says nothing, and takes as much.
    let (mut raw, real) = greeted().await;
    assert!(raw.send(&open(0, "Flood", b"")).await);
    assert!(raw.send(&whole(Kind::Credit, 0, 0, &[0, 0xff, 0xff, 0xff])).await);
    for _ in 0..10 {
        clock::sleep(Duration::from_secs(9)).await;
        raw.bytes(60_000).await.unwrap();
        assert!(!real.is_closed());
    }
    // What takes nothing at all is.
    clock::sleep(Duration::from_secs(20)).await;
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_stream_never_says_that_no_handler_ran() {
    let lab = fixture().await;
    let mut stream = lab.stream("Passing", b"", None).await;
    assert_eq!(stream.next().await.unwrap().unwrap(), "1");
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
    // On the wire.
    let (mut raw, _real) = greeted().await;
    assert!(raw.send(&open(0, "Passing", b"")).await);
    let end = raw.frame_of(Kind::End).await.unwrap();
    assert!(!Header::read(&end).unwrap().has(0x20));
    // From a node that says so all the same.
    let (raw, real) = welcomed().await;
    let begun = call(&real, CallKind::ServerStream, &Bytes::new());
    let refusal = b"\x00{\"id\":\"lab\",\"code\":503,\"detail\":\"later\"}";
    assert!(raw.send(&whole(Kind::Accept, 0, 0, b"")).await);
    assert!(raw.send(&whole(Kind::End, 0x30, 0, refusal)).await);
    let error = opened(begun).await.next().await.unwrap().unwrap_err();
    assert_eq!(error.retry(), Retry::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_the_code_does_not_tell_travels() {
    let lab = fixture().await;
    let error = lab.unary("Final", "").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Never));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_after_the_end_of_its_connection_is_not_kept() {
    let (ours, _theirs) = Pipe::pair();
    let scope = scope(&Limits::default());
    let link = link(Arc::new(ours), "memory".into(), &scope, false);
    let task = || scope.tasks.spawn("handler", std::future::pending()).abort_on_drop();
    assert!(link.lock().streams.accept(0, Stream::default(), 1));
    assert!(link.lock().keep_task(0, task()).is_none());
    assert!(link.lock().keep_task(1, task()).is_some(), "its stream is over");
    link.close(&Error::unavailable("test", "the peer is gone"));
    assert!(link.lock().keep_task(0, task()).is_some());
    let soon = clock::now() + Duration::from_secs(1);
    assert_eq!(scope.tasks.wait(soon).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_idle_while_a_stream_is_open_however_it_ends() {
    let (mut raw, real) = greeted().await;
    let began = clock::now();
    assert!(raw.send(&open_with(0, "Hold", 0, b"")).await);
    let open_for = Limits::DEFAULT.connection.server_idle_timeout * 2;
    let held = clock::timeout(open_for, patient(&mut raw, Kind::GoAway)).await;
    assert!(held.is_err(), "nothing ends it while the stream is open");
    assert!(raw.send(&whole(Kind::Reset, 0, 0, &[1])).await);
    patient(&mut raw, Kind::GoAway).await.unwrap();
    let idle = clock::now() - began - open_for;
    assert_eq!(idle.as_secs(), Limits::DEFAULT.connection.server_idle_timeout.as_secs());
    // A call that was on its way is served.
    assert!(raw.send(&open(1, "Echo", b"late")).await);
    assert_eq!(patient(&mut raw, Kind::Data).await.unwrap()[HEADER_BYTES..], *b"late");
    assert!(!real.is_closed());
    while patient(&mut raw, Kind::End).await.is_some() {}
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_end_within_a_message_is_a_breach_and_an_error_is_not() {
    let begun = [open_with(0, "Sum", 0, b""), whole(Kind::Data, 2, 0, b"cut")].concat();
    let (mut raw, real) = greeted().await;
    assert!(raw.send(&[begun.clone(), whole(Kind::End, 0, 0, b"")].concat()).await);
    assert_eq!(raw.kinds_to_end().await, [Kind::GoAway]);
    assert!(real.is_closed());
    let (mut raw, real) = greeted().await;
    let failed = whole(Kind::End, 0x10, 0, b"\x00{\"id\":\"user\",\"code\":409}");
    assert!(raw.send(&[begun, failed].concat()).await);
    raw.frame_of(Kind::End).await.unwrap();
    assert!(!real.is_closed());
    // The same from a node.
    let (raw, real) = welcomed().await;
    let begun = call(&real, CallKind::ServerStream, &Bytes::new());
    let cut = [whole(Kind::Accept, 0, 0, b""), whole(Kind::Data, 2, 0, b"cut")].concat();
    assert!(raw.send(&[cut, whole(Kind::End, 0, 0, b"")].concat()).await);
    let error = opened(begun).await.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), 503);
    assert!(real.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_may_be_that_of_a_try_is_not_called_that_of_the_call() {
    let lab = fixture().await;
    let error = lab.unary("Never", "").await.unwrap_err();
    assert_eq!((error.code(), error.id()), (408, "micro.transport"));
    assert!(!error.detail().contains("call"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn requests_of_calls_that_last_keep_few_reads() {
    let (raw, real) = greeted().await;
    for id in 0..200 {
        assert!(raw.send(&open(id, "Never", b"short")).await);
        tokio::task::yield_now().await;
    }
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!(real.lab.alive.load(Ordering::Relaxed), 200);
    let kept = 200 - real.lab.copied.load(Ordering::Relaxed);
    assert!(kept <= 16, "{kept} requests keep the read they came with");
}

#[tokio::test(start_paused = true)]
async fn a_missing_endpoint_is_looked_for_once_a_number() {
    let (mut raw, real) = greeted().await;
    let named = [&[3, 3][..], b"lab", &[1], b"X", &[0, 1]].concat();
    for (id, payload) in [(0, &named[..]), (1, &[2, 0, 1]), (2, &[2, 0, 1])] {
        assert!(raw.send(&whole(Kind::Open, 5, id, payload)).await);
        let end = raw.frame_of(Kind::End).await.unwrap();
        let error = Error::parse(&String::from_utf8_lossy(&end[HEADER_BYTES + 1..]));
        assert_eq!((error.code(), error.id()), (404, "lab"));
    }
    assert_eq!(real.lab.resolved.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_last_words_reach_a_peer_that_was_still_sending() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let scope = scope(&Limits::default());
    let any: Address = "127.0.0.1:0".parse().unwrap();
    let address = Native.listen(&any, Arc::new(Lab::default()), &scope).await.unwrap();
    let mut peer = tokio::net::TcpStream::connect(address.to_string()).await.unwrap();
    let mut session = [&PREFACE[..], &hello(&Limits::default())].concat();
    session.extend(whole(Kind::Credit, 0, 0, b""));
    // More than the buffers of the system hold: it arrives only as far as somebody reads it.
    session.resize(20 << 20, 0);
    peer.write_all(&session).await.unwrap();
    let mut read = Vec::new();
    peer.read_to_end(&mut read).await.unwrap();
    assert!(read.ends_with(&whole(Kind::GoAway, 0, 0, &[6])), "{read:?}");
}

#[tokio::test]
async fn a_draining_listener_accepts_nobody() {
    let scope = scope(&Limits::default());
    let any: Address = "127.0.0.1:0".parse().unwrap();
    let address = Native.listen(&any, Arc::new(Lab::default()), &scope).await.unwrap();
    let open = Native.dial(&address, &scope).await.unwrap();
    scope.shutdown.drain();
    let refused = async {
        while Native.dial(&address, &scope).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    assert!(clock::timeout(Duration::from_secs(10), refused).await.is_ok());
    drop(open);
}

#[tokio::test]
async fn a_listener_admits_as_many_peers_as_its_limits_say() {
    let mut limits = Limits::default();
    limits.connection.total_max = 2;
    let (scope, dialing) = (scope(&limits), scope(&Limits::default()));
    let any: Address = "127.0.0.1:0".parse().unwrap();
    let address = Native.listen(&any, Arc::new(Lab::default()), &scope).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Native.dial(&address, &dialing).await.unwrap());
    }
    let closed = async {
        while open.iter().filter(|connection| connection.is_open()).count() > 2 {
            clock::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(clock::timeout(Duration::from_secs(10), closed).await.is_ok());
    clock::sleep(Duration::from_millis(50)).await;
    assert_eq!(open.iter().filter(|connection| connection.is_open()).count(), 2);
}

#[tokio::test]
async fn a_listener_in_memory_that_has_stopped_is_forgotten() {
    let memory = Memory::new();
    let any: Address = "memory:".parse().unwrap();
    let lab = Arc::new(Lab::default());
    for _ in 0..100 {
        let scope = Scope::default();
        memory.listen(&any, lab.clone(), &scope).await.unwrap();
        scope.shutdown.close();
    }
    assert!(Arc::strong_count(&lab) <= 2, "{}", Arc::strong_count(&lab));
}
