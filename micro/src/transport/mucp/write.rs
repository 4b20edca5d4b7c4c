//! Messages as go-micro writes them, byte for byte.

use crate::transport::mucp::headers::Headers;

/// How go-micro's client names itself, and so does this one: what is sent is the same.
pub(super) const AGENT: &str = "Go-http-client/1.1";

/// How it names itself when a message has the frame of gRPC.
pub(super) const GRPC_AGENT: &str = "grpc-go/1.0.0";

/// Writes a request of a stream. A body that is empty is one without chunks, as Go writes it.
pub(super) fn request(host: &str, agent: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {}", body.len())
    };
    let line = format!("POST / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{length}\r\n");
    let mut out = line.into_bytes();
    headers.write(&mut out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(if body.is_empty() { b"0\r\n\r\n" } else { body });
    out
}

/// Writes a response of a stream.
#[cfg(any(feature = "server", test))]
pub(crate) fn response(headers: &Headers, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    if !body.is_empty() {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    headers.write(out);
    if body.is_empty() {
        out.extend_from_slice(b"Content-Length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}
