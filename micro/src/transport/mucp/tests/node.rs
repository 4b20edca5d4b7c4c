//! The connections to one node: shared, bounded, one call at a time on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Result, Retry};
use crate::core::exchange::{Connection, Exchange, Head, Route};
use crate::core::net::Address;
use crate::core::shutdown::TaskTracker;
use crate::transport::mucp::message::{Bounds, Reader, Side};
use crate::transport::mucp::{CONNECTIONS_MAX, Mucp};
use crate::transport::{Scope, Transport};

/// A node that answers `{}` once it is let, or as the body of a request says.
#[derive(Debug)]
struct Go {
    accepted: AtomicUsize,
    served: AtomicUsize,
    let_go: Semaphore,
}

impl Go {
    async fn listen(permits: usize) -> (Arc<Self>, Address, TaskTracker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let let_go = Semaphore::new(permits);
        let (accepted, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let go = Arc::new(Self { accepted, served, let_go });
        let tasks = TaskTracker::new();
        let (node, owner) = (Arc::clone(&go), tasks.clone());
        tasks.spawn("listen", async move {
            while let Ok((stream, _)) = listener.accept().await {
                node.accepted.fetch_add(1, Ordering::SeqCst);
                let node = Arc::clone(&node);
                owner.spawn("serve", async move { node.serve(stream).await });
            }
        });
        (go, address, tasks)
    }

    async fn serve(&self, stream: TcpStream) {
        let (read, mut write) = stream.into_split();
        let bounds = Bounds::of(&Scope::default().limits);
        let mut reader = Reader::new(read, BytesMut::new(), Side::Requests, bounds);
        while let Ok(Some(message)) = reader.next().await {
            self.let_go.acquire().await.unwrap().forget();
            self.served.fetch_add(1, Ordering::SeqCst);
            let answer = match &message.body[..] {
                b"\"error\"\n" => "HTTP/1.1 200 OK\r\nMicro-Error: x\r\nContent-Length: 0\r\n\r\n",
                b"\"close\"\n" => return,
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            };
            if write.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn dial(address: &Address, tasks: &TaskTracker) -> Result<Arc<dyn Connection>> {
    let scope = Scope { tasks: tasks.clone(), ..Scope::default() };
    Mucp::new().dial(address, &scope).await
}

fn start(node: &Arc<dyn Connection>, body: &'static str) -> Result<Exchange> {
    let route = Route::new("greeter", "Greeter.Hello", CallKind::Unary);
    let head = Head::new(&route, clock::now(), ContentType::Json);
    Arc::clone(node).start(&head, &Bytes::from_static(body.as_bytes()), None)
}

async fn reply(exchange: Result<Exchange>) -> Result<Bytes> {
    let mut exchange = exchange?;
    std::future::poll_fn(|task| exchange.poll_reply(task)).await.result
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection_until_an_error() {
    let (go, address, tasks) = Go::listen(1000).await;
    let node = dial(&address, &tasks).await.unwrap();
    for _ in 0..10 {
        assert_eq!(reply(start(&node, "{}")).await.unwrap(), "{}");
    }
    assert_eq!(go.accepted.load(Ordering::SeqCst), 1);
    for expected in 2..5 {
        assert_eq!(reply(start(&node, "\"error\"")).await.unwrap_err().code(), 500);
        assert_eq!(reply(start(&node, "{}")).await.unwrap(), "{}");
        assert_eq!(go.accepted.load(Ordering::SeqCst), expected);
    }
    tasks.abort_all();
}

#[tokio::test]
async fn calls_at_the_same_time_never_share_a_connection_and_are_bounded() {
    let (go, address, tasks) = Go::listen(0).await;
    let node = dial(&address, &tasks).await.unwrap();
    let calls: Vec<_> = (0..CONNECTIONS_MAX).map(|_| start(&node, "{}")).collect();
    while go.accepted.load(Ordering::SeqCst) < CONNECTIONS_MAX {
        tokio::task::yield_now().await;
    }
    assert!(node.is_full() && node.is_open());
    let refused = start(&node, "{}").unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe));
    go.let_go.add_permits(1);
    node.ready().await.unwrap();
    let more = start(&node, "{}");
    go.let_go.add_permits(CONNECTIONS_MAX * 2);
    for call in calls.into_iter().chain([more]) {
        assert_eq!(reply(call).await.unwrap(), "{}");
    }
    assert!(!node.is_full());
    assert_eq!(go.accepted.load(Ordering::SeqCst), CONNECTIONS_MAX);
    tasks.abort_all();
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection_and_gives_back_its_turn() {
    let (go, address, tasks) = Go::listen(0).await;
    let node = dial(&address, &tasks).await.unwrap();
    for _ in 0..CONNECTIONS_MAX * 2 {
        node.ready().await.unwrap();
        drop(start(&node, "{}").unwrap());
    }
    go.let_go.add_permits(1000);
    node.ready().await.unwrap();
    assert_eq!(reply(start(&node, "{}")).await.unwrap(), "{}");
    tasks.abort_all();
}

#[tokio::test]
async fn a_connection_that_breaks_off_may_have_run_the_call_and_one_that_was_idle_has_not() {
    let (go, address, tasks) = Go::listen(1000).await;
    let node = dial(&address, &tasks).await.unwrap();
    let lost = reply(start(&node, "\"close\"")).await.unwrap_err();
    assert_eq!((lost.code(), lost.retry()), (503, Retry::Unknown));
    assert_eq!(reply(start(&node, "{}")).await.unwrap(), "{}");
    assert_eq!(go.served.load(Ordering::SeqCst), 2);
    assert!(node.is_open());
    tasks.abort_all();
}

#[tokio::test]
async fn a_node_out_of_reach_is_closed_so_that_it_is_dialed_again() {
    let (_go, address, tasks) = Go::listen(1000).await;
    let client = TaskTracker::new();
    let node = dial(&address, &client).await.unwrap();
    assert!(reply(start(&node, "\"error\"")).await.is_err());
    tasks.abort_all();
    tasks.wait(clock::after(clock::now(), Duration::from_secs(10))).await;
    let error = reply(start(&node, "{}")).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    node.closed().await;
    assert!(!node.is_open());
    assert_eq!(start(&node, "{}").unwrap_err().retry(), Retry::Safe);
    let error = dial(&address, &client).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Safe);
    assert_eq!(client.wait(clock::after(clock::now(), Duration::from_secs(10))).await, 0);
}

#[tokio::test]
async fn a_node_that_drains_ends_with_its_last_call_and_one_that_closes_at_once() {
    let (go, address, tasks) = Go::listen(0).await;
    let node = dial(&address, &tasks).await.unwrap();
    let call = start(&node, "{}");
    node.drain();
    assert!(!node.is_open());
    assert_eq!(start(&node, "{}").unwrap_err().retry(), Retry::Safe);
    assert_eq!(node.ready().await.unwrap_err().retry(), Retry::Safe);
    go.let_go.add_permits(1);
    assert_eq!(reply(call).await.unwrap(), "{}");
    node.closed().await;
    let node = dial(&address, &tasks).await.unwrap();
    let call = start(&node, "{}");
    node.close();
    node.closed().await;
    assert_eq!(reply(call).await.unwrap_err().retry(), Retry::Unknown);
    tasks.abort_all();
}
