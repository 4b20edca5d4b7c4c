//! The layer that proves with every call who calls.

use std::fmt;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::auth::Session;
use crate::client::layer::{Next, Reply, Request};
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::secret::Secret;

const AUTHORIZATION: &str = "authorization";

/// Sends the tokens of a [`Session`], except with calls that bring credentials of their own and
/// in a client that sends some with every call.
///
/// The token goes to every node that is called; it proves nothing to one that is of another
/// audience.
#[derive(Clone, Debug)]
pub struct Bearer {
    session: Arc<Session>,
}

impl Bearer {
    /// Sends the tokens of a session.
    pub fn new(session: Arc<Session>) -> Self {
        Self { session }
    }
}

impl Layer<Next> for Bearer {
    type Service = Bearing;

    fn layer(&self, next: Next) -> Bearing {
        Bearing { next, session: Arc::clone(&self.session) }
    }
}

/// The service of a [`Bearer`].
#[derive(Clone)]
pub struct Bearing {
    next: Next,
    session: Arc<Session>,
}

impl Bearing {
    fn send(next: &mut Next, mut request: Request, token: &Secret<String>) -> Sent {
        let header = format!("Bearer {}", token.expose());
        match request.insert_header(AUTHORIZATION, &header) {
            Ok(()) => next.call(request),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

type Sent = BoxFuture<'static, Result<Reply>>;

impl Service<Request> for Bearing {
    type Response = Reply;
    type Error = Error;
    type Future = Sent;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        self.next.poll_ready(task)
    }

    fn call(&mut self, request: Request) -> Sent {
        if request.header(AUTHORIZATION).is_some() {
            return self.next.call(request);
        }
        if let Some(token) = self.session.ready() {
            return Self::send(&mut self.next, request, &token);
        }
        let (mut next, session) = (self.next.clone(), Arc::clone(&self.session));
        Box::pin(async move {
            let waited = clock::timeout_at(request.deadline(), session.token()).await;
            let late = |_elapsed| {
                let id = format!("{}.{}", request.service(), request.endpoint());
                let detail = "the deadline passed before there was a token to call with";
                Error::timeout(id, detail).with_retry(Retry::Safe)
            };
            let token = waited.map_err(late)??;
            Self::send(&mut next, request, &token).await
        })
    }
}

impl fmt::Debug for Bearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearing").field("session", &self.session).finish_non_exhaustive()
    }
}
