//! Which protocol a connection speaks, told from its first bytes.

use std::sync::Arc;

use bytes::BytesMut;

use crate::core::net::Stream;
use crate::server::protocol::{FIRST_BYTES_MAX, Protocol, Recognised};
use crate::transport::native::PREFACE_FIRST;

/// The bytes with which an HTTP/2 connection begins.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest HTTP method that is waited for.
const METHOD_BYTES_MAX: usize = 24;

/// The first byte of a TLS handshake record.
const TLS_FIRST: u8 = 0x16;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// This crate's own.
    Native,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// TLS.
    Tls,
    /// What another protocol recognises, by its place among those that were added.
    Foreign(usize),
    /// Nothing known.
    Unknown,
}

/// Reads until the protocol is told; `None` when the peer leaves before.
pub(super) async fn sniff(
    stream: &Stream,
    buffer: &mut BytesMut,
    others: &[Arc<dyn Protocol>],
) -> Option<Spoken> {
    // Progress: each turn reads at least a byte, and the decision needs few.
    loop {
        buffer.reserve(1);
        match stream.read(buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        let spoken = match decide(buffer) {
            Some(Spoken::Unknown) => foreign(buffer, others),
            decided => decided,
        };
        if spoken.is_some() {
            return spoken;
        }
    }
}

/// Asks the protocols that were added; `None` when one of them has to see more.
fn foreign(bytes: &[u8], others: &[Arc<dyn Protocol>]) -> Option<Spoken> {
    let first = bytes.get(..FIRST_BYTES_MAX.min(bytes.len())).unwrap_or_default();
    let mut waiting = false;
    for (place, other) in others.iter().enumerate() {
        match other.recognise(first) {
            Recognised::Yes => return Some(Spoken::Foreign(place)),
            Recognised::NeedMore => waiting = true,
            Recognised::No => {}
        }
    }
    let shown_all = bytes.len() >= FIRST_BYTES_MAX;
    if waiting && !shown_all { None } else { Some(Spoken::Unknown) }
}

/// Tells the protocol of first bytes; `None` when more are needed.
fn decide(bytes: &[u8]) -> Option<Spoken> {
    match *bytes.first()? {
        PREFACE_FIRST => Some(Spoken::Native),
        TLS_FIRST => Some(Spoken::Tls),
        _ if bytes.starts_with(HTTP2_PREFACE) => Some(Spoken::Http2),
        _ if HTTP2_PREFACE.starts_with(bytes) => None,
        _ => method(bytes),
    }
}

fn method(bytes: &[u8]) -> Option<Spoken> {
    let is_method = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let length = bytes.iter().take_while(|b| is_method(b)).count();
    match bytes.get(length) {
        Some(b' ') if length > 0 => Some(Spoken::Http1),
        None if length <= METHOD_BYTES_MAX => None,
        _ => Some(Spoken::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (bytes, expected) in [
            (&[PREFACE_FIRST][..], Some(Spoken::Native)),
            (&[PREFACE_FIRST, 0, 0], Some(Spoken::Native)),
            (&[0x16, 3, 1], Some(Spoken::Tls)),
            (b"", None),
            (b"G", None),
            (b"GET", None),
            (b"GET ", Some(Spoken::Http1)),
            (b"POST / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"PRI", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (HTTP2_PREFACE, Some(Spoken::Http2)),
            (b"PRI * HTTP/1.1", Some(Spoken::Http1)),
            (b"PROPFIND /", Some(Spoken::Http1)),
            (b"M-SEARCH *", Some(Spoken::Http1)),
            (b"get /", Some(Spoken::Unknown)),
            (b" GET /", Some(Spoken::Unknown)),
            (b"\0", Some(Spoken::Unknown)),
            (b"SSH-2.0-x", Some(Spoken::Unknown)),
            (&[0xff; 4], Some(Spoken::Unknown)),
            (&[b'A'; METHOD_BYTES_MAX], None),
            (&[b'A'; METHOD_BYTES_MAX + 1], Some(Spoken::Unknown)),
        ] {
            assert_eq!(decide(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[derive(Debug)]
    struct Counting(usize);

    impl Protocol for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn recognise(&self, first: &[u8]) -> Recognised {
            match first {
                [b'!', ..] if first.len() >= self.0 => Recognised::Yes,
                [b'!', ..] => Recognised::NeedMore,
                _ => Recognised::No,
            }
        }

        fn serve(
            self: Arc<Self>,
            _: crate::server::protocol::Accepted,
            _: Arc<dyn crate::core::exchange::Dispatch>,
        ) -> crate::core::future::BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn added_protocols_are_asked_in_turn_and_shown_so_much_and_no_more() {
        let others: [Arc<dyn Protocol>; 2] =
            [Arc::new(Counting(FIRST_BYTES_MAX)), Arc::new(Counting(FIRST_BYTES_MAX + 1))];
        let (bytes, max) = ([b'!'; FIRST_BYTES_MAX * 10], FIRST_BYTES_MAX);
        let all = |length| foreign(&bytes[..length], &others);
        assert_eq!((all(1), all(max - 1)), (None, None));
        assert_eq!((all(max), all(max * 10)), (Some(Spoken::Foreign(0)), Some(Spoken::Foreign(0))));
        // Who wants to see more than is shown is not asked again.
        let late = |length| foreign(&bytes[..length], &others[1..]);
        assert_eq!((late(max - 1), late(max)), (None, Some(Spoken::Unknown)));
        assert_eq!(late(max + 1), Some(Spoken::Unknown));
        assert_eq!(foreign(b"?", &others), Some(Spoken::Unknown));
        assert_eq!(foreign(b"!", &[]), Some(Spoken::Unknown));
    }
}
