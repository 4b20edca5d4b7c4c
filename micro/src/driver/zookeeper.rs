//! ZooKeeper: one session at a time, and another when it has ended.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use zookeeper_client::{Client, Error as Fault, SessionState};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

const ERROR_ID: &str = "micro.zookeeper";

/// How long a session lives without a sign of life: what it made is gone then. Servers may allow
/// less, or demand more.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a session may take to begin.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a session may take to be connected again until another one is tried beside it.
const RECONNECT_WAIT: Duration = Duration::from_millis(500);
/// The longest that an answer may take; then whether the request ran is not known.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that a request waits for a session that is about to begin.
const SESSION_WAIT: Duration = Duration::from_secs(3);
/// Pauses between tries to begin a session: short, as registrations wait for it.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// The least pause between two tries, however many ask for one.
const TRY_PAUSE: Duration = Duration::from_millis(20);

/// A connection to ZooKeeper 3.6 or later.
///
/// It ends when it is dropped, and with the tasks of its tracker. What is asked of it while there
/// is no connection fails within 3 s, mostly at once: 503, safe to repeat. A request that was sent
/// and is not answered within 3 s is a 503 of which it is not known whether it ran.
///
/// ```
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Link, Server, ZooKeeper};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let zookeeper = ZooKeeper::open(&Server::new("127.0.0.1", 2181), &TaskTracker::new())?;
/// assert!(!zookeeper.is_up()); // It connects by itself, and goes on trying.
/// # Ok::<(), micro::Error>(())
/// # }).unwrap();
/// ```
pub struct ZooKeeper {
    shared: Arc<Shared>,
    tracker: TaskTracker,
    _keeper: TaskHandle,
}

struct Shared {
    server: Server,
    state: watch::Sender<State>,
    /// Rung when somebody waits for a session.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Times that a connection was made: for a session that began, or one that went on.
    connections: u64,
    is_connected: bool,
    /// Tries to begin a session that failed.
    failures: u64,
    failure: Option<Error>,
}

/// A session as it was when it was asked for.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Its id, which owns what ends with it.
    pub(crate) id: i64,
}

/// What the server said of a request.
pub(crate) type Answer<T> = std::result::Result<T, Fault>;

impl ZooKeeper {
    /// The port of a server that says none.
    pub const PORT: u16 = 2181;

    /// Opens a connection without waiting for it; must be called inside a tokio runtime.
    ///
    /// Users are those of the scheme `digest`.
    ///
    /// # Errors
    /// None so far.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        let (state, wanted) = (watch::Sender::default(), Notify::new());
        let shared = Arc::new(Shared { server: server.clone(), state, wanted });
        let keeper = tasks.spawn("driver.zookeeper", Arc::clone(&shared).keep()).abort_on_drop();
        Ok(Self { shared, tracker: tasks.clone(), _keeper: keeper })
    }

    /// Returns the owner of the tasks that follow changes.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Returns the session.
    ///
    /// # Errors
    /// 503 that is safe to repeat, while there is no connection.
    pub(crate) async fn session(&self) -> Result<Session> {
        let mut state = self.shared.state.subscribe();
        let seen = {
            let state = state.borrow_and_update();
            match &state.session {
                Some(session) if state.is_connected => return Ok(session.clone()),
                Some(_) => return Err(self.shared.away()),
                None => state.failures,
            }
        };
        self.shared.wanted.notify_one();
        let tried = state.wait_for(|state| state.session.is_some() || state.failures > seen);
        match clock::timeout(SESSION_WAIT, tried).await {
            Ok(Ok(state)) => match (&state.session, &state.failure) {
                (Some(session), _) => Ok(session.clone()),
                (None, Some(failure)) => Err(failure.clone()),
                (None, None) => Err(self.shared.away()),
            },
            Ok(Err(_)) | Err(_) => Err(self.shared.away()),
        }
    }

    /// Waits for a connection after the first `seen` ones, and returns how many there were then.
    pub(crate) async fn connection_after(&self, seen: u64) -> u64 {
        let mut state = self.shared.state.subscribe();
        let is_later = |state: &State| state.is_connected && state.connections > seen;
        match state.wait_for(is_later).await {
            Ok(state) => state.connections,
            // Invariant: the sender is a part of `self`.
            Err(_) => seen,
        }
    }

    /// Waits for an answer that the program decides on: that something is there, or is not.
    ///
    /// # Errors
    /// 503 for what is none; `retry` says what a request without an answer leaves open.
    pub(crate) async fn answer<T>(
        &self,
        what: &str,
        retry: Retry,
        request: impl Future<Output = Answer<T>>,
    ) -> Result<Answer<T>> {
        match clock::timeout(ANSWER_TIMEOUT, request).await {
            Ok(Err(fault)) if is_answer(&fault) => Ok(Err(fault)),
            Ok(Err(fault)) => {
                let detail = format!("zookeeper, {what}: {fault}");
                Err(Error::unavailable(ERROR_ID, detail).with_retry(retry))
            }
            Ok(answer) => Ok(answer),
            Err(_elapsed) => {
                let detail = format!("zookeeper did not answer {what} within {ANSWER_TIMEOUT:?}");
                Err(Error::unavailable(ERROR_ID, detail).with_retry(retry))
            }
        }
    }
}

/// Returns whether a fault says how things are, so that asking again changes nothing.
fn is_answer(fault: &Fault) -> bool {
    matches!(fault, Fault::NoNode | Fault::NodeExists | Fault::BadVersion | Fault::NotEmpty)
}

impl Shared {
    fn away(&self) -> Error {
        let detail = format!("zookeeper at {} does not answer", self.server);
        Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
    }

    /// Keeps a session for as long as it is polled.
    async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            match self.begin().await {
                Ok(client) => {
                    backoff.reset();
                    let mut next = Some(client);
                    while let Some(client) = next {
                        next = self.follow(client).await;
                    }
                }
                Err(error) => self.state.send_modify(|state| {
                    state.failures = state.failures.saturating_add(1);
                    state.failure = Some(error);
                }),
            }
            // Cancel safety: both arms only wait; a ring is kept.
            tokio::select! {
                () = clock::sleep(backoff.next_delay().max(TRY_PAUSE)) => {}
                () = self.wanted.notified() => clock::sleep(TRY_PAUSE).await,
            }
        }
    }

    async fn begin(&self) -> Result<Client> {
        let mut connector = Client::connector()
            .with_session_timeout(SESSION_TIMEOUT)
            .with_connection_timeout(CONNECT_TIMEOUT)
            .with_fail_eagerly();
        if let (Some(user), Some(password)) = (self.server.user(), self.server.password()) {
            let credentials = format!("{user}:{}", password.expose());
            connector = connector.with_auth("digest", credentials.as_bytes());
        }
        let members: Vec<_> = self.server.addresses().collect();
        let cluster = members.join(",");
        match clock::timeout(CONNECT_TIMEOUT, connector.connect(&cluster)).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(fault)) => {
                let detail = format!("cannot connect to zookeeper at {}: {fault}", self.server);
                Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe))
            }
            Err(_elapsed) => Err(self.away()),
        }
    }

    /// Tells what becomes of a session until it has ended, and returns another one if that began
    /// meanwhile.
    async fn follow(&self, client: Client) -> Option<Client> {
        let mut states = client.state_watcher();
        let id = client.session_id().0;
        tracing::debug!(server = %self.server, session = id, "a session of zookeeper begins");
        self.state.send_modify(|state| {
            (state.session, state.failure) = (Some(Session { client, id }), None);
            (state.is_connected, state.connections) = (true, state.connections.saturating_add(1));
        });
        let mut present = states.state();
        let mut other = None;
        while !present.is_terminated() {
            let is_connected = present != SessionState::Disconnected;
            self.state.send_if_modified(|state| {
                let changes = state.is_connected != is_connected;
                if changes && is_connected {
                    state.connections = state.connections.saturating_add(1);
                }
                state.is_connected = is_connected;
                changes
            });
            if is_connected {
                present = states.changed().await;
                continue;
            }
            match clock::timeout(RECONNECT_WAIT, states.changed()).await {
                Ok(changed) => present = changed,
                // A server that lost its data refuses the session until its time is over, and
                // begins others.
                Err(_elapsed) => other = self.begin().await.ok(),
            }
            if other.is_some() && states.peek_state() == SessionState::Disconnected {
                break;
            }
            other = None;
        }
        tracing::warn!(server = %self.server, session = id, "a session of zookeeper ended");
        self.state.send_modify(|state| (state.session, state.is_connected) = (None, false));
        other
    }
}

impl Link for ZooKeeper {
    fn vendor(&self) -> &'static str {
        "zookeeper"
    }

    fn is_up(&self) -> bool {
        self.shared.state.borrow().is_connected
    }
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, is_up) = (&self.shared.server, self.is_up());
        f.debug_struct("ZooKeeper").field("server", server).field("is_up", &is_up).finish()
    }
}
