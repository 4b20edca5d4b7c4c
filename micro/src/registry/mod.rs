//! Who serves what, and where: registration with leases, lookup, listing and watching.
//!
//! Records have go-micro's JSON shape, so that services of both worlds share a registry. A record
//! handed to [`Registry::register`] holds exactly one node, the caller's own.

mod record;

use std::fmt;
use std::time::Duration;

use crate::core::error::Result;
use crate::core::future::BoxFuture;

pub use self::record::{Endpoint, Instance, Node, Record, Snapshot, Value};

/// A backend that keeps the records of services.
///
/// Every method may be repeated. A method that fails with `Retry::Unknown` may have taken effect;
/// repeating it is always right, because each states a fact rather than a change.
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `local`.
    fn name(&self) -> &'static str;

    /// Returns what the backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Creates or renews the lease of the record's single node.
    ///
    /// The node disappears from lookups when it is not renewed within `ttl`.
    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>>;

    /// Removes the record's single node; an absent node is not an error.
    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>>;

    /// Returns the records of a service, one for each version, or `None` if nothing serves it.
    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>>;

    /// Returns the sorted names of all services.
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Watches one service, or all of them.
    ///
    /// The first event is always [`Event::Reset`] with the state at the start, so that nothing
    /// falls between a lookup and the watch.
    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>>;
}

/// What a registry backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Nodes that are not renewed disappear.
    pub ttl: bool,
    /// [`Registry::watch`] works; otherwise it returns `Unsupported` (501).
    pub watch: bool,
    /// [`Registry::register`] works; a static file has it not.
    pub register: bool,
    /// How long a change takes to reach every reader: the time a draining node keeps serving.
    pub propagation: Duration,
}

/// A change seen by a watcher.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A node appeared or changed; the record holds just that node.
    Update(Record),
    /// A node went away.
    Remove {
        /// The name of the service.
        service: String,
        /// The id of the node.
        node: String,
    },
    /// The whole state of what is watched: at the start, and after a gap.
    Reset(Vec<Record>),
}

/// A stream of changes in order, without loss between two [`Event::Reset`]s.
///
/// Dropping it ends the watch. `None` means that the backend ended it; watch again.
pub struct Watch {
    events: tokio::sync::mpsc::Receiver<Event>,
    /// Whatever keeps the source alive; dropped with the watch.
    _source: Box<dyn std::any::Any + Send + Sync>,
}

impl Watch {
    /// Makes a watch that reads from `events` and drops `source` when it is dropped.
    pub fn new(
        events: tokio::sync::mpsc::Receiver<Event>,
        source: impl std::any::Any + Send + Sync,
    ) -> Self {
        Self { events, _source: Box::new(source) }
    }

    /// Waits for the next change; cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
