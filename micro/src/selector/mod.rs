//! Which node gets a call: balancing policies over the nodes of one service.
//!
//! The client keeps one [`LoadTable`] for each service and makes [`Candidates`] from it whenever
//! the registry's snapshot changes. For each try of a call it asks a [`Selector`] for an index,
//! then tells the chosen node's [`Load`] when the call starts and how it ends. Nodes that fail are
//! ejected for a while; what may be chosen at all is decided in one place,
//! [`Candidates::choose`], which every policy goes through.

mod candidates;
mod consistent_hash;
mod eligible;
pub mod filter;
mod least_connections;
mod load;
mod name;
mod near;
mod outlier;
mod p2c;
mod random;
mod round_robin;
mod seconds;
mod skew;
mod table;

#[cfg(test)]
mod fixture;

use std::fmt;
use std::sync::Arc;

use crate::core::clock::Instant;
use crate::registry::Instance;

pub use self::candidates::Candidate;
pub use self::candidates::Candidates;
pub use self::consistent_hash::ConsistentHash;
pub use self::consistent_hash::route_key;
pub use self::eligible::Eligible;
pub use self::least_connections::LeastConnections;
pub use self::load::Load;
pub use self::load::Outcome;
pub use self::name::by_name;
pub use self::near::Near;
pub use self::outlier::OutlierLimits;
pub use self::p2c::P2c;
pub use self::random::Random;
pub use self::round_robin::RoundRobin;
pub use self::table::LoadTable;

/// A policy that chooses a node for each call.
///
/// One value serves all services of a client, from many threads at once. What a policy has to
/// remember of a service or a node stands in [`Candidates`] and [`Load`].
pub trait Selector: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the policy, such as `p2c`.
    fn name(&self) -> &'static str;

    /// Chooses the index of a candidate, or `None` if the request rules out all of them.
    ///
    /// It is called once for each try of each call: it neither waits nor reads the clock. The
    /// index holds for these `candidates` only. A policy that chooses inside
    /// [`Candidates::choose`] never returns a node that failed this call, is filtered out, lacks
    /// the endpoint, drains or is ejected while there is a better one.
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize>;
}

/// What a policy may know of the call it chooses a node for.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Pick<'a> {
    /// The present instant, read by the caller once for a batch of calls.
    pub now: Instant,
    /// The wire name of the endpoint, such as `Greeter.Hello`.
    pub endpoint: &'a str,
    /// The routing key of the call, if it has one; see [`route_key`].
    pub key: Option<u64>,
    /// The nodes that failed this call before; compared by node id, so that they may come from an
    /// older snapshot.
    pub excluded: &'a [Arc<Instance>],
    /// Further demands on the node; `false` rules it out. It must be cheap and pure.
    pub filter: Option<&'a (dyn Fn(&Instance) -> bool + Send + Sync)>,
}

impl Pick<'_> {
    /// Makes a request without key, exclusions or filter.
    pub fn new(now: Instant, endpoint: &str) -> Pick<'_> {
        Pick { now, endpoint, key: None, excluded: &[], filter: None }
    }
}

impl fmt::Debug for Pick<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pick")
            .field("endpoint", &self.endpoint)
            .field("key", &self.key)
            .field("excluded", &self.excluded.len())
            .field("filter", &self.filter.is_some())
            .finish_non_exhaustive()
    }
}
