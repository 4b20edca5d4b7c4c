//! Carries the bytes of a session between a pipe and a stream of QUIC.

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::io::AsyncWriteExt;

use crate::core::clock;
use crate::core::limits::ConnectionLimits;
use crate::core::net::Pipe;

/// Carries both ways until either end is done, then closes the connection.
///
/// The pipe bounds what waits to be sent, and the windows of QUIC what was received.
pub(super) async fn carry(
    pipe: Pipe,
    connection: Connection,
    (mut send, mut receive): (SendStream, RecvStream),
    limits: &ConnectionLimits,
) {
    let (mut from, mut to) = tokio::io::split(pipe);
    let out = async {
        let _broken = tokio::io::copy(&mut from, &mut send).await;
        // It fails where the peer wants nothing any more, which is what is to be.
        if send.finish().is_ok() {
            let _last_word = clock::timeout(limits.write_timeout, send.stopped()).await;
        }
    };
    let back = async {
        let _broken = tokio::io::copy(&mut receive, &mut to).await;
        let _gone = to.shutdown().await;
    };
    tokio::join!(out, back);
    connection.close(VarInt::from_u32(0), b"");
}
