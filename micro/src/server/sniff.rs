//! Which protocol a connection speaks, told from its first bytes.

use bytes::BytesMut;

use crate::core::net::Stream;
use crate::transport::native::PREFACE_FIRST;

/// The bytes with which an HTTP/2 connection begins.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest HTTP method that is waited for.
const METHOD_BYTES_MAX: usize = 24;

/// The first byte of a TLS handshake record.
const TLS_FIRST: u8 = 0x16;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// This crate's own.
    Native,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// TLS.
    Tls,
    /// Nothing known.
    Unknown,
}

/// Reads until the protocol is told; `None` when the peer leaves before.
pub(super) async fn sniff(stream: &Stream, buffer: &mut BytesMut) -> Option<Protocol> {
    // Progress: each turn reads at least a byte, and the decision needs few.
    loop {
        buffer.reserve(1);
        match stream.read(buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        if let Some(protocol) = decide(buffer) {
            return Some(protocol);
        }
    }
}

/// Tells the protocol of first bytes; `None` when more are needed.
fn decide(bytes: &[u8]) -> Option<Protocol> {
    match *bytes.first()? {
        PREFACE_FIRST => Some(Protocol::Native),
        TLS_FIRST => Some(Protocol::Tls),
        _ if bytes.starts_with(HTTP2_PREFACE) => Some(Protocol::Http2),
        _ if HTTP2_PREFACE.starts_with(bytes) => None,
        _ => method(bytes),
    }
}

fn method(bytes: &[u8]) -> Option<Protocol> {
    let is_method = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let length = bytes.iter().take_while(|b| is_method(b)).count();
    match bytes.get(length) {
        Some(b' ') if length > 0 => Some(Protocol::Http1),
        None if length <= METHOD_BYTES_MAX => None,
        _ => Some(Protocol::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (bytes, expected) in [
            (&[PREFACE_FIRST][..], Some(Protocol::Native)),
            (&[PREFACE_FIRST, 0, 0], Some(Protocol::Native)),
            (&[0x16, 3, 1], Some(Protocol::Tls)),
            (b"", None),
            (b"G", None),
            (b"GET", None),
            (b"GET ", Some(Protocol::Http1)),
            (b"POST / HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"PRI", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (HTTP2_PREFACE, Some(Protocol::Http2)),
            (b"PRI * HTTP/1.1", Some(Protocol::Http1)),
            (b"PROPFIND /", Some(Protocol::Http1)),
            (b"M-SEARCH *", Some(Protocol::Http1)),
            (b"get /", Some(Protocol::Unknown)),
            (b" GET /", Some(Protocol::Unknown)),
            (b"\0", Some(Protocol::Unknown)),
            (b"SSH-2.0-x", Some(Protocol::Unknown)),
            (&[0xff; 4], Some(Protocol::Unknown)),
            (&[b'A'; METHOD_BYTES_MAX], None),
            (&[b'A'; METHOD_BYTES_MAX + 1], Some(Protocol::Unknown)),
        ] {
            assert_eq!(decide(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }
}
