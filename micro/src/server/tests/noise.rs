//! Noise at the one port: random bytes, and sessions of every protocol with bytes changed.
//!
//! `MICRO_FUZZ_SECONDS` makes it go on for so long; a failure names its seed, which
//! `MICRO_FUZZ_SEED` repeats.

use std::sync::atomic::AtomicBool;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::connections::Native;
use super::*;
use crate::core::shutdown::TaskTracker;

/// What a process may grow by while noise goes on for a minute: what allocators keep.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// Rounds after which every buffer that is kept has been made.
const WARM: u64 = 500;

/// Sees whether a connection's task panicked; handlers of the sample do so on purpose, and are
/// answered for.
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

/// What clients of each protocol send for a call.
struct Sessions(Vec<Vec<u8>>);

/// Reads what a client has written and waits for no more.
async fn written(mut pipe: Pipe) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async { while let Ok(1..) = pipe.read_buf(&mut all).await {} };
    let _waits = clock::timeout(Duration::from_millis(100), reading).await;
    all
}

impl Sessions {
    async fn record() -> Self {
        let (here, there) = Pipe::pair();
        let native = Native::over(here);
        let calls = ["Echo", "Hang", "Fail"].map(|name| native.start(name, None).unwrap());
        let framed = written(there).await;
        drop(calls);
        let (here, there) = Pipe::pair();
        let tasks = TaskTracker::new();
        tasks.spawn("client", async move {
            let mut http = http2(here).await;
            let body = Full::new(Bytes::from_static(b"\"x\""));
            let body = body.map_err(|never| match never {});
            let body = http_body_util::combinators::BoxBody::new(body);
            let path = "http://localhost/sample/Sample.Echo";
            let _answer = http.send_request(Request::post(path).body(body).unwrap()).await;
        });
        let http2 = written(there).await;
        tasks.abort_all();
        let post = |name: &str, rest: &str| {
            format!("POST /sample/Sample.{name} HTTP/1.1\r\nhost: localhost\r\n{rest}").into_bytes()
        };
        let sessions = vec![
            framed,
            http2,
            post("Echo", "tenant: acme\r\ncontent-length: 3\r\n\r\n\"x\""),
            post("Count", "timeout: 1s\r\ncontent-length: 1\r\n\r\n9"),
            post("Sum", "transfer-encoding: chunked\r\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"),
            b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ];
        assert!(sessions.iter().all(|session| !session.is_empty()));
        Self(sessions)
    }

    /// Makes up what a peer sends.
    fn noise(&self, rng: &mut Rng) -> Vec<u8> {
        if rng.u8(0..4) == 0 {
            let length = rng.usize(0..3000);
            return (0..length).map(|_| rng.u8(..)).collect();
        }
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..4) {
            bytes.extend_from_slice(&self.0[rng.usize(0..self.0.len())]);
            if rng.bool() {
                let again = bytes.clone();
                bytes.extend(again.repeat(rng.usize(0..4)));
            }
        }
        for _ in 0..rng.usize(0..9) {
            let at = rng.usize(0..bytes.len());
            match rng.u8(0..5) {
                0 => bytes[at] = rng.u8(..),
                1 => bytes[at] ^= 1 << rng.u8(0..8),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.splice(at..at, [0xff; 4]).for_each(drop),
                _ => bytes.splice(at..at, (0..rng.usize(0..99)).map(|_| rng.u8(..))).for_each(drop),
            }
        }
        bytes
    }
}

/// Sends noise on one connection and waits until the server has let go of it.
async fn round(rig: &Rig, sessions: &Sessions, mut rng: Rng) {
    let noise = sessions.noise(&mut rng);
    let mut pipe = rig.dial();
    for portion in noise.chunks(rng.usize(1..2000)) {
        // The server may have closed: then the rest is of no interest.
        if clock::timeout(Duration::from_secs(20), pipe.write_all(portion)).await.is_err() {
            break;
        }
        for _ in 0..rng.usize(0..9) {
            tokio::task::yield_now().await;
        }
    }
    if rng.bool() {
        let mut some = vec![0; 4096];
        let _answer = clock::timeout(Duration::from_millis(50), pipe.read(&mut some)).await;
    }
    if rng.u8(0..8) == 0 {
        // Silent, and reads nothing: the timers of the server are what is left.
        clock::sleep(Duration::from_secs(100)).await;
    }
    drop(pipe);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Names the seed of the round that fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "whoever reads the failure needs the seed")]
            {
                eprintln!("MICRO_FUZZ_SEED={}", self.0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn noise_at_the_port_ends_with_its_connection_and_concerns_nobody_else() {
    let panics = Panics::default();
    let _seen = tracing::subscriber::set_default(panics.clone());
    let rig = Rig::limited(|limits| {
        limits.connection.age_max = Duration::from_secs(1 << 30);
        limits.call.default_timeout = Duration::from_secs(1);
        limits.call.timeout_max = Duration::from_secs(1);
    });
    let sessions = Sessions::record().await;
    let (mut http, native) = (rig.http1().await, rig.native());
    // Once used, it may be idle for longer than a round; unused it would be closed within one.
    assert_eq!(got(http.send_request(post("Echo", "\"x\"")).await.unwrap()).await.status, 200);
    let (fixed, seconds) = (setting("MICRO_FUZZ_SEED"), setting("MICRO_FUZZ_SECONDS"));
    let first = fixed.unwrap_or_else(|| seconds.map_or(1, |_| fastrand::u64(..u64::MAX / 2)));
    let (began, mut before) = (std::time::SystemTime::now(), 0);
    for done in 0.. {
        let over = match (fixed, seconds) {
            (Some(_), _) => done == 1,
            (None, Some(seconds)) => began.elapsed().unwrap() >= Duration::from_secs(seconds),
            (None, None) => done == 300,
        };
        if over {
            break;
        }
        let _named = Named(first + done);
        round(&rig, &sessions, Rng::with_seed(first + done)).await;
        assert_eq!(got(http.send_request(post("Echo", "\"x\"")).await.unwrap()).await.status, 200);
        assert_eq!(native.call("Echo", None).await.unwrap(), "\"x\"");
        for _ in 0..100 {
            if rig.server.connections() == 2 && rig.server.in_flight() == 0 {
                break;
            }
            clock::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((rig.server.connections(), rig.server.in_flight()), (2, 0));
        assert!(!panics.0.load(Ordering::Relaxed), "a task panicked");
        before = if done == WARM { resident_kib() } else { before };
    }
    if seconds.is_some() && before > 0 {
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more, from MICRO_FUZZ_SEED={first} on");
    }
}
