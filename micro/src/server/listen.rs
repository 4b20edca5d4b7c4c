//! The one port: accepts connections and hands each to the protocol it speaks.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use crate::core::clock;
use crate::core::exchange::Dispatch;
use crate::core::limits::ConnectionLimits;
use crate::core::net::{Address, Listener, Prefixed, Stream};
use crate::core::proven::Proven;
use crate::core::shutdown::Shutdown;
use crate::server::http::{Face, Peer};
use crate::server::policy::Origin;
use crate::server::protocol::{self, Protocol};
use crate::server::roster::{Member, Order, Roster, Seat};
use crate::server::router::{Door, Router};
#[cfg(feature = "tls")]
use crate::server::secret;
use crate::server::sniff::{Spoken, sniff};
use crate::transport::Scope;
use crate::transport::native;
#[cfg(feature = "tls")]
use crate::transport::tls;

/// The first pause after an accept that failed for want of resources; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a connection may stay silent while the server drains, so that a request on its way
/// gets a refusal instead of a reset.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Space for the first read of a connection.
const FIRST_READ_BYTES: usize = 8 * 1024;

/// A TLS alert: fatal, handshake failure.
const TLS_REFUSAL: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 40];

/// Everything that the listeners of a server share.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) router: Arc<Router>,
    pub(super) face: Arc<Face>,
    pub(super) roster: Arc<Roster>,
    pub(super) scope: Scope,
    pub(super) tls_noted: AtomicBool,
    /// Whether it was logged that somebody did not speak TLS where nothing else is served.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "all else is served then"))]
    pub(super) plain_noted: AtomicBool,
    /// Protocols that this crate does not know.
    pub(super) protocols: Vec<Arc<dyn Protocol>>,
    /// Who the process is to those who call by TLS.
    #[cfg(feature = "tls")]
    pub(super) secret: Option<tls::Server>,
}

/// What connections come from.
pub(super) trait Accept: Send + Sync + 'static {
    fn accept(&self) -> impl Future<Output = io::Result<Stream>> + Send;
}

impl Accept for Listener {
    fn accept(&self) -> impl Future<Output = io::Result<Stream>> + Send {
        Self::accept(self)
    }
}

/// Accepts connections until the lifecycle closes, then tells them to end.
///
/// A server that drains goes on accepting: probes of its health are answered to the end, and who
/// comes with a call gets a refusal that is safe to retry instead of a reset.
pub(super) async fn accept<A: Accept>(port: Arc<Port>, listener: A, bound: Address) {
    let bound: Arc<str> = host(&bound).into();
    accept_until(&port, &listener, &bound, port.scope.shutdown.draining()).await;
    port.router.gate.close();
    port.roster.tell(Order::Drain);
    accept_until(&port, &listener, &bound, port.scope.shutdown.closed()).await;
    drop(listener);
    port.roster.tell(Order::Close);
}

/// Accepts connections until the end of a phase.
///
/// No error ends the loop: a fault of the peer costs nothing, want of resources a pause.
async fn accept_until<A: Accept>(
    port: &Arc<Port>,
    listener: &A,
    bound: &Arc<str>,
    end: impl Future<Output = ()>,
) {
    let mut end = pin!(end);
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                pause = PAUSE_MIN;
                admit(port, stream, bound);
            }
            Err(error) if is_fault_of_peer(&error) => tokio::task::yield_now().await,
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept connections, will try again");
                tokio::select! {
                    () = &mut end => return,
                    () = clock::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Tells the errors of a connection that went away before it was accepted.
fn is_fault_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    let kinds = [ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected];
    kinds.contains(&error.kind())
}

/// Gives a connection its place and its task, or closes it where there is no place.
pub(super) fn admit(port: &Arc<Port>, stream: Stream, bound: &Arc<str>) {
    let socket = match &stream {
        // A peer that has left already has no address.
        Stream::Tcp(tcp) => match (tcp.peer_addr(), tcp.local_addr()) {
            (Ok(peer), Ok(local)) => Some((peer, local)),
            _ => return,
        },
        _ => None,
    };
    let origin = socket.map_or(Origin::Local, |(peer, local)| origin(peer.ip(), local.ip()));
    let stranger = socket.map(|(peer, _)| peer.ip()).filter(|_| origin == Origin::OffHost);
    let Some(member) = port.roster.join(stranger, &port.scope.limits.connection) else {
        tracing::debug!(remote = %stream.remote(), "refused a connection: too many");
        return;
    };
    let peer = Peer {
        remote: stream.remote(),
        socket: socket.map(|(peer, _)| peer),
        origin,
        proven: Proven::Nobody,
        bound: Arc::clone(bound),
        known: OnceLock::new(),
        seat: Arc::clone(&member.seat),
    };
    port.scope.tasks.spawn("connection", serve(Arc::clone(port), stream, peer, member));
}

/// Tells where a peer is; who connects to an address from that address is on this machine.
fn origin(peer: IpAddr, local: IpAddr) -> Origin {
    let same = peer.to_canonical() == local.to_canonical();
    if same || peer.to_canonical().is_loopback() { Origin::Local } else { Origin::OffHost }
}

/// Returns the host part of an address.
fn host(address: &Address) -> String {
    let text = address.to_string();
    text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host).to_ascii_lowercase()
}

/// Runs one connection to its end.
async fn serve(port: Arc<Port>, stream: Stream, peer: Peer, member: Member) {
    let mut buffer = BytesMut::with_capacity(FIRST_READ_BYTES);
    let Some(protocol) = first_bytes(&port, &stream, &mut buffer, &member).await else {
        return;
    };
    #[cfg(feature = "tls")]
    if let Some(server) = &port.secret {
        if protocol == Spoken::Tls {
            let opened = Box::pin(secret::open(&port, server, (stream, buffer), &member));
            let Some(opened) = opened.await else { return };
            let peer = Peer { proven: opened.proven, ..peer };
            return speak(port, (opened.protocol, opened.stream, opened.buffer), peer, member)
                .await;
        }
        if server.is_required(&stream) {
            return secret::refuse_plain(&port, (protocol, stream), &peer).await;
        }
    }
    speak(port, (protocol, stream, buffer), peer, member).await;
}

/// Serves what a connection speaks.
async fn speak(
    port: Arc<Port>,
    (protocol, stream, buffer): (Spoken, Stream, BytesMut),
    peer: Peer,
    member: Member,
) {
    match protocol {
        Spoken::Native => {
            let session = native::Session::new(stream, &port.scope);
            member.seat.set_native(session.clone());
            let door: Arc<dyn Dispatch> = Arc::new(door(&port, &peer));
            let timeout = port.scope.limits.connection.handshake_timeout;
            let greeted_by = clock::after(member.seat.since, timeout);
            tokio::select! {
                () = session.serve(buffer, door, greeted_by, &port.scope) => {}
                () = evicted(&member.seat, &session, &port.scope.limits.connection) => {}
            }
        }
        Spoken::Http1 => {
            port.face.serve_http1(Prefixed::new(buffer, stream), peer).await;
        }
        Spoken::Http2 => {
            port.face.serve_http2(Prefixed::new(buffer, stream), peer).await;
        }
        Spoken::Tls => refuse_tls(&port, stream, &peer).await,
        Spoken::Foreign(place) => {
            let Some(other) = port.protocols.get(place).map(Arc::clone) else { return };
            let scope = Scope { shutdown: Shutdown::new(), ..port.scope.clone() };
            let door = door(&port, &peer);
            let carried = (Prefixed::new(buffer, stream), peer.remote);
            protocol::serve(other, carried, door, scope).await;
        }
        Spoken::Unknown => {
            tracing::debug!(remote = %peer.remote, "closed a connection that speaks no protocol");
        }
    }
}

/// Makes what dispatches the calls of one connection.
fn door(port: &Port, peer: &Peer) -> Door {
    Door {
        router: Arc::clone(&port.router),
        origin: peer.origin,
        proven: peer.proven.clone(),
        seat: Arc::clone(&peer.seat),
    }
}

/// Waits until a session is told to close and has had its chance to end well.
///
/// Who is idle has no call to lose, unless one is on its way.
pub(super) async fn evicted(seat: &Seat, session: &native::Session, limits: &ConnectionLimits) {
    seat.cut().await;
    session.leave();
    let until = clock::after(clock::now(), limits.age_grace);
    // Progress: each turn takes its time, up to the grace.
    loop {
        clock::sleep(LINGER).await;
        let now = clock::now();
        if session.idle(now).is_some() || now >= until {
            return;
        }
    }
}

/// Waits for the first bytes within the handshake's time; `None` when the connection is to end.
async fn first_bytes(
    port: &Port,
    stream: &Stream,
    buffer: &mut BytesMut,
    member: &Member,
) -> Option<Spoken> {
    greeted(port, member, sniff(stream, buffer, &port.protocols)).await
}

/// Waits for a part of the greeting within the handshake's time; `None` when the connection is to
/// end.
pub(super) async fn greeted<T>(
    port: &Port,
    member: &Member,
    greeting: impl Future<Output = Option<T>>,
) -> Option<T> {
    let timeout = port.scope.limits.connection.handshake_timeout;
    let mut until = clock::after(member.seat.since, timeout);
    let mut greeting = pin!(greeting);
    loop {
        tokio::select! {
            biased;
            part = &mut greeting => return part,
            () = member.seat.told() => match member.seat.order() {
                Order::Close => return None,
                Order::Drain => until = until.min(clock::after(clock::now(), LINGER)),
                Order::Serve => {}
            },
            () = clock::sleep_until(until) => return None,
        }
    }
}

/// Answers a TLS client in its own language that there is no TLS here.
async fn refuse_tls(port: &Port, mut stream: Stream, peer: &Peer) {
    if !port.tls_noted.swap(true, Ordering::Relaxed) {
        tracing::warn!(remote = %peer.remote, "a client speaks TLS, which this port does not serve");
    }
    let refusal = async {
        // The peer may be gone; there is nobody to tell then.
        let _sent = stream.write_all(&TLS_REFUSAL).await;
        let _ended = stream.shutdown().await;
    };
    let _done = clock::timeout(PAUSE_MAX, refusal).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for (peer, local, expected) in [
            ("127.0.0.1", "127.0.0.1", Origin::Local),
            ("127.0.0.2", "127.0.0.1", Origin::Local),
            ("::1", "::1", Origin::Local),
            ("::ffff:127.0.0.1", "::1", Origin::Local),
            ("10.0.0.1", "10.0.0.1", Origin::Local),
            ("::ffff:10.0.0.1", "10.0.0.1", Origin::Local),
            ("10.0.0.2", "10.0.0.1", Origin::OffHost),
            ("::ffff:10.0.0.2", "::ffff:10.0.0.1", Origin::OffHost),
            ("2001:db8::2", "2001:db8::1", Origin::OffHost),
        ] {
            let origin = origin(peer.parse().unwrap(), local.parse().unwrap());
            assert_eq!(origin, expected, "{peer} at {local}");
        }
    }
}
