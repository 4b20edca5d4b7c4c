//! Responses to requests that nobody reads to their end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// More than the buffers between two sockets hold.
const BODY: usize = 8 * 1024 * 1024;

/// Sends a request with a long body and reads what comes back.
async fn answered(address: &Address, method: &str, path: &str, header: &str) -> io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address.to_string()).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{header}connection: close\r\n\
         content-length: {BODY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b' '; BODY]).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_refusal_arrives_however_much_is_still_sent() {
    let user = axum::Router::new().route("/page", axum::routing::post(|| async { "page" }));
    let mut limits = Limits::default();
    limits.message.bytes_max = 1024;
    let server = Server::builder().mount(Sample::default()).router(user).limits(limits);
    let server = server.build().unwrap();
    let bound = server.listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (endpoint, foreign) = ("/sample/Sample.Echo", "origin: https://evil.example\r\n");
    for (method, path, header, status) in [
        ("POST", "/sample/Sample.Ech", "", 404),
        ("PUT", endpoint, "", 405),
        ("POST", endpoint, foreign, 403),
        ("POST", "/nothing", foreign, 403),
        ("POST", endpoint, "", 413),
        ("POST", "/page", "", 200),
    ] {
        let answer = answered(&bound, method, path, header).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(
            answer.as_ref().is_ok_and(|answer| answer.starts_with(&expected)),
            "{method} {path} {header}: {answer:?}"
        );
    }
    server.port.scope.shutdown.close();
}
