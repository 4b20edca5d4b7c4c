//! The native transport over TCP and Unix sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Listener, Stream};
use crate::transport::native::guests::{Guest, Guests};
use crate::transport::native::{connect, serve};
use crate::transport::{Scope, Transport};

/// Dials and listens on `host:port` and `unix:/path`.
///
/// A listener accepts until its lifecycle drains, and at most as many connections, in all and from
/// one address, as its limits say; more are closed at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Transport for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let timeout = scope.limits.connection.dial_timeout;
            let stream = match clock::timeout(timeout, Stream::connect(address, timeout)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(e)) => return Err(undialed(address, &e.to_string()).with_source(e)),
                Err(_) => return Err(undialed(address, &format!("no answer within {timeout:?}"))),
            };
            Ok(connect(stream.into_socket(), address.to_string().into(), scope))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let listener = Listener::bind(address).await.map_err(|e| unbound(address, e))?;
            let bound = listener.address().map_err(|e| unbound(address, e))?;
            let scope_of_task = scope.clone();
            scope.tasks.spawn("native listener", async move {
                accept(&listener, &dispatch, &scope_of_task).await;
            });
            Ok(bound)
        })
    }
}

/// Accepts until the lifecycle drains, so that peers dial another node; no error of one peer ends
/// the loop.
async fn accept(listener: &Listener, dispatch: &Arc<dyn Dispatch>, scope: &Scope) {
    let guests = Arc::new(Guests::default());
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    // Progress: each turn accepts a peer, waits out an error, or ends.
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = scope.shutdown.draining() => return,
        };
        match accepted {
            Ok(stream) => {
                backoff.reset();
                // A peer beyond the limits finds its connection closed.
                if let Some(guest) = guests.admit(stream.stranger(), &scope.limits.connection) {
                    welcome(stream, guest, dispatch, scope);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::select! {
                    () = clock::sleep(backoff.next_delay()) => {}
                    () = scope.shutdown.draining() => return,
                }
            }
        }
    }
}

fn welcome(stream: Stream, guest: Guest, dispatch: &Arc<dyn Dispatch>, scope: &Scope) {
    let (dispatch, scope_of_task) = (Arc::clone(dispatch), scope.clone());
    scope.tasks.spawn("native connection", async move {
        let _guest = guest;
        serve(stream, BytesMut::new(), dispatch, &scope_of_task).await;
    });
}

fn undialed(address: &Address, why: &str) -> Error {
    Error::unavailable("micro.transport", format!("cannot reach {address}: {why}"))
        .with_retry(Retry::Safe)
}

fn unbound(address: &Address, error: std::io::Error) -> Error {
    Error::unavailable("micro.transport", format!("cannot listen on {address}: {error}"))
        .with_source(error)
}
