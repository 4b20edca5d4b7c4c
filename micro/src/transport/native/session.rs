//! An accepted connection, and what its owner may ask of it while it is served.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::exchange::Dispatch;
use crate::core::net::Stream;
use crate::transport::Scope;
use crate::transport::native::link::Link;
use crate::transport::native::{client, keeper, link, preface, put_hello, reader, server};

/// An accepted connection; clones share it.
#[derive(Clone, Debug)]
pub struct Session {
    link: Arc<Link>,
}

impl Session {
    /// Makes the session of an accepted stream; nothing is read or written yet.
    pub fn new(stream: Stream, scope: &Scope) -> Self {
        let remote = stream.remote();
        Self { link: link(stream.into_socket(), remote, scope, false) }
    }

    pub(super) fn of(link: &Arc<Link>) -> Self {
        Self { link: Arc::clone(link) }
    }

    /// Serves the connection to its end; `prefix` is what was read of it already.
    ///
    /// The peer has to complete its greeting by `greeted_by`. When the scope's lifecycle drains,
    /// the peer is told to start no more calls; when it closes, the connection ends, and so it
    /// does when the future is dropped.
    pub async fn serve(
        &self,
        prefix: BytesMut,
        dispatch: Arc<dyn Dispatch>,
        greeted_by: Instant,
        scope: &Scope,
    ) {
        let link = &self.link;
        let _end = End(link);
        let greeting = preface(link.socket.as_ref(), prefix);
        let Ok(Ok(buffer)) = clock::timeout_at(greeted_by, greeting).await else {
            // A peer that says nothing, or something else, is not worth a log line.
            return link.close(&Error::bad_request("micro.transport", "not the native protocol"));
        };
        put_hello(link, &mut link.lock().out);
        link.flush();
        let mut calls = server::Calls::new(dispatch, &link.limits);
        let reading = reader::read(link, buffer, &mut calls);
        let drain = async {
            scope.shutdown.draining().await;
            link.say_goaway();
            scope.shutdown.closed().await;
            client::stopped()
        };
        let error = tokio::select! {
            ended = keeper::ends(link, reading) => ended.err(),
            stopped = drain => {
                link.say_end(&stopped);
                Some(stopped)
            }
        };
        link.part(&error.unwrap_or_else(client::ended));
        reader::linger(link).await;
    }

    /// Returns for how long no call has been open; `None` while one is.
    ///
    /// Pings and their answers are no use of a connection.
    pub fn idle(&self, now: Instant) -> Option<Duration> {
        let state = self.link.lock();
        let open = state.streams.live() > 0;
        (!open).then(|| now.saturating_duration_since(state.idle_since))
    }

    /// Asks the peer to start no more calls; it closes the connection after its last one.
    pub fn leave(&self) {
        self.link.say_goaway();
    }
}

/// Ends a connection with its task, even when that is aborted.
pub(super) struct End<'a>(pub(super) &'a Arc<Link>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.close(&client::stopped());
    }
}
