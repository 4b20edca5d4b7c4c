//! Connections by TLS: the handshake, then what is spoken inside.

use bytes::BytesMut;

use crate::core::net::Stream;
use crate::core::proven::Proven;
use crate::server::listen::{Port, greeted};
use crate::server::roster::Member;
use crate::server::sniff::{Protocol, sniff};
use crate::transport::tls::{Identity, accept};

/// A connection inside of TLS.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// What was read of it to tell its protocol.
    pub(super) buffer: BytesMut,
    pub(super) protocol: Protocol,
    pub(super) proven: Proven,
}

/// Completes the handshake and looks at the first bytes inside, both within the time that one
/// handshake has; `None` when the connection is to end.
pub(super) async fn open(
    port: &Port,
    identity: &Identity,
    (stream, prefix): (Stream, BytesMut),
    member: &Member,
) -> Option<Opened> {
    let remote = stream.remote();
    let accepted = greeted(port, member, async { Some(accept(stream, prefix, identity).await) });
    let (stream, proven) = match accepted.await? {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, %remote, "a TLS handshake failed");
            return None;
        }
    };
    let mut buffer = BytesMut::new();
    let protocol = greeted(port, member, sniff(&stream, &mut buffer)).await?;
    let inside = match protocol {
        // TLS inside of TLS is nothing that anybody speaks.
        Protocol::Tls => Protocol::Unknown,
        plain => plain,
    };
    Some(Opened { stream, buffer, protocol: inside, proven })
}
