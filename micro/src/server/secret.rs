//! Connections by TLS: the handshake, then what is spoken inside; and those that come without it
//! where nothing else is served.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use crate::core::clock;
use crate::core::error::Error;
use crate::core::net::Stream;
use crate::core::proven::Proven;
use crate::server::http::Peer;
use crate::server::listen::{Port, greeted};
use crate::server::roster::Member;
use crate::server::sniff::{Spoken, sniff};
use crate::transport::tls::{Agreed, Server};

/// How long a peer that does not speak TLS is told so, and what it still sends is dropped: closing
/// a connection with unread bytes destroys what was sent on it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Space for reading what is dropped.
const DISCARD_BYTES: usize = 8 * 1024;

/// What those learn who speak without TLS.
const TLS_ONLY: &str = "this port speaks TLS only: call it by https://";

/// The reason of an HTTP/2 connection that ends for want of TLS: inadequate security.
const INADEQUATE_SECURITY: u8 = 0xc;

/// A connection inside of TLS.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// What was read of it to tell its protocol.
    pub(super) buffer: BytesMut,
    pub(super) protocol: Spoken,
    pub(super) proven: Proven,
}

/// Completes the handshake and looks at the first bytes inside, both within the time that one
/// handshake has; `None` when the connection is to end.
pub(super) async fn open(
    port: &Port,
    server: &Server,
    (stream, prefix): (Stream, BytesMut),
    member: &Member,
) -> Option<Opened> {
    let remote = stream.remote();
    let accepted = greeted(port, member, async { Some(server.accept(stream, prefix).await) });
    let taken = match accepted.await? {
        Ok(taken) => taken,
        Err(error) => {
            tracing::debug!(%error, %remote, "a TLS handshake failed");
            return None;
        }
    };
    let (stream, mut buffer) = (taken.stream, BytesMut::new());
    let protocol = greeted(port, member, sniff(&stream, &mut buffer, &port.protocols)).await?;
    if !fits(taken.agreed, protocol) {
        tracing::debug!(%remote, agreed = ?taken.agreed, "a peer speaks another protocol than agreed");
        return None;
    }
    let inside = match protocol {
        // TLS inside of TLS is nothing that anybody speaks.
        Spoken::Tls => Spoken::Unknown,
        plain => plain,
    };
    Some(Opened { stream, buffer, protocol: inside, proven: taken.proven })
}

/// Tells whether a peer speaks what it agreed on in the handshake; who agreed on nothing speaks
/// what it likes.
fn fits(agreed: Agreed, spoken: Spoken) -> bool {
    match agreed {
        Agreed::Nothing => true,
        Agreed::Native => spoken == Spoken::Native,
        Agreed::Http2 => spoken == Spoken::Http2,
        Agreed::Http1 => spoken == Spoken::Http1,
    }
}

/// Tells a peer in its own language that nothing is served without TLS.
pub(super) async fn refuse_plain(port: &Port, (spoken, mut stream): (Spoken, Stream), peer: &Peer) {
    if !port.plain_noted.swap(true, Ordering::Relaxed) {
        tracing::warn!(remote = %peer.remote, "a client speaks without TLS, which this port requires");
    }
    let answer = refusal(spoken);
    let refusal = async {
        // The peer may be gone; there is nobody to tell then.
        let _sent = stream.write_all(&answer).await;
        let _ended = stream.shutdown().await;
        let mut rest = BytesMut::with_capacity(DISCARD_BYTES);
        // Progress: each turn drops what has come; the time ends it.
        while matches!(stream.read(&mut rest).await, Ok(1..)) {
            rest.clear();
        }
    };
    let _done = clock::timeout(REFUSAL_TIMEOUT, refusal).await;
}

fn refusal(spoken: Spoken) -> Vec<u8> {
    match spoken {
        Spoken::Http1 => {
            let body = Error::bad_request("micro.server", TLS_ONLY).to_json();
            let length = body.len();
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json";
            format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into()
        }
        Spoken::Http2 => {
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let length = u8::try_from(8 + TLS_ONLY.len()).unwrap_or(8);
            let goaway = [0, 0, length, 7, 0, 0, 0, 0, 0];
            let reason = [0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY];
            [&settings[..], &goaway, &reason, TLS_ONLY.as_bytes()].concat()
        }
        _ => Vec::new(),
    }
}
