//! A connection that stops being hyper's in the middle.
//!
//! The answer to a request may be that something else speaks on the connection from here on. It
//! passes through the layers as a response like any other, so that they can refuse it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Response;
use tokio::sync::Notify;

use crate::core::future::BoxFuture;
use crate::server::http::paced::Paced;
use crate::server::http::reply::Reply;

/// Speaks on a connection of which some bytes were read already.
pub(in crate::server::http) type Speak =
    Box<dyn FnOnce(Paced, Bytes) -> BoxFuture<'static, ()> + Send>;

/// What a response says when something else takes over the connection.
#[derive(Clone)]
pub(in crate::server::http) struct TakeOver(Arc<Mutex<Option<Speak>>>);

impl TakeOver {
    /// Makes the response that hands the connection over, with what was read of it already.
    pub(super) fn response<F>(
        speak: impl FnOnce(Paced, Bytes) -> F + Send + 'static,
    ) -> Response<Reply>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let speak: Speak = Box::new(move |io, rest| Box::pin(speak(io, rest)));
        let mut response = Response::new(Reply::full(Bytes::new()));
        response.extensions_mut().insert(Self(Arc::new(Mutex::new(Some(speak)))));
        response
    }

    fn take(&self) -> Option<Speak> {
        // What is inside is whole or gone, so a poisoned lock is still sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for TakeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TakeOver")
    }
}

/// The place of one connection at which it is handed over.
#[derive(Debug, Default)]
pub(in crate::server::http) struct Handed {
    over: Mutex<Option<TakeOver>>,
    given: Notify,
}

impl Handed {
    /// Hands the connection over if that is what a response says, and then never returns.
    pub(in crate::server::http) async fn check<B>(&self, response: &mut Response<B>) {
        let Some(over) = response.extensions_mut().remove::<TakeOver>() else { return };
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = Some(over);
        self.given.notify_one();
        std::future::pending::<()>().await;
    }

    /// Waits until the connection is handed over. Cancel safe.
    pub(in crate::server::http) async fn given(&self) {
        self.given.notified().await;
    }

    /// Returns what speaks on the connection from here on, if it was handed over.
    pub(in crate::server::http) fn take(&self) -> Option<Speak> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
        over?.take()
    }
}
