//! The connections that a client has had, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event};
use tokio::sync::{Notify, watch};

use crate::core::clock;
use crate::core::shutdown::TaskTracker;
use crate::driver::server_url::Server;

/// How often the client is looked at without being asked to: it drops events when there are many.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A connection, or the time after it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NatsSession {
    /// How many connections there have been, this one included.
    pub number: u64,
    /// Whether it stands.
    pub is_up: bool,
}

impl NatsSession {
    fn of(client: &Client) -> Self {
        // The number is read first: a connection that follows in between is seen at the next look.
        let number = client.statistics().connects.load(Ordering::SeqCst);
        Self { number, is_up: is_up(client) }
    }
}

/// Tells whether a client is connected and knows to what.
fn is_up(client: &Client) -> bool {
    client.connection_state() == State::Connected && client.try_server_info().is_some()
}

/// Tells of every change until all that listen are gone.
pub(super) fn follow(
    server: &Server,
    client: &Client,
    changed: Arc<Notify>,
    tasks: &TaskTracker,
) -> watch::Receiver<NatsSession> {
    let (told, sessions) = watch::channel(NatsSession::default());
    let (server, client) = (server.clone(), client.clone());
    tasks.spawn("nats-session", async move {
        loop {
            let seen = NatsSession::of(&client);
            let was = told.send_if_modified(|told| std::mem::replace(told, seen) != seen);
            if was {
                match seen.is_up {
                    true => tracing::info!(%server, session = seen.number, "nats is connected"),
                    false => tracing::warn!(%server, "nats is away"),
                }
            }
            // Cancel safety: a notification that is lost here is seen at the next look.
            tokio::select! {
                () = told.closed() => return,
                () = changed.notified() => {}
                () = clock::sleep(LOOK_INTERVAL) => {}
            }
        }
    });
    sessions
}

/// Logs what the client says of itself, other than that it is connected or not.
pub(super) fn log(event: &Event) {
    match event {
        Event::Connected | Event::Disconnected | Event::Closed | Event::Draining => {}
        Event::ClientError(error) => tracing::debug!(%error, "nats cannot be reached"),
        event => tracing::warn!(%event, "nats says"),
    }
}
