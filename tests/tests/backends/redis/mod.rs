//! Redis: its store, its brokers and its registry.

mod broker;
mod conformance;
mod pubsub;
mod registry;
mod speed;
mod store;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::core::shutdown::{TaskHandle, TaskTracker};
use micro::driver;
use micro_tests::server::Server;

pub(crate) fn trials() -> Vec<Trial> {
    let groups = [
        conformance::trials(),
        store::trials(),
        broker::trials(),
        pubsub::trials(),
        registry::trials(),
        speed::trials(),
    ];
    groups.into_iter().flatten().collect()
}

/// Connects as a process of its own would.
fn connect(server: &Server) -> Arc<driver::Redis> {
    connect_with(server, &TaskTracker::new())
}

fn connect_with(server: &Server, tasks: &TaskTracker) -> Arc<driver::Redis> {
    let place = driver::Server::new("127.0.0.1", server.port());
    Arc::new(driver::Redis::open(&place, tasks).unwrap())
}

/// Runs something beside the test.
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> TaskHandle<T> {
    TaskTracker::new().spawn("test", work)
}

/// Returns a prefix that nothing else uses.
fn prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("test{}", NEXT.fetch_add(1, Relaxed))
}

/// Says a line to the server and returns the first line of its answer.
fn say(server: &Server, line: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap().trim_end().to_owned()
}

/// Tries until it works, and returns how long that took.
async fn until<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    mut attempt: impl FnMut() -> F,
) -> (T, Duration) {
    let began = Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return (done, began.elapsed());
        }
        assert!(began.elapsed() < patience, "it never worked within {patience:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

/// How long a paused server stands still.
fn pause() -> Duration {
    Duration::from_secs(if is_long() { 30 } else { 3 })
}
