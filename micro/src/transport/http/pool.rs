//! The connections to one node over HTTP/1.1: kept alive, each with one call at a time.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::{METADATA_BYTES_MAX, METADATA_CLOSE_FACTOR};
use crate::core::net::{Address, Stream};
use crate::transport::Scope;
use crate::transport::dialing::{Dialing, HTTP1};
use crate::transport::http::body::Outflow;

/// Idle connections that are kept, and so the calls to a node that run at a time: HTTP/1.1 has no
/// other way to run many, and this is as many as a busy caller needs for a pool of its own.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// Bytes of a response's head, as the server has them for a request's.
const HEAD_BYTES_MAX: usize = METADATA_BYTES_MAX * METADATA_CLOSE_FACTOR;

/// A connection and when it was last used.
type Idle = (Track, Instant);

/// The caller's end of a connection. One that is dropped while a call has it breaks the connection:
/// HTTP/1.1 has no other way to say that a call was given up.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) sender: SendRequest<Outflow>,
    hold: Arc<Hold>,
}

/// Whether a call has a connection.
#[derive(Debug, Default)]
struct Hold {
    taken: AtomicBool,
    given_up: Notify,
}

impl Drop for Track {
    fn drop(&mut self) {
        if self.hold.taken.load(Ordering::Acquire) {
            self.hold.given_up.notify_one();
        }
    }
}

/// The connections that no call uses.
pub(super) struct Pool {
    address: Address,
    scope: Scope,
    dialing: Dialing,
    idle: Mutex<Vec<Idle>>,
    /// Says that every connection has to end.
    closed: watch::Receiver<bool>,
}

impl Pool {
    /// Makes a pool with one connection, so that a node that cannot be reached is known at once.
    pub(super) async fn dial(
        address: &Address,
        scope: &Scope,
        dialing: &Dialing,
        closed: watch::Receiver<bool>,
    ) -> Result<Arc<Self>> {
        let (address, scope, dialing) = (address.clone(), scope.clone(), dialing.clone());
        let pool = Arc::new(Self { address, scope, dialing, idle: Mutex::default(), closed });
        let first = pool.connect().await?;
        pool.give(first);
        Ok(pool)
    }

    /// Takes the connection that was used last, or makes one; tells whether it was used before.
    ///
    /// # Errors
    /// `Retry::Safe` when the node cannot be reached.
    pub(super) async fn take(&self) -> Result<(Track, bool)> {
        let (track, used) = match self.pop() {
            Some(track) => (track, true),
            None => (self.connect().await?, false),
        };
        track.hold.taken.store(true, Ordering::Release);
        Ok((track, used))
    }

    fn pop(&self) -> Option<Track> {
        let (now, limit) = (clock::now(), self.scope.limits.connection.client_idle_timeout);
        let mut idle = self.lock();
        idle.retain(|(track, used)| !track.sender.is_closed() && clock::after(*used, limit) > now);
        let ready = idle.iter().rposition(|(track, _)| track.sender.is_ready())?;
        Some(idle.swap_remove(ready).0)
    }

    /// Keeps a connection for the next call.
    pub(super) fn give(&self, track: Track) {
        track.hold.taken.store(false, Ordering::Release);
        let mut idle = self.lock();
        if !track.sender.is_closed() && idle.len() < CONNECTIONS_MAX {
            idle.push((track, clock::now()));
        }
    }

    /// Drops the idle connections, which ends them.
    pub(super) fn clear(&self) {
        let dropped = std::mem::take(&mut *self.lock());
        drop(dropped);
    }

    async fn connect(&self) -> Result<Track> {
        let stream = connect(&self.address, &self.scope, &self.dialing, HTTP1).await?;
        let unmade = |e| unreached(&self.address, &format!("{e}"));
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (mut sender, mut connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(unmade)?;
        let (mut closed, shutdown) = (self.closed.clone(), self.scope.shutdown.clone());
        let hold = Arc::<Hold>::default();
        let held = Arc::clone(&hold);
        let ended = async move {
            tokio::select! {
                biased;
                () = held.given_up.notified() => {}
                // What went wrong concerns the call that uses it, which is told.
                _ended = &mut connection => return,
                _closed = closed.wait_for(|closed| *closed) => {}
                () = shutdown.closed() => {}
            }
            if held.taken.load(Ordering::Acquire) {
                // A node that does not read what is sent to it would never come to the end of it.
                connection.into_parts().io.into_inner().sever();
            }
        };
        self.scope.tasks.spawn("http connection", ended).detach();
        sender.ready().await.map_err(unmade)?;
        Ok(Track { sender, hold })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Every critical section leaves the list whole, so a poisoned lock is still sound.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Connects to a node within the dial timeout.
pub(super) async fn connect(
    address: &Address,
    scope: &Scope,
    dialing: &Dialing,
    protocol: &[u8],
) -> Result<Stream> {
    let timeout = scope.limits.connection.dial_timeout;
    match clock::timeout(timeout, dialing.connect(address, timeout, protocol)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(unreached(address, &e.to_string()).with_source(e)),
        Err(_) => Err(unreached(address, &format!("no answer within {timeout:?}"))),
    }
}

/// Makes the error of a node that nothing was sent to.
#[cold]
pub(super) fn unreached(address: &Address, why: &str) -> Error {
    Error::unavailable("micro.transport", format!("cannot reach {address}: {why}"))
        .with_retry(Retry::Safe)
}
