//! Valid sessions, and what becomes of them when bytes are changed or arrive in other portions.
//!
//! `MICRO_FUZZ_SECONDS` makes the changes go on for so long; a failure names its seed, which
//! `MICRO_FUZZ_SEED` repeats.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::exchange::{Exchange, Head, Route};
use crate::core::limits::Limits;
use crate::core::stream::Streaming;
use crate::transport::native::frame::{Header, Kind};
use crate::transport::native::tests::lab::{Lab, byte, source};
use crate::transport::native::tests::raw::{Raw, Real, client, open, server_over};
use crate::transport::native::tests::sessions::{mutate, of_client, of_patient_client, of_server};

/// Sees whether a task of the transport panicked; handlers of the lab do so on purpose.
#[derive(Clone, Default)]
struct Panics(Arc<AtomicBool>);

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Message<'a>(&'a AtomicBool);
        impl Visit for Message<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" && format!("{value:?}") == "task panicked" {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
        }
        event.record(&mut Message(&self.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn seconds() -> Option<u64> {
    std::env::var("MICRO_FUZZ_SECONDS").ok()?.parse().ok()
}

/// Runs a case for seed after seed, and names the one that fails.
async fn for_seeds<F: Future<Output = ()>>(count: u64, case: impl Fn(Rng) -> F) {
    let panics = Panics::default();
    let _seen = tracing::subscriber::set_default(panics.clone());
    let fixed = std::env::var("MICRO_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = fixed.unwrap_or_else(|| seconds().map_or(1, |_| fastrand::u64(..u64::MAX / 2)));
    let began = std::time::SystemTime::now();
    let more = |done: u64| match (fixed, seconds()) {
        (Some(_), _) => done < 1,
        (None, Some(seconds)) => began.elapsed().unwrap() < Duration::from_secs(seconds),
        (None, None) => done < count,
    };
    let mut done = 0;
    while more(done) {
        let seed = first + done;
        let mut case = Box::pin(case(Rng::with_seed(seed)));
        let sound = std::future::poll_fn(|task| {
            let polled = catch_unwind(AssertUnwindSafe(|| case.as_mut().poll(task)));
            polled.map_or(Poll::Ready(false), |polled| polled.map(|()| true))
        });
        assert!(sound.await && !panics.0.load(Ordering::Relaxed), "MICRO_FUZZ_SEED={seed}");
        done += 1;
    }
}

/// Lets a connection handle what has arrived.
async fn settle(real: &Real) {
    for _ in 0..40 {
        tokio::task::yield_now().await;
        if real.is_closed() {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_survives_any_change_to_a_session() {
    let lab = Arc::new(Lab::default());
    let (mut other, _kept) = server_over(&Limits::default(), Arc::clone(&lab));
    other.greet().await;
    let other = tokio::sync::Mutex::new(other);
    for_seeds(1000, |mut rng| {
        let (lab, other) = (Arc::clone(&lab), &other);
        async move {
            let frames = rng.usize(3..40);
            let mut session = of_client(&mut rng, frames);
            mutate(&mut session, &mut rng);
            let (raw, real) = server_over(&Limits::default(), Arc::clone(&lab));
            let bytes = session.concat();
            for portion in bytes.chunks(rng.usize(1..4000)) {
                // The server may have closed: then the rest is of no interest.
                let _closed = raw.socket.try_write(portion);
                settle(&real).await;
                assert!(real.held() < 2_000_000, "{}", real.held());
            }
            raw.end();
            settle(&real).await;
            ended(&real).await;
            let mut other = other.lock().await;
            assert!(other.send(&open(rng.u32(..) & 0xffff_0000, "Echo", b"me")).await);
            assert!(other.frame_of(Kind::Data).await.unwrap().ends_with(b"me"));
        }
    })
    .await;
    assert_eq!(lab.alive.load(Ordering::Relaxed), 0);
}

/// Waits until a connection whose peer is gone has ended, with all of its tasks.
async fn ended(real: &Real) {
    let soon = clock::now() + Duration::from_secs(20);
    assert_eq!(real.scope.tasks.wait(soon).await, 0);
    assert!(real.is_closed());
}

/// Calls of every kind on the first slots of a connection, polled until they pend.
fn calls(real: &Real) -> Vec<tokio::task::JoinHandle<()>> {
    let kinds = [CallKind::Unary, CallKind::ServerStream, CallKind::ClientStream, CallKind::Bidi];
    let start = |n: usize| {
        let kind = kinds[n % 4];
        let route = Route::new("lab", "Echo", kind);
        let now = clock::now();
        let deadline = Some(now + Duration::from_secs(5));
        let content_type = ContentType::MsgPack;
        let head = Head { route: &route, now, deadline, content_type, extra: None, waker: None };
        let requests = || source(Streaming::from_iter((0..50).map(|n| vec![byte(n); 100])));
        let requests = kind.streams_requests().then(requests);
        (kind, real.connection().start(&head, &Bytes::from_static(b"hi"), requests).unwrap())
    };
    (0..12).map(start).map(|(kind, exchange)| run(kind, exchange)).collect()
}

#[expect(clippy::disallowed_methods, reason = "the test owns the task and awaits it")]
fn run(kind: CallKind, mut exchange: Exchange) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if !kind.streams_responses() {
            let _outcome = std::future::poll_fn(|task| exchange.poll_reply(task)).await;
            return;
        }
        if std::future::poll_fn(|task| exchange.poll_opened(task)).await.is_ok() {
            let mut responses = exchange.into_stream();
            while let Some(Ok(_)) = responses.next().await {}
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_survives_any_change_to_a_session_and_every_call_has_its_outcome() {
    for_seeds(500, |mut rng| async move {
        let frames = rng.usize(3..60);
        let mut session = of_server(&mut rng, frames);
        mutate(&mut session, &mut rng);
        let (raw, real) = client(&Limits::default());
        let calls = calls(&real);
        for portion in session.concat().chunks(rng.usize(1..2000)) {
            let _closed = raw.socket.try_write(portion);
            settle(&real).await;
            assert!(real.held() < 2_000_000, "{}", real.held());
        }
        let began = clock::now();
        // Half of the servers go away, the others fall silent.
        let silent = rng.bool();
        if !silent {
            raw.end();
        }
        for call in calls {
            call.await.unwrap();
        }
        let most = Duration::from_secs(if silent { 16 } else { 0 });
        assert!(clock::now() - began <= most + Duration::from_millis(50));
        raw.end();
        ended(&real).await;
    })
    .await;
}

/// The frames of a side by stream, since those of different streams may pass each other.
async fn collect(raw: &mut Raw) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let mut streams: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while let Some(frame) = raw.frame().await {
        streams.entry(Header::read(&frame).unwrap().stream).or_default().push(frame);
    }
    streams
}

async fn answers(portions: &[&[u8]], wait: bool) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let (mut raw, real) = server_over(&Limits::default(), Arc::default());
    for portion in portions {
        assert!(raw.send(portion).await);
        if wait {
            tokio::task::yield_now().await;
        }
    }
    // Calls that take their time have it.
    clock::sleep(Duration::from_millis(100)).await;
    assert!(!real.is_closed());
    raw.end();
    collect(&mut raw).await
}

#[tokio::test(start_paused = true)]
async fn frames_in_any_portions_have_the_same_answers() {
    let frames: Vec<_> = of_patient_client(&mut Rng::with_seed(7), 200)
        .into_iter()
        .filter(|frame| frame.len() < 300)
        .collect();
    assert!(frames.len() > 150);
    let whole = frames.concat();
    let expected = answers(&[&whole], false).await;
    assert!(expected.len() > 50);
    // Every frame is split at every one of its bytes, in one of these sessions.
    let longest = frames.iter().map(Vec::len).max().unwrap();
    for at in 0..longest {
        let split = |frame: &'_ Vec<u8>| at % frame.len();
        let portions: Vec<_> = frames
            .iter()
            .flat_map(|f| {
                let (a, b) = f.split_at(split(f));
                [a, b]
            })
            .collect();
        assert_eq!(answers(&portions, true).await, expected, "split at {at}");
    }
    for size in [1, 2, 3, 7, 11, 64, 1000] {
        let portions: Vec<_> = whole.chunks(size).collect();
        assert_eq!(answers(&portions, true).await, expected, "in portions of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_in_any_portions_mean_the_same() {
    let session = of_server(&mut Rng::with_seed(3), 60).concat();
    let mut expected = None;
    for size in (1..80).chain([session.len()]) {
        let (raw, real) = client(&Limits::default());
        let kinds = [CallKind::Unary, CallKind::ServerStream];
        let mut calls: Vec<_> = Vec::new();
        for n in 0..12 {
            let route = Route::new("lab", "Echo", kinds[n % 2]);
            let now = clock::now();
            let content_type = ContentType::MsgPack;
            let deadline = None;
            let head =
                Head { route: &route, now, deadline, content_type, extra: None, waker: None };
            calls.push(real.connection().start(&head, &Bytes::new(), None).unwrap());
        }
        for portion in session.chunks(size) {
            assert!(raw.send(portion).await);
            tokio::task::yield_now().await;
        }
        raw.end();
        settle(&real).await;
        let mut seen = Vec::new();
        for (n, mut call) in calls.into_iter().enumerate() {
            if n % 2 == 0 {
                let answer = std::future::poll_fn(|task| call.poll_reply(task)).await;
                seen.push(format!("{:?}", answer.result));
                continue;
            }
            match std::future::poll_fn(|task| call.poll_opened(task)).await {
                Err(error) => seen.push(format!("{error:?}")),
                Ok(()) => {
                    let mut responses = call.into_stream();
                    while let Some(response) = responses.next().await {
                        seen.push(format!("{response:?}"));
                    }
                }
            }
        }
        assert_eq!(*expected.get_or_insert_with(|| seen.clone()), seen, "in portions of {size}");
    }
}
