//! go-micro's registry on NATS: whoever serves answers questions and announces itself.
//!
//! A question goes to `micro.nats.query`, as `{"Action":"get","Service":{"name":".."}}` or with the
//! action `list`, and each process answers with the JSON of its services, one by one. What begins
//! and ends is told on `micro.nats.watch` with the actions `create` and `delete`. The server keeps
//! nothing, and services of go-micro take part.
//!
//! # Consistency
//! A lookup finds who answers within 100 ms, and in any case until 50 ms pass without a further
//! answer, for at most a second. A watch hears announcements, and asks every 3 s for what it
//! missed; a node that has not answered twice is gone.
//!
//! # Durability
//! None: nodes are there while their processes answer.
//!
//! # Limits
//! Every question reaches every process, and every announcement every watch: some hundreds of
//! processes. A reader takes as many nodes as [`RegistryLimits`] says and ignores more.
//!
//! # When the server fails
//! Registrations and lookups fail with a 503 within 2 s; what was registered is answered for as
//! soon as the server is back. A watch waits and forgets nothing meanwhile.
//!
//! # Configuration
//! `nats-broadcast://user:password@host:4222,host`.
//!
//! # Not supported
//! TLS to the server.
//!
//! # Tested against
//! NATS 2.15.1, and the messages of go-micro as they are written above.

mod ask;
mod message;
mod respond;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::core::clock;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver;
use crate::registry::check::{check, own_node};
use crate::registry::record::Record;
use crate::registry::table::Table;
use crate::registry::{Capabilities, Registry, Watch};

use self::ask::ask_all;
use self::message::{Action, Message, WATCH};

/// How long a change takes to reach who watches; what gets lost takes a question more.
const PROPAGATION: Duration = Duration::from_millis(200);

/// A registry of processes that tell each other by NATS, as go-micro's do; clones share it.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::Service;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::registry::NatsBroadcast;
///
/// # async fn example() -> micro::Result<()> {
/// let tasks = TaskTracker::new();
/// let nats = Arc::new(driver::Nats::open(&Server::new("10.0.0.1", 4222), &tasks)?);
/// let service = Service::new("shop").registry(NatsBroadcast::new(nats, &tasks));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsBroadcast {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    /// Answers questions, from the first registration on.
    responder: Arc<Mutex<Option<TaskHandle>>>,
}

/// What the parts of the registry have in common.
struct Shared {
    nats: Arc<driver::Nats>,
    limits: RegistryLimits,
    /// What this process has registered.
    own: Table,
}

impl NatsBroadcast {
    /// Makes a registry with the usual limits, whose task is of `tasks`; does no I/O.
    pub fn new(nats: Arc<driver::Nats>, tasks: &TaskTracker) -> Self {
        Self::with_limits(nats, tasks, RegistryLimits::DEFAULT)
    }

    /// Makes a registry with other limits.
    pub fn with_limits(
        nats: Arc<driver::Nats>,
        tasks: &TaskTracker,
        limits: RegistryLimits,
    ) -> Self {
        let shared = Arc::new(Shared { nats, limits, own: Table::default() });
        Self { shared, tasks: tasks.clone(), responder: Arc::default() }
    }

    /// Begins to answer questions.
    fn respond(&self) {
        let mut responder = self.responder.lock().unwrap_or_else(PoisonError::into_inner);
        if responder.as_ref().is_none_or(TaskHandle::is_finished) {
            let answers = respond::run(Arc::clone(&self.shared));
            *responder = Some(self.tasks.spawn("nats-registry", answers).abort_on_drop());
        }
    }

    async fn announce(&self, action: Action, record: &Record) -> Result<()> {
        let body = Message::write(action, Some(record))?;
        self.shared.nats.tell(WATCH, body).await
    }
}

impl Registry for NatsBroadcast {
    fn name(&self) -> &'static str {
        "nats-broadcast"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = check(record, ttl, &self.shared.limits)?;
            let expires = Some(clock::after(clock::now(), ttl));
            self.shared.own.put(node, record, expires, &self.shared.limits)?;
            self.respond();
            self.announce(Action::Create, record).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = own_node(record)?;
            // Another address means that a twin has taken the id since: it stays.
            let is_removed = self.shared.own.remove_if(&record.name, &node.id, |known| {
                known.nodes.iter().all(|known| known.address == node.address)
            });
            if is_removed { self.announce(Action::Delete, record).await } else { Ok(()) }
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let found = ask_all(&self.shared, Some(service)).await?;
            let records = Record::merge(found.into_values());
            Ok((!records.is_empty()).then_some(records))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let found = ask_all(&self.shared, None).await?;
            let mut services: Vec<_> = found.into_keys().map(|(service, _)| service).collect();
            services.dedup();
            Ok(services)
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(watch::watch(Arc::clone(&self.shared), service))
    }
}

impl fmt::Debug for NatsBroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroadcast").field("nats", &self.shared.nats).finish_non_exhaustive()
    }
}
