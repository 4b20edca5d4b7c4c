//! What a single call may ask for beyond its defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::error::Error;
use crate::core::metadata::Metadata;
use crate::core::net::Address;
use crate::registry::Instance;

/// A demand on the node of a call.
pub type Filter = Arc<dyn Fn(&Instance) -> bool + Send + Sync>;

/// The options of one call; absent from a plain one.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) try_timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) hedge: Option<Duration>,
    pub(super) metadata: Metadata,
    /// Transport headers, which the policy of a server sees and no handler.
    pub(super) headers: Metadata,
    pub(super) to: Option<Address>,
    pub(super) filter: Option<Filter>,
    pub(super) key: Option<u64>,
    pub(super) idempotent: bool,
    /// Whether the deadline holds for the whole of a stream of responses.
    pub(super) bounded: bool,
    /// The first option that was not valid; the call fails with it.
    pub(super) error: Option<Error>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
