//! The one port.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::exchange::{Head, Route};
use crate::core::net::Socket;
use crate::transport::native;

async fn answer(rig: &Rig, sent: &[u8]) -> Vec<u8> {
    let mut pipe = rig.dial();
    pipe.write_all(sent).await.unwrap();
    let mut all = Vec::new();
    pipe.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test(start_paused = true)]
async fn garbage_is_closed_and_tls_is_told() {
    let rig = Rig::plain();
    for garbage in
        [&b"\0\0\0\0"[..], b"SSH-2.0-OpenSSH\r\n", b"get / HTTP/1.1\r\n\r\n", &[0xff; 64]]
    {
        assert_eq!(answer(&rig, garbage).await, b"", "{garbage:?}");
    }
    assert_eq!(answer(&rig, &[0x16, 3, 1, 0, 200]).await, [0x15, 3, 3, 0, 2, 2, 40]);
}

#[tokio::test(start_paused = true)]
async fn native_calls_come_through_the_same_port() {
    let rig = Rig::plain();
    let socket: Arc<dyn Socket> = Arc::new(rig.dial());
    let connection = native::connect(socket, "memory".into(), &rig.server.port.scope);
    let route = Route::new("sample", "Sample.Echo", CallKind::Unary);
    let head = Head {
        route: &route,
        now: clock::now(),
        deadline: None,
        content_type: ContentType::Json,
        extra: None,
        waker: None,
    };
    let mut exchange = connection.start(&head, &Bytes::from_static(b"\"x\""), None).unwrap();
    let answer = std::future::poll_fn(|task| exchange.poll_reply(task)).await;
    assert_eq!(answer.result.unwrap(), "\"x\"");
    assert_eq!((rig.server.in_flight(), rig.call("Echo", "\"y\"").await.status), (0, 200));
}

#[tokio::test(start_paused = true)]
async fn no_error_ends_the_accept_loop() {
    let rig = Rig::plain();
    for _ in 0..10 {
        for _ in 0..10_000 {
            rig.dialed.try_send(Err(io::ErrorKind::ConnectionAborted.into())).unwrap();
        }
        while rig.dialed.capacity() < rig.dialed.max_capacity() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn want_of_resources_pauses_the_accept_loop_ever_longer_up_to_a_second() {
    let rig = Rig::plain();
    let start = clock::now();
    for _ in 0..8 {
        rig.dialed.try_send(Err(io::Error::from_raw_os_error(24))).unwrap();
    }
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
    // 50 + 100 + 200 + 400 + 800 + 1000 + 1000 + 1000
    assert_eq!((clock::now() - start).as_millis(), 4550);
    let start = clock::now();
    rig.dialed.try_send(Err(io::Error::from_raw_os_error(24))).unwrap();
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
    assert_eq!((clock::now() - start).as_millis(), 50, "an accept starts the pauses over");
}

#[tokio::test]
async fn a_real_port_is_bound_served_and_closed() {
    let server = Server::builder().mount(Sample::default()).build().unwrap();
    let bound = server.listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert!(server.listen(&bound).await.unwrap_err().detail().contains(&bound.to_string()));
    let stream = tokio::net::TcpStream::connect(bound.to_string()).await.unwrap();
    let (mut http, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    spawn(async move { drop(connection.await) });
    let got = got(http.send_request(post("Echo", "\"x\"")).await.unwrap()).await;
    assert_eq!((got.status, got.body.as_str()), (200, "\"x\""));
    assert_eq!(server.drain(after(5)).await, 0);
    server.port.scope.shutdown.close();
    assert_eq!(server.port.scope.tasks.wait(after(5)).await, 0);
    assert!(tokio::net::TcpStream::connect(bound.to_string()).await.is_err());
}
