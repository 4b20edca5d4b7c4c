//! Who may stay connected: limits by account, eviction of the idle, upgrades, the native transport.

use axum::routing::get;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::core::account::Account;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Exchange, Head, Route};
use crate::server::policy::{Access, Policy};
use crate::transport::Scope;
use crate::transport::native;

/// Takes the word of callers for who they are.
#[derive(Debug)]
struct Trusting;

impl Policy for Trusting {
    fn admit(&self, access: &Access<'_>) -> Result<Option<Arc<Account>>> {
        let name = access.headers.get("authorization");
        Ok(name.map(|name| Arc::new(Account::service(name, []))))
    }
}

fn crowded() -> Rig {
    let mut limits = Limits::default();
    limits.connection.per_principal_max = 3;
    Rig::new(|builder| builder.limits(limits).policy(Arc::new(Trusting)))
}

fn of(account: &'static str) -> Request<Full<Bytes>> {
    with(post("Echo", "\"x\""), "authorization", account)
}

#[tokio::test(start_paused = true)]
async fn an_account_has_so_many_connections_and_no_more() {
    let rig = crowded();
    let mut held = Vec::new();
    for n in 0..30 {
        let mut http = rig.http1().await;
        // Nobody counts before it is known who calls.
        assert_eq!(got(http.send_request(post("Echo", "\"x\"")).await.unwrap()).await.status, 200);
        let answered = got(http.send_request(of("ada")).await.unwrap()).await;
        assert_eq!(answered.status, if n < 3 { 200 } else { 429 }, "{n}");
        if n < 3 {
            held.push(http);
        } else {
            assert_eq!(answered.headers["micro-retry"], "safe");
            assert_eq!(answered.headers["connection"], "close");
        }
    }
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.server.connections(), 3, "the refused ones are closed");
    // Others are not concerned, and each connection counts once.
    assert_eq!(rig.send(of("bob")).await.status, 200);
    for http in &mut held {
        assert_eq!(got(http.send_request(of("ada")).await.unwrap()).await.status, 200);
        assert_eq!(got(http.send_request(of("bob")).await.unwrap()).await.status, 200);
    }
    drop(held.pop());
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.send(of("ada")).await.status, 200);
}

/// A client of the native transport.
pub(super) struct Native {
    connection: Arc<dyn Connection>,
    scope: Scope,
}

impl Rig {
    pub(super) fn native(&self) -> Native {
        Native::over(self.dial())
    }
}

impl Native {
    pub(super) fn over(pipe: Pipe) -> Self {
        let scope = Scope::default();
        Self { connection: native::connect(Arc::new(pipe), "memory".into(), &scope), scope }
    }

    pub(super) fn start(&self, endpoint: &str, account: Option<&str>) -> Result<Exchange> {
        let name = format!("Sample.{endpoint}");
        let route = Route::new("sample", &name, CallKind::Unary);
        let now = clock::now();
        let extra = account.map(|account| {
            let mut extra = crate::core::exchange::Extra::default();
            extra.headers.insert("authorization", account).unwrap();
            extra
        });
        let head = Head {
            route: &route,
            now,
            deadline: Some(clock::after(now, Duration::from_secs(1000))),
            content_type: ContentType::Json,
            extra: extra.map(Box::new),
            waker: None,
        };
        Arc::clone(&self.connection).start(&head, &Bytes::from_static(b"\"x\""), None)
    }

    pub(super) async fn call(&self, endpoint: &str, account: Option<&str>) -> Result<Bytes, Error> {
        reply(self.start(endpoint, account)?).await
    }
}

async fn reply(mut exchange: Exchange) -> Result<Bytes> {
    std::future::poll_fn(|task| exchange.poll_reply(task)).await.result
}

#[tokio::test(start_paused = true)]
async fn an_account_has_so_many_native_connections_and_no_more() {
    let rig = crowded();
    let mut held = Vec::new();
    for n in 0..30 {
        let native = rig.native();
        let answered = native.call("Echo", Some("ada")).await;
        match answered {
            Ok(_) => assert!(n < 3),
            Err(error) => assert_eq!((error.code(), error.retry()), (429, Retry::Safe)),
        }
        held.push(native);
    }
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.server.connections(), 3);
    assert!(held[0].call("Echo", Some("ada")).await.is_ok());
    // What HTTP holds and what the transport holds is counted as one.
    assert_eq!(rig.send(of("ada")).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn a_full_server_closes_the_native_connection_that_was_idle_longest() {
    let rig = Rig::limited(|limits| limits.connection.total_max = 3);
    let natives = [rig.native(), rig.native(), rig.native()];
    for native in &natives {
        native.call("Echo", None).await.unwrap();
    }
    let [busy, used, idle] = &natives;
    let running = busy.start("Hang", None).unwrap();
    // Pings go to and fro all the time, and are no use of a connection.
    clock::sleep(Duration::from_secs(200)).await;
    used.call("Echo", None).await.unwrap();
    assert_eq!(rig.send(post("Echo", "\"x\"")).await.status, 200);
    clock::sleep(Duration::from_secs(1)).await;
    let open = [busy, used, idle].map(|native| native.connection.is_open());
    assert_eq!(open, [true, true, false]);
    rig.seen.release.notify_waiters();
    let answered = clock::timeout(Duration::from_secs(1), reply(running)).await;
    assert!(answered.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_server_of_busy_native_connections_refuses() {
    for (connections, refused) in [(3, 0), (4, 1), (30, 27)] {
        let rig = Rig::limited(|limits| limits.connection.total_max = 3);
        let (mut natives, mut running) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let native = rig.native();
            running.push(native.start("Hang", None));
            natives.push(native);
            clock::sleep(Duration::from_millis(1)).await;
        }
        let closed = natives.iter().filter(|native| !native.connection.is_open()).count();
        assert_eq!((rig.server.connections(), closed), (3, refused));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_native_connection_is_closed_by_either_side_in_time() {
    let rig = Rig::plain();
    let native = rig.native();
    native.call("Echo", None).await.unwrap();
    let start = clock::now();
    rig.server.port.roster.empty(after(3600)).await;
    // The client has the shorter timer, so that no call is sent into a closing connection.
    assert_eq!((clock::now() - start).as_secs(), 240);
    assert!(!native.connection.is_open());
    assert_eq!(native.scope.tasks.wait(after(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_native_call_whose_client_leaves_is_dropped_or_counted_until_its_end() {
    for (endpoint, left) in [("Hang", 0), ("Detached", 1)] {
        let rig = Rig::plain();
        let native = rig.native();
        let call = native.start(endpoint, None).unwrap();
        rig.until_started(1).await;
        drop(call);
        drop(native.connection);
        native.scope.shutdown.close();
        assert_eq!(native.scope.tasks.wait(after(1)).await, 0);
        rig.server.port.roster.empty(after(1)).await;
        assert_eq!((rig.server.connections(), rig.server.in_flight()), (0, left), "{endpoint}");
        assert_eq!((rig.dropped(), rig.started()), (1 - left, 1));
        // Draining waits for it, counts it, and it ends with the process's tasks.
        let start = clock::now();
        assert_eq!(rig.server.drain(after(7)).await, left);
        assert_eq!((clock::now() - start).as_secs(), if left == 1 { 7 } else { 0 });
        let tasks = rig.server.port.scope.tasks.clone();
        rig.server.port.scope.shutdown.close();
        clock::sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks.len(), left, "the tracker owns it");
        if left == 1 {
            tasks.abort_all();
            assert_eq!(tasks.wait(after(1)).await, 0);
        }
        assert_eq!((rig.dropped(), rig.server.in_flight()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_native_call_finishes_during_the_drain() {
    let rig = Rig::plain();
    let native = rig.native();
    let call = native.start("Detached", None).unwrap();
    rig.until_started(1).await;
    drop(call);
    native.scope.shutdown.close();
    let release = async {
        clock::sleep(Duration::from_secs(3)).await;
        rig.seen.release.notify_waiters();
    };
    let (left, ()) = tokio::join!(rig.server.drain(after(30)), release);
    assert_eq!((left, rig.seen.finished.load(Ordering::SeqCst)), (0, 1));
}

/// A route that turns its connection into an echo of bytes.
pub(super) fn upgrading() -> axum::Router {
    async fn upgrade(mut request: axum::extract::Request) -> axum::response::Response {
        let upgraded = hyper::upgrade::on(&mut request);
        spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            let mut buffer = [0; 64];
            while let Ok(1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..1]).await.is_err() {
                    break;
                }
            }
        });
        let mut response = axum::response::Response::new(axum::body::Body::empty());
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response
    }
    axum::Router::new().route("/echo", get(upgrade))
}

async fn upgraded(rig: &Rig) -> Pipe {
    let mut pipe = rig.dial();
    let head =
        b"GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    pipe.write_all(head).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(pipe.read_u8().await.unwrap());
    }
    assert!(seen.starts_with(b"HTTP/1.1 101 "));
    pipe
}

async fn echoes(pipe: &mut Pipe) {
    pipe.write_all(b"x").await.unwrap();
    assert_eq!(pipe.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_is_waited_for_by_the_drain_and_cut_by_the_end() {
    let rig = Rig::new(|builder| builder.router(upgrading()));
    let (mut stays, mut leaves) = (upgraded(&rig).await, upgraded(&rig).await);
    echoes(&mut stays).await;
    assert_eq!((rig.server.connections(), rig.server.in_flight()), (2, 2));
    let drain = rig.server.drain(after(20));
    let meanwhile = async {
        clock::sleep(Duration::from_secs(5)).await;
        echoes(&mut leaves).await;
        drop(leaves);
        clock::sleep(Duration::from_secs(5)).await;
        assert_eq!(rig.server.connections(), 1);
    };
    let (left, ()) = tokio::join!(drain, meanwhile);
    assert_eq!(left, 1, "it is counted as cut");
    echoes(&mut stays).await;
    rig.server.port.scope.shutdown.close();
    assert_eq!(stays.read(&mut [0; 9]).await.unwrap_or(0), 0);
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!((rig.server.connections(), rig.server.in_flight()), (0, 0));
    assert_eq!(rig.server.port.scope.tasks.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_nobody_asked_for_or_that_is_cut_leaves_nothing() {
    let rig = Rig::new(|builder| builder.router(upgrading()));
    let mut http = rig.http1().await;
    let _refused = http.send_request(request("GET", "/echo", "")).await;
    clock::sleep(Duration::from_secs(310)).await;
    assert_eq!((rig.server.connections(), rig.server.in_flight()), (0, 0));
    // Told to close in the same moment.
    let mut pipe = rig.dial();
    let head =
        b"GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    pipe.write_all(head).await.unwrap();
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    rig.server.port.roster.tell(crate::server::roster::Order::Close);
    rig.server.port.roster.empty(after(1)).await;
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_has_no_limits_of_http_and_ends_with_the_tasks() {
    let rig = Rig::new(|builder| builder.router(upgrading()));
    let mut pipe = upgraded(&rig).await;
    clock::sleep(Duration::from_secs(36_000)).await;
    echoes(&mut pipe).await;
    rig.server.port.scope.tasks.abort_all();
    assert_eq!(pipe.read(&mut [0; 9]).await.unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_lapsed_process_are_refused_safely_until_it_is_back() {
    let lapsed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::clone(&lapsed);
    let rig = Rig::new(|builder| builder.lapsed(move |_now| asked.load(Ordering::SeqCst)));
    let native = rig.native();
    for is_lapsed in [false, true, false] {
        lapsed.store(is_lapsed, Ordering::SeqCst);
        let (answered, http) = (native.call("Echo", None).await, rig.call("Echo", "\"x\"").await);
        if !is_lapsed {
            assert_eq!((answered.unwrap(), http.status), ("\"x\"".into(), 200));
            continue;
        }
        let error = answered.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
        assert_eq!((http.status, &http.headers["micro-retry"]), (503, &"safe".parse().unwrap()));
    }
}
