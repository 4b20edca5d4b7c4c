//! Calls of a server of plain HTTP/2, and of one that only writes frames.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::codec::grpc::framed;
use crate::codec::{Format, encoded};
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::exchange::{Exchange, Head, Route};
use crate::core::limits::Limits;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::stream::{BoxSource, Streaming};

/// Frames of a response, one after the other.
struct Frames(std::vec::IntoIter<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}

fn message(text: &str) -> Frame<Bytes> {
    Frame::data(framed(text.as_bytes(), Encoding::Identity).unwrap())
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    let pairs = pairs.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
    });
    Frame::trailers(pairs.collect::<HeaderMap>())
}

fn ok() -> Frame<Bytes> {
    trailers(&[("grpc-status", "0")])
}

fn response(frames: Vec<Frame<Bytes>>) -> Response<Frames> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Frames(frames.into_iter())).unwrap()
}

/// A server whose answers a test makes.
struct Rig {
    address: Address,
    scope: Scope,
    _server: TaskTracker,
}

impl Rig {
    async fn new<F, U>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> U + Clone + Send + 'static,
        U: Future<Output = Response<Frames>> + Send + 'static,
    {
        let (listener, address) = listener().await;
        let server = TaskTracker::new();
        let tasks = server.clone();
        server.spawn("server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                tasks.spawn("connection", async move { drop(connection.await) });
            }
        });
        Self { address, scope: Scope::default(), _server: server }
    }

    /// Answers the same frames to every call.
    async fn fixed(frames: impl Fn() -> Vec<Frame<Bytes>> + Clone + Send + 'static) -> Self {
        Self::new(move |_| std::future::ready(response(frames()))).await
    }

    /// Never answers; counts the calls that have begun, and those that were dropped.
    async fn silent(begun: Arc<AtomicUsize>, dropped: Arc<AtomicUsize>) -> Self {
        struct Dropped(Arc<AtomicUsize>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        Self::new(move |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            let dropped = Dropped(Arc::clone(&dropped));
            async move {
                let _dropped = dropped;
                std::future::pending().await
            }
        })
        .await
    }

    async fn dial(&self) -> Arc<dyn Connection> {
        Grpc::default().dial(&self.address, &self.scope).await.unwrap()
    }

    async fn call(&self) -> Result<Bytes> {
        reply(start(&self.dial().await, CallKind::Unary, None).unwrap()).await
    }
}

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    (listener, address)
}

fn start(
    connection: &Arc<dyn Connection>,
    kind: CallKind,
    deadline: Option<Duration>,
) -> Result<Exchange> {
    let route = Route::new("shop", "Orders.Read", kind);
    let mut head = Head::new(&route, clock::now(), ContentType::Proto);
    head.deadline = deadline.map(|left| clock::after(head.now, left));
    Arc::clone(connection).start(&head, &Bytes::from_static(b"question"), None)
}

async fn reply(mut exchange: Exchange) -> Result<Bytes> {
    poll_fn(|task| exchange.poll_reply(task)).await.result
}

async fn until(what: impl Fn() -> bool) {
    let reached = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    clock::timeout(Duration::from_secs(10), reached).await.expect("it is reached");
}

#[tokio::test]
async fn the_answer_is_the_message_of_a_call_that_went_well() {
    let rig = Rig::fixed(|| vec![message("answer"), ok()]).await;
    assert_eq!(rig.call().await.unwrap(), "answer");
    // However the body is cut.
    let rig = Rig::fixed(|| {
        let whole = framed(b"answer", Encoding::Identity).unwrap();
        let mut pieces: Vec<_> =
            whole.chunks(1).map(|byte| Frame::data(Bytes::copy_from_slice(byte))).collect();
        pieces.push(ok());
        pieces
    });
    assert_eq!(rig.await.call().await.unwrap(), "answer");
}

#[tokio::test]
async fn a_status_is_the_error_of_the_call() {
    let not_found = &[("grpc-status", "5"), ("grpc-message", "no order%207")];
    let rig = Rig::fixed(|| vec![trailers(not_found)]).await;
    let error = rig.call().await.unwrap_err();
    assert_eq!((error.code(), error.detail()), (404, "no order 7"));
    assert_eq!((error.id(), error.retry()), ("shop.Orders.Read", Retry::Never));
    let rig = Rig::new(|_| async {
        let mut response = response(Vec::new());
        response.headers_mut().insert("grpc-status", "14".parse().unwrap());
        response
    });
    let error = rig.await.call().await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
}

#[tokio::test]
async fn what_is_no_answer_of_grpc_is_an_error_that_says_so() {
    type Make = fn() -> Response<Frames>;
    let cases: [(Make, u16); 8] = [
        (|| response(vec![message("answer")]), 520),
        (|| response(vec![ok()]), 501),
        (|| response(vec![message("a"), message("b"), ok()]), 501),
        (|| response(vec![Frame::data(Bytes::from_static(&[0, 0, 0, 0, 9, 1])), ok()]), 500),
        (|| response(vec![Frame::data(Bytes::from_static(&[0, 255, 0, 0, 0])), ok()]), 413),
        (|| response(vec![Frame::data(Bytes::from_static(&[1, 0, 0, 0, 0])), ok()]), 500),
        (|| Response::builder().status(404).body(Frames(Vec::new().into_iter())).unwrap(), 501),
        (|| Response::new(Frames(vec![message("page")].into_iter())), 520),
    ];
    for (index, (make, code)) in cases.into_iter().enumerate() {
        let rig = Rig::new(move |_| std::future::ready(make())).await;
        assert_eq!(rig.call().await.unwrap_err().code(), code, "{index}");
    }
}

#[tokio::test]
async fn a_stream_comes_in_order_and_ends_with_its_status() {
    let aborted = &[("grpc-status", "10"), ("grpc-message", "broken off")];
    let rig = Rig::fixed(|| vec![message("1"), message(""), message("2"), trailers(aborted)]).await;
    let mut exchange = start(&rig.dial().await, CallKind::ServerStream, None).unwrap();
    poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    let mut stream = exchange.into_stream();
    for expected in ["1", "", "2"] {
        assert_eq!(stream.next().await.unwrap().unwrap(), expected);
    }
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.detail()), (423, "broken off"));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_is_refused_does_not_open() {
    let rig = Rig::fixed(|| vec![trailers(&[("grpc-status", "7")])]).await;
    let mut exchange = start(&rig.dial().await, CallKind::ServerStream, None).unwrap();
    poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    let error = exchange.into_stream().next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), 403);
    let rig = Rig::new(|_| async {
        let mut response = response(Vec::new());
        response.headers_mut().insert("grpc-status", "7".parse().unwrap());
        response
    });
    let mut exchange = start(&rig.await.dial().await, CallKind::ServerStream, None).unwrap();
    assert_eq!(poll_fn(|task| exchange.poll_opened(task)).await.unwrap_err().code(), 403);
}

#[tokio::test]
async fn streams_both_ways_are_open_before_the_server_says_anything() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let rig = Rig::silent(begun, dropped).await;
    let mut exchange = start(&rig.dial().await, CallKind::Bidi, None).unwrap();
    poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    let rig = Rig::fixed(|| vec![trailers(&[("grpc-status", "7")])]).await;
    let mut exchange = start(&rig.dial().await, CallKind::Bidi, None).unwrap();
    poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
    assert_eq!(exchange.into_stream().next().await.unwrap().unwrap_err().code(), 403);
}

/// Numbers, then a failure.
fn failing(numbers: u32) -> BoxSource {
    struct Numbers(u32);
    impl Stream for Numbers {
        type Item = Result<u32>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<u32>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or_default();
            let failed = || Err(Error::conflict("source", "on purpose"));
            std::task::Poll::Ready(Some(left.map_or_else(failed, Ok)))
        }
    }
    fn raw(_: &Format, _: &u32, out: &mut Vec<u8>) -> Result<()> {
        out.push(7);
        Ok(())
    }
    encoded(Streaming::from_stream(Numbers(numbers)), Format::Proto, raw)
}

#[tokio::test]
async fn a_stream_of_requests_that_fails_is_the_error_of_its_call() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let rig = Rig::silent(Arc::clone(&begun), Arc::clone(&dropped)).await;
    let route = Route::new("shop", "Orders.Add", CallKind::ClientStream);
    let head = Head::new(&route, clock::now(), ContentType::Proto);
    let exchange = rig.dial().await.start(&head, &Bytes::new(), Some(failing(3))).unwrap();
    let error = reply(exchange).await.unwrap_err();
    assert_eq!((error.code(), error.id()), (409, "source"));
    until(|| begun.load(Ordering::SeqCst) == dropped.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_deadline_or_a_drop_resets_the_call_at_the_server() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let rig = Rig::silent(Arc::clone(&begun), Arc::clone(&dropped)).await;
    let connection = rig.dial().await;
    let soon = Some(Duration::from_millis(100));
    let error = reply(start(&connection, CallKind::Unary, soon).unwrap()).await.unwrap_err();
    assert_eq!((error.code(), error.id()), (408, "micro.transport"));
    until(|| dropped.load(Ordering::SeqCst) == 1).await;
    let exchange = start(&connection, CallKind::Unary, None).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 2).await;
    drop(exchange);
    until(|| dropped.load(Ordering::SeqCst) == 2).await;
    assert!(connection.is_open());
}

#[tokio::test]
async fn a_full_connection_refuses_safely_and_says_when_there_is_room() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut rig = Rig::silent(Arc::clone(&begun), dropped).await;
    let mut limits = Limits::default();
    limits.stream.http2_max = 2;
    rig.scope = Scope::new(Arc::new(limits), TaskTracker::new(), Shutdown::new());
    let connection = rig.dial().await;
    let first = start(&connection, CallKind::Unary, None).unwrap();
    let _second = start(&connection, CallKind::Unary, None).unwrap();
    assert!(connection.is_full());
    let refused = start(&connection, CallKind::Unary, None).unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (429, Retry::Safe));
    let ready = connection.ready();
    drop(first);
    clock::timeout(Duration::from_secs(10), ready).await.unwrap().unwrap();
    assert!(!connection.is_full());
}

#[tokio::test]
async fn a_drained_connection_finishes_its_calls_and_a_closed_one_does_not() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let rig = Rig::silent(Arc::clone(&begun), Arc::clone(&dropped)).await;
    let connection = rig.dial().await;
    let exchange = start(&connection, CallKind::Unary, None).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1).await;
    connection.drain();
    let refused = start(&connection, CallKind::Unary, None).unwrap_err();
    assert_eq!(refused.retry(), Retry::Safe);
    assert!(!connection.is_open() && connection.ready().await.is_err());
    let brief = Duration::from_millis(50);
    assert!(clock::timeout(brief, connection.closed()).await.is_err());
    drop(exchange);
    let patience = Duration::from_secs(10);
    clock::timeout(patience, connection.closed()).await.unwrap();
    assert_eq!(rig.scope.tasks.wait(clock::after(clock::now(), patience)).await, 0);

    let connection = rig.dial().await;
    let exchange = start(&connection, CallKind::Unary, None).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 2).await;
    connection.close();
    let error = reply(exchange).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
    clock::timeout(patience, connection.closed()).await.unwrap();
    assert_eq!(rig.scope.tasks.wait(clock::after(clock::now(), patience)).await, 0);
}

#[tokio::test]
async fn a_connection_ends_with_its_process() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let rig = Rig::silent(Arc::clone(&begun), dropped).await;
    let connection = rig.dial().await;
    let exchange = start(&connection, CallKind::Unary, None).unwrap();
    rig.scope.shutdown.close();
    assert_eq!(reply(exchange).await.unwrap_err().code(), 503);
    let patience = clock::after(clock::now(), Duration::from_secs(10));
    assert_eq!(rig.scope.tasks.wait(patience).await, 0);
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Answers the first call of a connection by frames, then reads on.
async fn scripted(frames: Vec<u8>) -> Address {
    let (listener, address) = listener().await;
    TaskTracker::new().spawn("server", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            // The headers of the call.
            if head[3] == 1 {
                stream.write_all(&frames).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn what_the_server_did_not_take_is_safe_to_send_again() {
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    for (frames, code, retry) in [
        (frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]), 503, Retry::Safe),
        (frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), 499, Retry::Never),
        (frame(RST_STREAM, 0, 1, &[0, 0, 0, 11]), 429, Retry::Never),
        (frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]), 503, Retry::Safe),
        // A fault: what it did to this call is not known.
        (frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]), 503, Retry::Unknown),
    ] {
        let (address, scope) = (scripted(frames.clone()).await, Scope::default());
        let connection = Grpc::default().dial(&address, &scope).await.unwrap();
        let error = reply(start(&connection, CallKind::Unary, None).unwrap()).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (code, retry), "{frames:?}: {error:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_safe_to_try_elsewhere() {
    let (listener, address) = listener().await;
    drop(listener);
    let error = Grpc::default().dial(&address, &Scope::default()).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    assert!(error.detail().contains(&address.to_string()), "{error}");
    let listened = Grpc::default();
    let dispatch: Arc<dyn Dispatch> = Arc::new(Nothing);
    let error = listened.listen(&address, dispatch, &Scope::default()).await.unwrap_err();
    assert_eq!(error.code(), 501);
}

#[derive(Debug)]
struct Nothing;

impl Dispatch for Nothing {
    fn resolve(&self, _: &str, _: &str) -> Result<crate::core::exchange::Target> {
        Err(Error::not_found("test", "nothing"))
    }
    fn dispatch(
        &self,
        _: crate::core::exchange::Inbound,
    ) -> Result<crate::core::exchange::Running> {
        Err(Error::not_found("test", "nothing"))
    }
}
