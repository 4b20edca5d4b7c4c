//! The native protocol in binary messages.

use std::sync::Arc;

use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::core::clock;
use crate::core::exchange::Dispatch;
use crate::core::net::{Pipe, Stream, Wrapped};
use crate::server::http::face::Peer;
use crate::server::listen::evicted;
use crate::server::policy::Origin;
use crate::server::router::{Door, Router};
use crate::transport::websocket::{Wire, carry};
use crate::transport::{Scope, native};

/// Serves the calls of a connection as they would be over TCP.
pub(super) async fn serve(router: Arc<Router>, peer: Peer, upgrade: OnUpgrade, scope: Scope) {
    let Ok(upgraded) = upgrade.await else { return };
    let wire = Wire::carrier(TokioIo::new(upgraded), &scope.limits).await;
    let (ours, theirs) = Pipe::pair();
    let stranger = peer.socket.filter(|_| peer.origin == Origin::OffHost);
    let stranger = stranger.map(|address| address.ip());
    let socket = Wrapped::new(Arc::new(theirs), Arc::clone(&peer.remote), stranger);
    let session = native::Session::new(Stream::Wrapped(socket), &scope);
    peer.seat.set_native(session.clone());
    let seat = Arc::clone(&peer.seat);
    let door: Arc<dyn Dispatch> = Arc::new(Door {
        router,
        origin: peer.origin,
        proven: peer.proven,
        seat: Arc::clone(&seat),
    });
    let timeout = scope.limits.connection.handshake_timeout;
    let greeted_by = clock::after(clock::now(), timeout);
    let serving = async {
        tokio::select! {
            () = session.serve(BytesMut::new(), door, greeted_by, &scope) => {}
            () = evicted(&seat, &session, &scope.limits.connection) => {}
        }
    };
    // Each ends with the other: the session when its pipe does, the carrier once it has sent what
    // the session said last.
    tokio::join!(serving, carry(wire, ours));
}
