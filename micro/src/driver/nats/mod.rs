//! The connection of a process to NATS.
//!
//! Subscriptions outlive the connection that they were made on: the client makes them again on the
//! next one, before anything that is sent after it is [up](NatsSession::is_up). What arrived at the
//! server in between is lost to them, so whoever needs all of it reads again what it watches when
//! [`Nats::sessions`] counts up.

mod bucket;
mod entry;
mod failure;
mod feed;
mod follower;
mod name;
mod session;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::TaskTracker;
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

pub(crate) use self::bucket::{Bucket, Outcome, Put};
pub(crate) use self::entry::Entry;
pub(crate) use self::failure::Fault;
pub(crate) use self::feed::Feed;
pub(crate) use self::follower::{Begin, Follower};
pub(crate) use self::name::{decode, encode, is_key};
pub use self::session::NatsSession;

/// The first pause after a failed attempt to connect is at most this.
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// The longest pause between attempts, so that a server that is back is in use within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long an attempt to connect may take; a paused server takes connections and says nothing.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(2);

/// Silence after which the server is asked whether it lives; at the third time without an answer
/// the connection is given up.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Commands that wait for the connection, at most; whoever comes then waits.
const COMMANDS_MAX: usize = 2048;

const ERROR_ID: &str = "micro.driver.nats";

/// A connection to NATS that comes back by itself, for whatever uses the same server.
///
/// The members of a cluster are those that the URL names, tried in turn; addresses that a server
/// advertises are not used.
///
/// ```no_run
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Nats, Server};
///
/// # async fn example() -> micro::Result<()> {
/// let nats = Nats::open(&Server::new("127.0.0.1", 4222), &TaskTracker::new())?;
/// nats.connected().await?;
/// println!("a server of version {:?}", nats.version());
/// # Ok(())
/// # }
/// ```
pub struct Nats {
    server: Server,
    client: async_nats::Client,
    jetstream: async_nats::jetstream::Context,
    sessions: watch::Receiver<NatsSession>,
    /// Tells the attempts to connect that nobody wants them any more.
    unwanted: Arc<AtomicBool>,
}

impl Nats {
    /// Messages that wait for a subscriber, at most; the client throws away those that come after.
    pub const SUBSCRIPTION_MESSAGES_MAX: usize = 1024;

    /// How long an answer of the server may take; then nobody knows whether it did what was asked.
    pub const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

    /// How long whoever asks waits for a connection: that of a process which is just starting.
    pub const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

    /// The port of a server whose URL names none.
    pub const PORT: u16 = 4222;

    /// Starts to connect to a server, within a runtime; does no I/O itself.
    ///
    /// # Errors
    /// 412 outside of a tokio runtime, or when the server has no address.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        let refused = |why: &dyn fmt::Display| {
            Error::precondition_failed(ERROR_ID, format!("cannot connect to nats: {why}"))
        };
        tokio::runtime::Handle::try_current().map_err(|error| refused(&error))?;
        let unwanted = Arc::new(AtomicBool::new(false));
        let changed = Arc::new(Notify::new());
        let options = options(server, &unwanted, &changed);
        let hosts: Vec<_> = server.addresses().map(|host| format!("nats://{host}")).collect();
        let addresses = hosts.iter().map(|host| host.parse());
        let addresses = addresses.collect::<std::result::Result<Vec<async_nats::ServerAddr>, _>>();
        let addresses = addresses.map_err(|error| refused(&error))?;
        // Ready at once: with retries from the start, the client connects in a task of its own.
        let client = options.connect(addresses).now_or_never();
        let client = client.ok_or_else(|| refused(&"the client waits for the server"))?;
        let client = client.map_err(|error| refused(&error))?;
        let sessions = session::follow(server, &client, changed, tasks);
        let jetstream = async_nats::jetstream::ContextBuilder::new()
            .timeout(Self::REQUEST_PATIENCE)
            .build(client.clone());
        Ok(Self { server: server.clone(), client, jetstream, sessions, unwanted })
    }

    /// Returns where this connects to.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Waits until there is a connection, at most [`Self::CONNECT_PATIENCE`]. Cancel safe.
    ///
    /// # Errors
    /// 503, safe to retry, when there is none by then.
    pub async fn connected(&self) -> Result<()> {
        if self.sessions.borrow().is_up {
            return Ok(());
        }
        let mut sessions = self.sessions.clone();
        let up = sessions.wait_for(|session| session.is_up);
        match clock::timeout(Self::CONNECT_PATIENCE, up).await {
            Ok(Ok(_)) => Ok(()),
            // The task that follows the client has ended with those of the process.
            Ok(Err(_)) => Err(self.away("the connection is closed")),
            Err(_) => Err(self.away("no answer")),
        }
    }

    /// Returns the connections so far and whether there is one, and tells of every change.
    ///
    /// A change from up to up with another number is a connection that was lost and replaced
    /// between two looks.
    pub fn sessions(&self) -> watch::Receiver<NatsSession> {
        self.sessions.clone()
    }

    /// Returns the version of the server as major, minor and patch; `None` before it is connected
    /// for the first time, or if it is no version.
    pub fn version(&self) -> Option<(u32, u32, u32)> {
        version(&self.client.try_server_info()?.version)
    }

    /// Tells whether the server is of at least a version; a server whose version is not known is
    /// not.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.version().is_some_and(|(a, b, _)| (a, b) >= (major, minor))
    }

    /// Returns the client as soon as it is connected, as [`Self::connected`] does.
    pub(crate) async fn client(&self) -> Result<&async_nats::Client> {
        self.connected().await?;
        Ok(&self.client)
    }

    /// Returns the client, connected or not: what is sent meanwhile waits within it.
    pub(crate) fn client_now(&self) -> &async_nats::Client {
        &self.client
    }

    /// Returns the client of JetStream as soon as it is connected; each of its requests is given
    /// [`Self::REQUEST_PATIENCE`].
    pub(crate) async fn jetstream(&self) -> Result<&async_nats::jetstream::Context> {
        self.connected().await?;
        Ok(&self.jetstream)
    }

    /// Asks, and waits for the answer for at most [`Self::REQUEST_PATIENCE`].
    ///
    /// Fails at once when the connection is lost meanwhile: the answer would not come. `what` says
    /// in words what is asked for.
    pub(crate) async fn request(
        &self,
        what: &str,
        subject: String,
        request: async_nats::Request,
    ) -> Result<async_nats::Message> {
        let client = self.client().await?;
        let mut sessions = self.sessions.clone();
        let number = sessions.borrow_and_update().number;
        let lost = async {
            let is_other = |session: &NatsSession| session.number != number || !session.is_up;
            if sessions.wait_for(is_other).await.is_err() {
                // The process ends, and the answer may still come.
                std::future::pending::<()>().await;
            }
        };
        // Cancel safety: whichever is first, the other is not needed any more.
        let answer = tokio::select! {
            answer = client.send_request(subject, request) => Some(answer),
            () = lost => None,
        };
        let what = || format!("nats at {}: {what}", self.server);
        match answer {
            Some(answer) => {
                answer.map_err(|error| Fault::from(error.kind()).error(ERROR_ID, what(), error))
            }
            None => {
                let detail = format!("{}: the connection was lost before the answer", what());
                Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Unknown))
            }
        }
    }

    fn away(&self, why: &str) -> Error {
        let detail = format!("nats at {}: {why}", self.server);
        Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
    }
}

impl Link for Nats {
    fn vendor(&self) -> &'static str {
        "nats"
    }

    fn is_up(&self) -> bool {
        self.sessions.borrow().is_up
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("server", &self.server)
            .field("session", &*self.sessions.borrow())
            .finish_non_exhaustive()
    }
}

fn options(
    server: &Server,
    unwanted: &Arc<AtomicBool>,
    changed: &Arc<Notify>,
) -> async_nats::ConnectOptions {
    let backoff = Mutex::new(Backoff::new(PAUSE_FIRST, PAUSE_MAX));
    let (unwanted, changed) = (Arc::clone(unwanted), Arc::clone(changed));
    let pause = move |attempt: usize| {
        if unwanted.load(Ordering::Relaxed) {
            // The client has no way to end an attempt, so this one rests until the runtime ends.
            return Duration::MAX;
        }
        let mut backoff = backoff.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt <= 1 {
            backoff.reset();
            return Duration::ZERO;
        }
        backoff.next_delay()
    };
    let options = async_nats::ConnectOptions::new()
        .name("micro")
        .retry_on_initial_connect()
        .ignore_discovered_servers()
        .connection_timeout(ATTEMPT_PATIENCE)
        .request_timeout(Some(Nats::REQUEST_PATIENCE))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(Nats::SUBSCRIPTION_MESSAGES_MAX)
        .client_capacity(COMMANDS_MAX)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            session::log(&event);
            changed.notify_one();
            std::future::ready(())
        });
    match server.user().zip(server.password()) {
        Some((user, password)) => {
            options.user_and_password(user.to_owned(), password.expose().clone())
        }
        None => options,
    }
}

/// Reads `2.11.3`, with whatever follows the numbers.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.trim_start_matches('v').splitn(3, '.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..digits)?.parse().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_with_what_follows_it() {
        for (text, read) in [
            ("2.9.10", Some((2, 9, 10))),
            ("v2.15.1-beta.2", Some((2, 15, 1))),
            ("2.11.0+1", Some((2, 11, 0))),
            ("2.11", None),
            ("", None),
            ("two.1.1", None),
        ] {
            assert_eq!(version(text), read, "{text}");
        }
    }

    #[test]
    fn outside_of_a_runtime_it_says_so() {
        let error = Nats::open(&Server::new("127.0.0.1", 1), &TaskTracker::new()).unwrap_err();
        assert_eq!(error.code(), 412);
    }

    #[tokio::test]
    async fn an_absent_server_fails_what_is_asked_within_the_patience() {
        let nats = Nats::open(&Server::new("127.0.0.1", 1), &TaskTracker::new()).unwrap();
        assert!(!nats.is_up());
        let began = clock::now();
        let error = nats.client().await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
        assert!(clock::now() - began < Nats::CONNECT_PATIENCE * 5);
        assert_eq!(nats.version(), None);
    }

    #[tokio::test]
    async fn what_follows_the_client_ends_with_it() {
        let tasks = TaskTracker::new();
        let nats = Nats::open(&Server::new("127.0.0.1", 1), &tasks).unwrap();
        assert_eq!(tasks.len(), 1);
        drop(nats);
        assert_eq!(tasks.wait(clock::after(clock::now(), Duration::from_secs(60))).await, 0);
    }

    #[tokio::test]
    async fn after_shutdown_nothing_waits() {
        let tasks = TaskTracker::new();
        let nats = Nats::open(&Server::new("127.0.0.1", 1), &tasks).unwrap();
        tasks.abort_all();
        let error = nats.connected().await.unwrap_err();
        assert!(error.detail().contains("closed"), "{error}");
    }
}
