//! Streams: who waits for whom, and what is left when either end goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::core::clock;
use crate::core::limits::Limits;
use crate::core::stream::Streaming;
use crate::transport::native::frame::{HEADER_BYTES, Kind};
use crate::transport::native::tests::lab::{
    FLOOD_BYTES, byte, fixture, flood, opened, reply, source,
};
use crate::transport::native::tests::raw::{open, server, whole};

/// The most messages of a flood that may be under way to a reader that has stopped: the window,
/// one message beyond it, and a batch of the producer's that it has not sent.
pub(super) const HELD_MAX: usize =
    (Limits::DEFAULT.stream.window_bytes + 32 * 1024) / (FLOOD_BYTES + HEADER_BYTES) + 2;

/// Lets everything happen that can happen without time passing.
async fn settle() {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
}

/// Reads nothing of a flood and says how many messages were made; `generous` gives credit for what
/// was never read, as if there were none.
async fn made_for_a_stopped_reader(generous: bool) -> usize {
    let (mut raw, real) = server(&Limits::default());
    raw.greet().await;
    assert!(raw.send(&open(0, "Flood", b"")).await);
    if generous {
        assert!(raw.send(&whole(Kind::Credit, 0, 0, &[0, 0xff, 0xff, 0xff])).await);
    }
    settle().await;
    // What is written is taken off the wire, so that only credit holds the producer.
    let taking = async {
        while raw.frame().await.is_some() && real.lab.made.load(Ordering::Relaxed) < 2 * HELD_MAX {}
    };
    assert!(clock::timeout(Duration::from_secs(1), taking).await.is_ok() == generous);
    real.lab.made.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_stopped_reader_holds_its_producer_within_the_credit() {
    let made = made_for_a_stopped_reader(false).await;
    assert!(made <= HELD_MAX && made * 2 > HELD_MAX, "{made} of {HELD_MAX}");
    let made = made_for_a_stopped_reader(true).await;
    assert!(made > HELD_MAX, "without credit the claim above would not hold: {made}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_reader_holds_its_producer_and_other_streams_keep_their_rate() {
    let lab = fixture().await;
    let rate = async || {
        let before = lab.lab.made.load(Ordering::Relaxed);
        let mut stream = lab.stream("Flood", b"", None).await;
        for _ in 0..5000 {
            stream.next().await.unwrap().unwrap();
            assert_eq!(lab.unary("Echo", "a").await.unwrap(), "a");
        }
        drop(stream);
        settle().await;
        lab.lab.made.load(Ordering::Relaxed) - before
    };
    let began = clock::now();
    let alone = rate().await;
    let before = lab.lab.made.load(Ordering::Relaxed);
    let mut stopped: Vec<_> = Vec::new();
    for _ in 0..20 {
        stopped.push(lab.stream("Flood", b"", None).await);
    }
    settle().await;
    let held = lab.lab.made.load(Ordering::Relaxed) - before;
    assert!(held <= 20 * HELD_MAX, "{held}");
    let beside = rate().await;
    assert!(alone <= 5000 + HELD_MAX && beside <= 5000 + HELD_MAX, "{alone} {beside}");
    assert!(clock::now() - began < Duration::from_millis(500), "nobody waited for a timer");
    let after = lab.lab.made.load(Ordering::Relaxed) - before - beside;
    assert_eq!(after, held, "those that are not read make nothing more");
    for stream in &mut stopped {
        assert_eq!(stream.next().await.unwrap().unwrap().len(), FLOOD_BYTES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_handler_holds_its_caller_within_the_credit() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let held = lab.start("Hold", "", Some(flood(Arc::clone(&made))));
    settle().await;
    let before = made.load(Ordering::Relaxed);
    assert!(before <= HELD_MAX && before * 2 > HELD_MAX, "{before} of {HELD_MAX}");
    for _ in 0..1000 {
        lab.unary("Later", "a").await.unwrap();
    }
    assert_eq!(made.load(Ordering::Relaxed), before);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn long_streams_of_short_messages_never_run_out_of_credit() {
    let lab = fixture().await;
    for length in [0, 1, 10] {
        let count = 60_000;
        let numbers = source(Streaming::from_iter((0..count).map(move |_| vec![1; length])));
        let mut mirrored = lab.stream("Mirror", b"", Some(numbers)).await;
        let mut seen = 0;
        while let Some(message) = mirrored.next().await {
            assert_eq!(message.unwrap().len(), length);
            seen += 1;
        }
        assert_eq!(seen, count);
    }
}

#[tokio::test(start_paused = true)]
async fn long_streams_of_long_messages_pass_through_the_window_one_by_one() {
    let lab = fixture().await;
    let lengths = [1 << 20, 0, 300_000, 1, 4 << 20, 262_144, 262_134, 65_536];
    let requests = lengths.map(|length| (0..length).map(byte).collect::<Vec<u8>>());
    let mut mirrored =
        lab.stream("Mirror", b"", Some(source(Streaming::from_iter(requests)))).await;
    for length in lengths {
        let message = mirrored.next().await.unwrap().unwrap();
        assert!(message.len() == length && message.iter().enumerate().all(|(n, b)| *b == byte(n)));
    }
    assert!(mirrored.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_longer_than_a_frame_may_ask_for_a_stream() {
    let lab = fixture().await;
    let mut body = vec![0; 500_000];
    body[0] = 5;
    let counted = opened(lab.start("Count", body, None)).await.collect(10).await.unwrap();
    assert_eq!(counted.concat(), [0, 1, 2, 3, 4]);
}

/// A stream that says when it is dropped.
fn watched(alive: &Arc<()>) -> Streaming<Vec<u8>> {
    let held = Arc::clone(alive);
    Streaming::from_iter((0..).map(move |n| {
        assert!(Arc::strong_count(&held) > 1);
        vec![byte(n); 1000]
    }))
}

#[tokio::test(start_paused = true)]
async fn dropping_either_end_resets_the_other() {
    let lab = fixture().await;
    let alive = Arc::new(());
    // The caller goes away: the handler's stream is dropped, and its own requests.
    let mut mirrored = lab.stream("Mirror", b"", Some(source(watched(&alive)))).await;
    mirrored.next().await.unwrap().unwrap();
    assert_eq!(lab.lab.alive.load(Ordering::Relaxed), 0, "the handler has returned its stream");
    drop(mirrored);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1);
    // The handler drops its requests: the caller's source is dropped, the call goes on.
    let mut ignored = lab.start("Ignore", "", Some(source(watched(&alive))));
    let pending =
        std::future::poll_fn(|task| std::task::Poll::Ready(ignored.poll_opened(task).is_pending()));
    assert!(pending.await);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(lab.lab.alive.load(Ordering::Relaxed), 1);
    drop(ignored);
    settle().await;
    assert_eq!(lab.lab.alive.load(Ordering::Relaxed), 0);
    // The handler ends before its requests do.
    let early = lab.start("Panic", "", None);
    assert_eq!(reply(early).await.unwrap_err().code(), 500);
    // The connection goes: both ends see it.
    let mut mirrored = lab.stream("Mirror", b"", Some(source(watched(&alive)))).await;
    mirrored.next().await.unwrap().unwrap();
    lab.server.shutdown.close();
    let last = loop {
        match mirrored.next().await {
            Some(Ok(_)) => {}
            other => break other,
        }
    };
    assert_eq!(last.unwrap().unwrap_err().code(), 503);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!((lab.client.tasks.len(), lab.server.tasks.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_fails_its_stream_only() {
    let lab = fixture().await;
    let broken = || source(Streaming::from_iter((0..3_u8).map(|n| vec![10 / (2 - n)])));
    let error = reply(lab.start("Sum", "", Some(broken()))).await.unwrap_err();
    assert_eq!(error.code(), 500);
    let mut mirrored = lab.stream("Mirror", b"", Some(broken())).await;
    assert_eq!(mirrored.next().await.unwrap().unwrap(), &[5][..]);
    assert_eq!(mirrored.next().await.unwrap().unwrap(), &[10][..]);
    assert_eq!(mirrored.next().await.unwrap().unwrap_err().code(), 500);
    assert_eq!(lab.unary("Echo", "a").await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_dropped_calls_and_streams_leave_no_task_and_no_stream() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let tasks = (lab.server.tasks.len(), lab.client.tasks.len());
    let numbers = || Some(source(Streaming::from_iter((0..9).map(|n| vec![byte(n)]))));
    for n in 0..2000 {
        let calls = [
            lab.start("Never", "a", None),
            lab.start("Echo", "a", None),
            lab.start("Flood", "", None),
            lab.start("Hold", "", numbers()),
            lab.start("Mirror", "", numbers()),
        ];
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        if n % 7 == 0 {
            let mut stream = lab.stream("Mirror", b"", numbers()).await;
            stream.next().await.unwrap().unwrap();
        }
        drop(calls);
    }
    lab.unary("Later", "a").await.unwrap();
    settle().await;
    assert_eq!((lab.server.tasks.len(), lab.client.tasks.len()), tasks);
    assert_eq!(lab.lab.alive.load(Ordering::Relaxed), 0);
    drop(lab.connection);
    lab.client.shutdown.close();
    let soon = clock::now() + Duration::from_secs(1);
    assert_eq!(lab.client.tasks.wait(soon).await, 0);
    assert_eq!(lab.server.tasks.wait(soon).await, 0);
    assert_eq!(Arc::strong_count(&lab.lab), 1, "no connection is left");
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_does_not_wait_for_a_caller_that_is_gone() {
    for (endpoint, cut) in [
        ("DetachedFlood", false),
        ("DetachedFlood", true),
        ("DetachedSum", false),
        ("DetachedSum", true),
    ] {
        let lab = fixture().await;
        let requests = || {
            let (sender, requests) = Streaming::channel(1);
            (sender, source(requests))
        };
        let (_sender, body) = requests();
        let body = endpoint.ends_with("Sum").then_some(body);
        let exchange = lab.start(endpoint, "", body);
        // The window is used up, or the handler waits for a request.
        settle().await;
        assert_eq!(lab.lab.called.load(Ordering::Relaxed), 1);
        let running = lab.server.tasks.len();
        if cut {
            lab.connection.close();
        }
        drop(exchange);
        clock::sleep(Duration::from_secs(5)).await;
        let (left, alive) = (lab.server.tasks.len(), lab.lab.alive.load(Ordering::Relaxed));
        assert_eq!((left, alive), (usize::from(!cut), 0), "{endpoint} {cut} of {running}");
    }
}
