//! etcd, by its API over gRPC: keys, leases, watches and tokens.
//!
//! A client of its own over `tonic`, whose messages are written here as far as they are used, so
//! that nothing is generated. It speaks to one member at a time and goes to the next when that one
//! does not answer, is cut off from its leader, or refuses.

mod fault;
mod kv;
mod leases;
mod link;
mod messages;
mod outgoing;
mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::error::Result;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::etcd::leases::{RENEWALS_QUEUED_MAX, Renewal};
use crate::driver::etcd::link::Shared;
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

pub(crate) use self::kv::{Moment, Span};
pub(crate) use self::leases::LeaseLife;
pub(crate) use self::messages::{
    Compare, DeleteRangeRequest, KeyValue, Operation, PutRequest, RangeRequest, TxnRequest,
    WatchEvent,
};
pub(crate) use self::watcher::{Told, Watcher};

const ERROR_ID: &str = "micro.etcd";

/// The longest that an answer may take; then whether the request ran is not known.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to etcd 3.4 or later, shared by whatever a process has there.
///
/// It ends when it is dropped, and with the tasks of its tracker. What is asked of it while no
/// member answers fails within 3 s, mostly at once: 503, safe to repeat. A request that was sent
/// and is not answered within 3 s is a 503 of which it is not known whether it ran.
///
/// ```
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Etcd, Link, Server};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let etcd = Etcd::open(&Server::new("127.0.0.1", 2379), &TaskTracker::new())?;
/// assert!(!etcd.is_up()); // It connects by itself, and goes on trying.
/// # Ok::<(), micro::Error>(())
/// # }).unwrap();
/// ```
pub struct Etcd {
    shared: Arc<Shared>,
    renewals: mpsc::Sender<Renewal>,
    tracker: TaskTracker,
    _tasks: [TaskHandle; 2],
}

impl Etcd {
    /// The port of a server that says none.
    pub const PORT: u16 = 2379;

    /// Opens a connection without waiting for it; must be called inside a tokio runtime.
    ///
    /// Users log in by name and password.
    ///
    /// # Errors
    /// None so far.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        let shared = Arc::new(Shared::new(server.clone()));
        let (renewals, asked) = mpsc::channel(RENEWALS_QUEUED_MAX);
        let keeper = tasks.spawn("driver.etcd", Arc::clone(&shared).keep());
        let renewer = tasks.spawn("driver.etcd.leases", leases::renew(Arc::clone(&shared), asked));
        let (tracker, tasks) = (tasks.clone(), [keeper.abort_on_drop(), renewer.abort_on_drop()]);
        Ok(Self { shared, renewals, tracker, _tasks: tasks })
    }

    /// Returns where it leads.
    pub(crate) fn server(&self) -> &Server {
        self.shared.server()
    }

    /// Waits for a session after the first `seen` ones, and returns how many there were then.
    ///
    /// One ends when its connection breaks or the server does not answer.
    pub(crate) async fn session_after(&self, seen: u64) -> u64 {
        self.shared.session_after(seen).await
    }

    /// Returns the owner of the tasks that follow changes.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tracker
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn renewals(&self) -> &mpsc::Sender<Renewal> {
        &self.renewals
    }
}

impl Link for Etcd {
    fn vendor(&self) -> &'static str {
        "etcd"
    }

    fn is_up(&self) -> bool {
        self.shared.is_up()
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, is_up) = (self.shared.server(), self.is_up());
        f.debug_struct("Etcd").field("server", server).field("is_up", &is_up).finish()
    }
}
