//! How connections end, and what their calls learn of it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Retry};
use crate::core::exchange::{Connection, Head, Route};
use crate::core::limits::Limits;
use crate::core::net::{Pipe, Socket};
use crate::transport::native::link::Link;
use crate::transport::native::tests::lab::{fixture, reply};
use crate::transport::native::tests::raw::{Real, client, open, scope, server};
use crate::transport::native::{greet, link};

/// A stream whose connection ends while it takes bytes, as when another thread reads its end.
#[derive(Debug)]
struct Racing {
    pipe: Pipe,
    ends: OnceLock<Weak<Link>>,
}

impl Socket for Racing {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Socket::poll_read_ready(&self.pipe, task)
    }
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        Socket::try_read(&self.pipe, buffer)
    }
    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Socket::poll_write_ready(&self.pipe, task)
    }
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let count = Socket::try_write(&self.pipe, bytes)?;
        if let Some(link) = self.ends.get().and_then(Weak::upgrade) {
            link.close(&Error::unavailable("test", "the peer is gone"));
        }
        Ok(count)
    }
    fn shutdown(&self) -> io::Result<()> {
        Socket::shutdown(&self.pipe)
    }
}

fn start(
    connection: Arc<dyn Connection>,
    now: tokio::time::Instant,
) -> crate::core::exchange::Exchange {
    let route = Route::new("lab", "Echo", CallKind::Unary);
    let deadline = Some(now + Duration::from_secs(10));
    let content_type = ContentType::MsgPack;
    let head = Head { route: &route, now, deadline, content_type, extra: None, waker: None };
    connection.start(&head, &Bytes::new(), None).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_connection_ends_while_it_is_written_may_have_run() {
    let (pipe, _peer) = Pipe::pair();
    let socket = Arc::new(Racing { pipe, ends: OnceLock::new() });
    let link = link(socket.clone(), "memory".into(), &scope(&Limits::default()), true);
    greet(&link);
    socket.ends.set(Arc::downgrade(&link)).unwrap();
    let error = reply(start(link.clone(), clock::now())).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_began_to_write_did_not_run() {
    let (pipe, _peer) = Pipe::pair();
    let link = link(Arc::new(pipe), "memory".into(), &scope(&Limits::default()), true);
    // Somebody else is to write for all.
    let first = start(link.clone(), clock::now());
    let second = start(link.clone(), clock::now());
    link.close(&Error::unavailable("test", "the peer is gone"));
    assert_eq!(reply(first).await.unwrap_err().retry(), Retry::Unknown, "written at once, alone");
    assert_eq!(reply(second).await.unwrap_err().retry(), Retry::Safe);
}

async fn fails_at_once(real: &Real, end: impl FnOnce(&Real)) {
    let call = start(real.connection(), clock::now());
    let began = clock::now();
    end(real);
    let error = reply(call).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
    assert!(clock::now() - began < Duration::from_millis(10));
    // What the peer still sends is read for a while.
    let soon = clock::now() + Duration::from_secs(2);
    assert_eq!(real.scope.tasks.wait(soon).await, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_end_with_the_tasks_or_the_lifecycle_of_their_connection() {
    let (_raw, real) = client(&Limits::default());
    tokio::task::yield_now().await;
    fails_at_once(&real, |real| real.scope.tasks.abort_all()).await;
    let (_raw, real) = client(&Limits::default());
    tokio::task::yield_now().await;
    fails_at_once(&real, |real| assert!(real.scope.shutdown.close())).await;
    let (raw, real) = client(&Limits::default());
    tokio::task::yield_now().await;
    fails_at_once(&real, |_| drop(raw)).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_tasks_are_aborted_ends_its_connections() {
    let lab = fixture().await;
    let call = lab.start("Never", "", None);
    tokio::task::yield_now().await;
    lab.server.tasks.abort_all();
    assert_eq!(reply(call).await.unwrap_err().code(), 503);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_costs_no_time_past_its_deadline() {
    let lab = fixture().await;
    let call = lab.start("Later", "a", None);
    // Time passes only while nothing is busy.
    let slept = clock::timeout(Duration::from_secs(100), async {
        clock::sleep(Duration::from_secs(50)).await;
    });
    assert!(slept.await.is_ok());
    assert_eq!(reply(call).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_whose_connection_ends_while_it_runs_in_place_runs_on() {
    for (endpoint, left) in [("Detached", 1), ("Never", 0)] {
        let (mut raw, real) = server(&Limits::default());
        raw.greet().await;
        let other = Arc::clone(&real.link);
        let ends = move || other.close(&Error::unavailable("test", "the peer is gone"));
        *real.lab.during.lock().unwrap() = Some(Box::new(ends));
        assert!(raw.send(&open(0, endpoint, b"")).await);
        assert!(raw.kinds_to_end().await.is_empty());
        // What the peer still sends is read for a while.
        let soon = clock::now() + Duration::from_secs(2);
        assert_eq!(real.scope.tasks.wait(soon).await, left, "{endpoint}");
        assert_eq!(real.lab.alive.load(Ordering::Relaxed), left);
        real.scope.tasks.abort_all();
        assert_eq!(real.scope.tasks.wait(soon + Duration::from_secs(1)).await, 0);
        assert_eq!(real.lab.alive.load(Ordering::Relaxed), 0);
    }
}
