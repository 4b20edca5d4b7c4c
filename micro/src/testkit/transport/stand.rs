//! What a claim works with: a node that serves a [`Lab`], and a connection to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Connection, Exchange, Extra, Head, Route};
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::stream::{BoxSource, RawStream};
use crate::testkit::transport::lab::{ENDPOINTS, Lab, SERVICE};
use crate::testkit::transport::{Subject, Verdict, must};
use crate::transport::{Scope, Transport};

/// How often a claim looks whether something has happened.
const LOOK: Duration = Duration::from_millis(5);

/// The deadline of calls that are about something else.
const DEADLINE: Duration = Duration::from_secs(300);

/// A lab that is served, and a connection to it; both end when it is dropped.
pub(super) struct Stand {
    pub(super) connection: Arc<dyn Connection>,
    pub(super) server: Scope,
    pub(super) client: Scope,
    pub(super) lab: Arc<Lab>,
    pub(super) bound: Address,
    pub(super) dialer: Arc<dyn Transport>,
    content_type: ContentType,
    patience: Duration,
    quiet: Duration,
    /// One for each endpoint, so that a connection may remember what it calls.
    routes: Vec<Arc<Route>>,
}

/// What a call has besides its message.
#[derive(Default)]
pub(super) struct Words {
    pub(super) timeout: Option<Duration>,
    pub(super) extra: Option<Box<Extra>>,
    pub(super) source: Option<BoxSource>,
}

impl Stand {
    pub(super) async fn new(subject: &Subject) -> std::result::Result<Self, String> {
        Self::with_limits(subject, Limits::default(), Limits::default()).await
    }

    pub(super) async fn with_limits(
        subject: &Subject,
        server: Limits,
        client: Limits,
    ) -> std::result::Result<Self, String> {
        let (server, client) = (scope(server), scope(client));
        let lab = Arc::new(Lab::new());
        let listening = subject.server.listen(&subject.here, lab.clone(), &server).await;
        let bound = must("listen", listening)?;
        let connection = must("dial", subject.client.dial(&bound, &client).await)?;
        let route = |(name, kind): &(&str, _)| Route::new(SERVICE, name, *kind);
        Ok(Self {
            connection,
            server,
            client,
            lab,
            bound,
            dialer: Arc::clone(&subject.client),
            content_type: subject.content_type.clone(),
            patience: subject.patience,
            quiet: subject.quiet,
            routes: ENDPOINTS.iter().map(route).collect(),
        })
    }

    /// Starts a call on the connection.
    pub(super) async fn call(
        &self,
        endpoint: &str,
        body: impl Into<Bytes>,
        words: Words,
    ) -> Result<Exchange> {
        self.call_on(&self.connection, endpoint, body.into(), words).await
    }

    pub(super) async fn call_on(
        &self,
        connection: &Arc<dyn Connection>,
        endpoint: &str,
        body: Bytes,
        words: Words,
    ) -> Result<Exchange> {
        let missing = || Error::internal("micro.testkit", format!("the lab has no {endpoint}"));
        let named = |route: &&Arc<Route>| &**route.endpoint() == endpoint;
        let route = self.routes.iter().find(named).ok_or_else(missing)?;
        self.start(connection, route, body, words).await
    }

    /// Starts a call on a connection once it is ready.
    pub(super) async fn start(
        &self,
        connection: &Arc<dyn Connection>,
        route: &Route,
        body: Bytes,
        words: Words,
    ) -> Result<Exchange> {
        connection.ready().await?;
        let now = clock::now();
        let mut head = Head::new(route, now, self.content_type.clone());
        head.deadline = Some(clock::after(now, words.timeout.unwrap_or(DEADLINE)));
        head.extra = words.extra;
        Arc::clone(connection).start(&head, &body, words.source)
    }

    /// Calls and waits for the response.
    pub(super) async fn unary(&self, endpoint: &str, body: impl Into<Bytes>) -> Result<Bytes> {
        reply(self.call(endpoint, body, Words::default()).await?).await
    }

    /// Calls and waits for the stream of responses.
    pub(super) async fn stream(&self, endpoint: &str, body: impl Into<Bytes>) -> Result<RawStream> {
        opened(self.call(endpoint, body, Words::default()).await?).await
    }

    /// Calls with a stream of requests.
    pub(super) async fn with_requests(
        &self,
        endpoint: &str,
        source: BoxSource,
    ) -> Result<Exchange> {
        let words = Words { source: Some(source), ..Words::default() };
        self.call(endpoint, Bytes::new(), words).await
    }

    /// Fails unless the connection still answers.
    pub(super) async fn answers(&self) -> Verdict {
        let answer = must("a call afterwards", self.unary("Lab.Echo", "1").await)?;
        if answer == "1" { Ok(()) } else { Err(format!("a call afterwards was told {answer:?}")) }
    }

    /// Waits until something holds.
    pub(super) async fn until(&self, what: &str, holds: impl Fn() -> bool) -> Verdict {
        let deadline = clock::after(clock::now(), self.patience);
        while !holds() {
            if clock::now() >= deadline {
                return Err(format!("within {:?} it never came that {what}", self.patience));
            }
            clock::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until a number stays as it is, and returns it; fails where it passes `most`.
    pub(super) async fn settled(
        &self,
        what: &str,
        most: usize,
        number: impl Fn() -> usize,
    ) -> std::result::Result<usize, String> {
        let deadline = clock::after(clock::now(), self.patience);
        let mut last = number();
        loop {
            clock::sleep(self.quiet).await;
            let present = number();
            if present > most {
                return Err(format!("{what} came to {present}, more than {most}"));
            }
            if present == last {
                return Ok(present);
            }
            if clock::now() >= deadline {
                return Err(format!("{what} never stopped, at last {present}"));
            }
            last = present;
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.connection.close();
        for scope in [&self.client, &self.server] {
            scope.shutdown.close();
            scope.tasks.abort_all();
        }
    }
}

/// Waits for the single response.
pub(super) async fn reply(mut exchange: Exchange) -> Result<Bytes> {
    std::future::poll_fn(|task| exchange.poll_reply(task)).await.result
}

/// Waits until the stream of responses begins.
pub(super) async fn opened(mut exchange: Exchange) -> Result<RawStream> {
    std::future::poll_fn(|task| exchange.poll_opened(task)).await?;
    Ok(exchange.into_stream())
}

pub(super) fn scope(limits: Limits) -> Scope {
    Scope::new(Arc::new(limits), TaskTracker::new(), Shutdown::new())
}
