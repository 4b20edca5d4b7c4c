//! Connecting to a name that has several addresses.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::core::clock;
use crate::core::future::BoxFuture;

/// Addresses of one name that are tried; the resolver has sorted them.
const ADDRESSES_MAX: usize = 16;

/// How long an address is waited for alone: 250 ms, as RFC 8305 says.
const TURN_MAX: Duration = Duration::from_millis(250);

/// Connects to the first address of `host:port` that answers.
///
/// An address is tried once those before it have failed, or were waited for in vain; they are not
/// given up, so that a slow one may still win.
///
/// # Errors
/// Why the first address failed, when all have; `NotFound` when there is none.
pub(super) async fn tcp(host: &str, within: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host(host).await?.take(ADDRESSES_MAX).collect();
    let parts = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    first_of(addresses, TURN_MAX.min(within / parts)).await
}

async fn first_of(addresses: Vec<SocketAddr>, turn: Duration) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut dials: Vec<BoxFuture<'static, io::Result<TcpStream>>> = Vec::new();
    let mut failed = None;
    // Progress: each turn begins an address, or ends with the last.
    loop {
        let last = match waiting.next() {
            Some(address) => {
                dials.push(Box::pin(TcpStream::connect(address)));
                waiting.len() == 0
            }
            None => true,
        };
        if dials.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(failed.unwrap_or_else(none));
        }
        let round = any(&mut dials, last, &mut failed);
        let won = if last { round.await } else { clock::timeout(turn, round).await.ok().flatten() };
        if let Some(stream) = won {
            return Ok(stream);
        }
    }
}

/// Waits until one of the dials has connected; `None` once one has failed, or all if `last`.
fn any<'a>(
    dials: &'a mut Vec<BoxFuture<'static, io::Result<TcpStream>>>,
    last: bool,
    failed: &'a mut Option<io::Error>,
) -> impl Future<Output = Option<TcpStream>> + 'a {
    std::future::poll_fn(move |task| {
        let (mut won, before) = (None, dials.len());
        dials.retain_mut(|dial| match Pin::new(dial).poll(task) {
            _ if won.is_some() => false,
            Poll::Pending => true,
            Poll::Ready(Ok(stream)) => {
                won = Some(stream);
                false
            }
            Poll::Ready(Err(error)) => {
                failed.get_or_insert(error);
                false
            }
        });
        let over = dials.is_empty() || (!last && dials.len() < before);
        if won.is_some() || over { Poll::Ready(won) } else { Poll::Pending }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const TURN: Duration = Duration::from_millis(20);

    /// An address that answers nothing: its queue of connections is full.
    async fn black_hole() -> (SocketAddr, Vec<TcpStream>, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut kept = Vec::new();
        while let Ok(stream) =
            clock::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            kept.push(stream.unwrap());
        }
        (address, kept, socket)
    }

    async fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_later_address_is_reached_behind_black_holes_and_closed_ports() {
        let (hole, _kept, _socket) = black_hole().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        for addresses in [
            vec![open],
            vec![hole, open],
            vec![closed().await, open],
            vec![hole, closed().await, hole, open],
            vec![open, hole],
        ] {
            let stream = first_of(addresses.clone(), TURN).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn when_all_addresses_fail_the_error_is_that_of_the_first() {
        let error = first_of(vec![closed().await, closed().await], TURN).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_of(vec![], TURN).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
