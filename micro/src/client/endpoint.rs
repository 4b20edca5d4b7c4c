//! An endpoint as callers hold it: resolved once, called often.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::client::target::Target;
use crate::core::exchange::Route;

/// An endpoint of a service, with the client through which it is called.
pub(super) struct Endpoint {
    pub(super) client: Client,
    pub(super) route: Arc<Route>,
    pub(super) target: Arc<Target>,
    pub(super) idempotent: bool,
    pub(super) timeout: Option<Duration>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("route", &self.route).finish_non_exhaustive()
    }
}
