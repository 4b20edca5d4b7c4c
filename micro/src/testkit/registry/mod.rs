//! What every registry promises, as claims that a backend passes or fails by name.
//!
//! ```
//! # use std::sync::Arc;
//! # use micro::registry::Memory;
//! # use micro::testkit::registry::{Subject, conformance};
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! conformance(async || {
//!     let registry = Memory::new();
//!     Subject::new(Arc::new(registry.clone()), Arc::new(registry))
//! })
//! .await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rules of discovery
//!
//! Each has a test of its name where it is kept, beside the claims here that every backend has to
//! pass.
//!
//! | rule | demand | here |
//! |---|---|---|
//! | R1 | what is registered follows from readiness alone | not for all: a lease does it |
//! | R2 | a watch tells whole batches, and says when it lost something | `a_watch_delivers_whole_batches`, `nothing_falls_between_a_lookup_and_a_watch` |
//! | R3 | a service that fails holds up no other; a snapshot never changes | not for all: the cache does it |
//! | R4 | a node that left is called no more at once | `deregistering_a_node_leaves_the_others` |
//! | R5 | policies keep their state between picks | not for all: a matter of selectors |
//! | R6 | callers of a service share one watch | not for all: the cache does it |
//! | R7 | names never run together | `names_are_not_confused`, which is its test |
//! | R8 | a ghost does not remove its restarted twin | `a_ghost_does_not_remove_its_restarted_twin` |
//! | R9 | staleness is declared | `Capabilities::propagation` |
//! | R10 | stale reads are marked | no subject: no backend here reads from followers |
//! | R11 | heartbeats do not come together, callers keep to a part of many nodes | not for all: a lease and selectors do it |
//! | R12 | an empty answer, an error and nothing known are three things | `what_nobody_serves_is_nothing_and_no_error` |
//! | R13 | a node that joins is not flooded | not for all: a matter of selectors |
//! | R14 | ejection ends where half are ejected | not for all: a matter of selectors |
//! | R15 | repetitions have a budget | not for all: a matter of clients |
//! | R16 | nodes without the endpoint are passed over | not for all: a matter of selectors |
//! | R17 | one node more or less moves few keys | not for all: a matter of selectors |
//! | R18 | what nobody could reach is not registered | `what_nobody_could_use_is_refused` |

mod claims;
mod follower;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::registry::Node;
use crate::registry::Record;
use crate::registry::Registry;

pub use self::claims::CLAIMS;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// A backend to be examined, empty, and to itself.
///
/// Two handles stand for two processes that share a registry. Where somebody else writes what the
/// backend reads, the first handle is that writer, in the form of a registry, and the second one
/// the backend.
#[derive(Debug)]
pub struct Subject {
    /// The handle of the first process.
    pub one: Arc<dyn Registry>,
    /// The handle of the second process; may be a clone of the first.
    pub two: Arc<dyn Registry>,
    /// A time to live that the backend can keep, as short as it is still reliable.
    pub ttl: Duration,
    /// How long the backend may take at most until a change is visible everywhere, slow machines
    /// included: what is not seen by then fails.
    pub patience: Duration,
    /// Whatever the backend needs as long as it is examined, such as a directory or a server.
    pub keep: Option<Box<dyn Guard>>,
    /// What the records of the second handle tell of what was written.
    pub tells: Tells,
    /// Whether the names of all services can be asked for; otherwise [`Registry::list`] and a
    /// watch of all services return `Unsupported` (501).
    pub lists: bool,
}

/// What a backend tells of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tells {
    /// All of it.
    Records,
    /// The addresses of its nodes, for services whose names are labels of DNS, without regard to
    /// case.
    Addresses,
}

/// Anything that lives as long as a [`Subject`].
pub trait Guard: Any + fmt::Debug + Send + Sync {}

impl<T: Any + fmt::Debug + Send + Sync> Guard for T {}

impl Subject {
    /// Makes a subject with a time to live of 15 s and a patience of a minute, as fits backends in
    /// virtual time.
    pub fn new(one: Arc<dyn Registry>, two: Arc<dyn Registry>) -> Self {
        let (ttl, patience) = (Duration::from_secs(15), Duration::from_secs(60));
        let (tells, lists) = (Tells::Records, true);
        Self { one, two, ttl, patience, keep: None, tells, lists }
    }

    /// Replaces the time to live.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Keeps something alive as long as the subject.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Guard) -> Self {
        self.keep = Some(Box::new(guard));
        self
    }

    /// Says that the second handle tells addresses and nothing else.
    #[must_use]
    pub fn telling_addresses(mut self) -> Self {
        self.tells = Tells::Addresses;
        self
    }

    /// Says that nobody can ask for the names of all services.
    #[must_use]
    pub fn without_list(mut self) -> Self {
        self.lists = false;
        self
    }

    /// Returns whether the second handle found what was written, as far as it can tell.
    fn found(&self, seen: &[Record], written: &[Record]) -> bool {
        match self.tells {
            Tells::Records => seen == written,
            Tells::Addresses => addresses(seen) == addresses(written),
        }
    }

    fn found_one(&self, seen: &[Record], written: &Record) -> bool {
        self.found(seen, std::slice::from_ref(written))
    }

    /// Returns the second handle, or the first one where the second cannot register.
    fn writer(&self) -> &Arc<dyn Registry> {
        if self.two.capabilities().register { &self.two } else { &self.one }
    }

    /// Returns whether nodes that are not renewed disappear for all readers.
    fn expires(&self) -> bool {
        self.one.capabilities().ttl && self.two.capabilities().ttl
    }

    /// Returns a time to live that no claim outlasts.
    fn long(&self) -> Duration {
        self.ttl.saturating_mul(1000)
    }
}

/// A named promise of the trait.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The promise as a sentence without spaces.
    pub name: &'static str,
    /// Whether there is nothing to see without a registration.
    registers: bool,
    check: for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>,
}

impl Claim {
    /// Examines a fresh subject.
    ///
    /// A subject of which neither handle can register passes what needs it unseen.
    ///
    /// # Errors
    ///
    /// Says what was seen instead of what was promised.
    pub async fn examine(&self, subject: &Subject) -> Verdict {
        if self.registers && !subject.one.capabilities().register {
            return Ok(());
        }
        (self.check)(subject).await
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.name).finish()
    }
}

/// The claims that a backend failed, each with what was seen.
#[derive(Debug)]
pub struct Failures(Vec<(&'static str, String)>);

impl Failures {
    /// Returns the names of the claims that failed.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|failure| failure.0)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} claims fail", self.0.len(), CLAIMS.len())?;
        for (name, why) in &self.0 {
            write!(f, "\n  {name}: {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

/// Examines all claims, each on a subject of its own from `make`.
///
/// # Errors
///
/// Lists the claims that failed.
pub async fn conformance(make: impl AsyncFn() -> Subject) -> Result<(), Failures> {
    let mut failures = Vec::new();
    for claim in CLAIMS {
        if let Err(why) = claim.examine(&make().await).await {
            failures.push((claim.name, why));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// Returns the record of a node on this machine.
fn record(service: &str, id: &str, port: u16) -> Record {
    let address = format!("127.0.0.1:{port}");
    let node = Node { id: id.to_owned(), address, ..Node::default() };
    let (name, version) = (service.to_owned(), "1.0.0".to_owned());
    Record { name, version, nodes: vec![node], ..Record::default() }
}

/// Asks until the records of a service satisfy `wanted`.
async fn eventually(
    subject: &Subject,
    service: &str,
    wanted: impl Fn(&[Record]) -> bool,
) -> Verdict {
    let deadline = clock::after(clock::now(), subject.patience);
    loop {
        let found = subject.two.lookup(service).await;
        let seen = match &found {
            Ok(records) if wanted(records.as_deref().unwrap_or_default()) => return Ok(()),
            seen => format!("{seen:?}"),
        };
        if clock::now() >= deadline {
            return Err(format!("{service} never became what was registered, last seen {seen}"));
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the addresses of the nodes of records, sorted.
fn addresses(records: &[Record]) -> Vec<&str> {
    let nodes = records.iter().flat_map(|record| &record.nodes);
    let mut addresses: Vec<&str> = nodes.map(|node| node.address.as_str()).collect();
    addresses.sort_unstable();
    addresses
}

/// Turns an error of the backend into a failure that says what was tried.
fn must<T>(what: &str, result: crate::core::error::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error}"))
}

/// Fails with `why` unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
