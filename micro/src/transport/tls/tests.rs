//! Bytes through TLS over carriers that are slow, cut or hostile.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Sealed;
use super::*;
use crate::auth::authority::{self, Authority, AuthorityConfig};
use crate::core::clock;
use crate::core::net::{Address, Pipe, Socket, Stream, Wrapped};
use crate::core::proven::Proven;
use crate::core::shutdown::TaskTracker;
use crate::store::{Handle, Memory};

/// Opens a stream inside of TLS as a process, whatever is spoken there.
pub(crate) async fn open(address: &Address, identity: &Identity) -> io::Result<Stream> {
    let stream = Stream::connect(address, Duration::from_secs(5)).await?;
    let sealed = dialing(stream.into_socket(), identity);
    sealed.handshake().await?;
    Ok(wrapped(sealed))
}

fn wrapped(sealed: Sealed) -> Stream {
    Stream::Wrapped(Wrapped::new(Arc::new(sealed), "test".into(), None))
}

fn dialing(carrier: Arc<dyn Socket>, identity: &Identity) -> Sealed {
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    // The protocol inside is told by its first bytes where none is agreed on.
    let mut config = rustls::ClientConfig::clone(&identity.client);
    config.alpn_protocols.clear();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    Sealed::new(carrier, Connection::Client(session), BytesMut::new())
}

/// Makes the identity of a new authority.
async fn identity() -> Identity {
    let database = Handle::new(Memory::new()).database("micro.auth").unwrap();
    authority::init(&database, &AuthorityConfig::new("test.local")).await.unwrap();
    let authority = Authority::open(&database, &TaskTracker::new()).await.unwrap();
    let identity = authority.identity(4).unwrap();
    authority.certify(&identity).unwrap();
    identity
}

/// Connects both ends over a pipe.
async fn pair(identity: &Identity) -> (Stream, Stream, Proven) {
    let (here, there) = Pipe::pair();
    let client = dialing(Arc::new(here), identity);
    let (shaken, accepted) =
        tokio::join!(client.handshake(), accept(Stream::Pipe(there), BytesMut::new(), identity));
    shaken.unwrap();
    let taken = accepted.unwrap();
    (wrapped(client), taken.stream, taken.proven)
}

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_through_a_pipe_that_is_often_full() {
    let identity = identity().await;
    let (mut client, mut server, proven) = pair(&identity).await;
    assert!(proven.account().unwrap().is_some());
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut back = vec![0; sent.len()];
    tokio::join!(
        async {
            client.write_all(&sent).await.unwrap();
            client.read_exact(&mut back).await.unwrap();
        },
        async {
            let mut got = vec![0; sent.len()];
            server.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
            server.write_all(&got).await.unwrap();
        }
    );
    assert!(back == sent);
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut BytesMut::with_capacity(8)).await.unwrap(), 0, "a clean end");
}

#[tokio::test]
async fn f13_a_connection_that_is_cut_is_no_clean_end() {
    let identity = identity().await;
    let (client, server, _) = pair(&identity).await;
    drop(client);
    let error = server.read(&mut BytesMut::with_capacity(8)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn f13_what_is_no_tls_or_stops_halfway_is_an_error_and_never_a_panic() {
    let identity = identity().await;
    for bytes in [
        &b""[..],
        b"\x16\x03\x01",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x15\x03\x03\x00\x02\x01\x00",
        b"\x17\x03\x03\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 600],
    ] {
        let (here, there) = Pipe::pair();
        Socket::try_write(&here, bytes).unwrap();
        drop(here);
        assert!(accept(Stream::Pipe(there), BytesMut::new(), &identity).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_stand_still_hold_up_only_as_many_as_there_are_places() {
    let identity = Arc::new(identity().await);
    let silent: Vec<_> = (0..4).map(|_| Pipe::pair()).collect();
    let tasks = TaskTracker::new();
    let mut peers = Vec::new();
    for (here, there) in silent {
        peers.push(here);
        let identity = Arc::clone(&identity);
        tasks.spawn("silent", async move {
            let accepting = accept(Stream::Pipe(there), BytesMut::new(), &identity);
            assert!(clock::timeout(Duration::from_secs(5), accepting).await.is_err());
        });
    }
    tokio::task::yield_now().await;
    let (_client, _server, proven) = pair(&identity).await;
    assert!(matches!(proven, Proven::Certified(_)));
}

#[tokio::test]
async fn f13_version_1_2_is_not_spoken() {
    let identity = identity().await;
    // A ClientHello of TLS 1.2 with one cipher suite and no extension.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let (here, there) = Pipe::pair();
    Socket::try_write(&here, &hello).unwrap();
    assert!(accept(Stream::Pipe(there), BytesMut::new(), &identity).await.is_err());
    let mut answer = BytesMut::with_capacity(64);
    Socket::try_read(&here, &mut answer).unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert");
}

#[tokio::test]
async fn a_server_without_a_certificate_shakes_no_hands() {
    let identity = identity().await;
    let bare = Identity::new(identity.name().clone(), identity.root(), 1).unwrap();
    let (here, there) = Pipe::pair();
    let client = dialing(Arc::new(here), &identity);
    let session = ServerConnection::new(Arc::clone(&bare.server)).unwrap();
    let server = Sealed::new(Arc::new(there), Connection::Server(session), BytesMut::new());
    let (client, server) = tokio::join!(client.handshake(), server.handshake());
    assert!(client.is_err() && server.is_err());
}
