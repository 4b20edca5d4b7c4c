//! One port by a certificate in files: every protocol inside of TLS, and nothing without it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::exchange::{Connection, Head, Route};
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::transport::tls::files::tests::{Office, Wanted};
use crate::transport::tls::{Files, Roots};
use crate::transport::{Scope, Transport};

/// A server on a port of this machine.
struct Port {
    office: Office,
    server: Server,
    address: Address,
    roots: Roots,
}

impl Port {
    async fn open(at: &str) -> Self {
        Self::of(at, |office| Files::open(office.server(), 8).unwrap()).await
    }

    async fn of(at: &str, files: impl FnOnce(&Office) -> Files) -> Self {
        let office = Office::open();
        office.keep("server", &Wanted::of("127.0.0.1"));
        let server = Server::builder().mount(Sample::default());
        let server = server.certificate(Arc::new(files(&office))).build().unwrap();
        let address = server.listen(&at.parse().unwrap()).await.unwrap();
        let roots = Roots::open(office.client()).unwrap();
        Self { office, server, address, roots }
    }

    async fn plain(&self) -> Stream {
        Stream::connect(&self.address, Duration::from_secs(5)).await.unwrap()
    }

    /// Connects by TLS, agreeing on a protocol.
    async fn secure(&self, protocol: &[u8]) -> Stream {
        self.roots.secure(self.plain().await, "127.0.0.1", &[protocol]).await.unwrap()
    }

    async fn close(self) {
        let scope = &self.server.port.scope;
        scope.shutdown.close();
        scope.tasks.wait(after(5)).await;
    }
}

/// Sends bytes and reads until the end; none where the connection is cut.
async fn answer(mut stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    if stream.write_all(bytes).await.is_ok() {
        while let Ok(1..) = stream.read_buf(&mut all).await {}
    }
    all
}

const ECHO: &str = "POST /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                    content-length: 3\r\n\r\n\"x\"";

#[tokio::test]
async fn every_protocol_is_served_inside_of_tls() {
    let port = Port::open("127.0.0.1:0").await;
    let answered = answer(port.secure(b"http/1.1").await, ECHO.as_bytes()).await;
    assert!(answered.starts_with(b"HTTP/1.1 200 ") && answered.ends_with(b"\"x\""));
    let io = TokioIo::new(port.secure(b"h2").await);
    let (mut http, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    spawn(async move { drop(connection.await) });
    let body = Full::new(Bytes::from_static(b"\"x\""));
    let request = Request::post("http://localhost/sample/Sample.Echo").body(body).unwrap();
    assert_eq!(got(http.send_request(request).await.unwrap()).await.body, "\"x\"");
    let scope = Scope::default();
    let native = port.roots.dial(&port.address, &scope).await.unwrap();
    assert_eq!(echo(native).await.unwrap(), "\"x\"");
    scope.shutdown.close();
    port.close().await;
}

async fn echo(native: Arc<dyn Connection>) -> crate::core::error::Result<Bytes> {
    let route = Route::new("sample", "Sample.Echo", CallKind::Unary);
    let head = Head::new(&route, clock::now(), ContentType::Json);
    let mut exchange = native.start(&head, &Bytes::from_static(b"\"x\""), None)?;
    std::future::poll_fn(|task| exchange.poll_reply(task)).await.result
}

#[tokio::test]
async fn who_speaks_without_tls_is_told_so_in_its_own_language() {
    let port = Port::open("127.0.0.1:0").await;
    let answered = answer(port.plain().await, ECHO.as_bytes()).await;
    let text = String::from_utf8(answered).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json"),
        "{text}"
    );
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let error = crate::core::error::Error::parse(body);
    assert!(error.code() == 400 && error.detail().contains("https://"), "{error}");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answered = answer(port.plain().await, preface).await;
    assert_eq!(&answered[..9], b"\0\0\0\x04\0\0\0\0\0", "settings");
    assert_eq!((answered[12], answered[25]), (7, 0xc), "goaway: inadequate security");
    // The native protocol and what nobody knows: just the end.
    for bytes in [&[crate::transport::native::PREFACE_FIRST, 0][..], b"\0\0\0", b"hello\r\n"] {
        assert_eq!(answer(port.plain().await, bytes).await, b"", "{bytes:?}");
    }
    port.close().await;
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls_and_may_speak_it() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::open(&format!("unix:{}", folder.path().join("s").display())).await;
    assert!(answer(port.plain().await, ECHO.as_bytes()).await.starts_with(b"HTTP/1.1 200 "));
    let secure = port.secure(b"http/1.1").await;
    assert!(answer(secure, ECHO.as_bytes()).await.starts_with(b"HTTP/1.1 200 "));
    port.close().await;
}

#[tokio::test]
async fn who_speaks_another_protocol_than_agreed_is_closed() {
    let port = Port::open("127.0.0.1:0").await;
    for protocol in [&b"h2"[..], b"micro/1"] {
        let answered = answer(port.secure(protocol).await, ECHO.as_bytes()).await;
        assert_eq!(answered, b"", "{protocol:?}");
    }
    port.close().await;
}

#[tokio::test]
async fn a_certificate_is_the_account_of_its_caller() {
    let port = Port::of("127.0.0.1:0", |office| {
        let ca = office.folder.path().join("ca.pem");
        Files::open(office.server().with_client_ca(ca), 8).unwrap()
    })
    .await;
    let at = |file: &str| port.office.folder.path().join(file);
    port.office.keep("client", &Wanted::of("orders.test"));
    let paths = port.office.client().with_certificate(at("client.pem"), at("client.key"));
    let roots = Roots::open(paths).unwrap();
    let stream = roots.secure(port.plain().await, "127.0.0.1", &[b"http/1.1"]).await.unwrap();
    let scoped = ECHO.replace("Echo", "Scoped");
    let answered = String::from_utf8(answer(stream, scoped.as_bytes()).await).unwrap();
    // Nobody on this machine may call it; an account without the scope may not.
    assert!(
        answered.starts_with("HTTP/1.1 403 ") && answered.contains("scopes admin"),
        "{answered}"
    );
    let bare = port.roots.secure(port.plain().await, "127.0.0.1", &[b"http/1.1"]).await;
    if let Ok(stream) = bare {
        // A client learns of the refusal only when it reads.
        assert_eq!(answer(stream, ECHO.as_bytes()).await, b"");
    }
    port.close().await;
}

#[tokio::test(start_paused = true)]
async fn f43_a_handshake_that_stands_still_ends_in_its_time() {
    let office = Office::open();
    office.keep("server", &Wanted::of("127.0.0.1"));
    let rig = Rig::new(|builder| builder.certificate(office.files()));
    for bytes in
        [&b"\x16"[..], b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"]
    {
        let mut pipe = rig.dial();
        let start = clock::now();
        pipe.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        while let Ok(1..) = pipe.read_buf(&mut all).await {}
        assert_eq!(clock::now() - start, Limits::DEFAULT.connection.handshake_timeout, "{bytes:?}");
    }
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn f43_a_handshake_of_one_byte_at_a_time_has_no_more_time() {
    let office = Office::open();
    office.keep("server", &Wanted::of("127.0.0.1"));
    let rig = Rig::new(|builder| builder.certificate(office.files()));
    let (mut pipe, start) = (rig.dial(), clock::now());
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 500]].concat();
    for byte in hello {
        if pipe.write_all(&[byte]).await.is_err() {
            break;
        }
        clock::sleep(Duration::from_millis(100)).await;
    }
    let took = clock::now() - start;
    assert!(took <= Duration::from_secs(6), "{took:?}");
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test]
async fn a_stop_ends_connections_inside_of_tls() {
    let port = Port::open("127.0.0.1:0").await;
    let mut held = port.secure(b"http/1.1").await;
    let keep = ECHO.replace("connection: close\r\n", "");
    held.write_all(keep.as_bytes()).await.unwrap();
    let mut some = bytes::BytesMut::new();
    assert!(held.read(&mut some).await.unwrap() > 0);
    let (tasks, shutdown): (TaskTracker, Shutdown) =
        (port.server.port.scope.tasks.clone(), port.server.port.scope.shutdown.clone());
    assert_eq!(port.server.drain(after(5)).await, 0);
    assert_eq!(held.read(&mut some).await.unwrap_or(0), 0);
    shutdown.close();
    assert_eq!(tasks.wait(after(5)).await, 0);
}
