//! What other processes bring to a broker through the port of this one.

use std::fmt;

use bytes::Bytes;

use crate::core::error::Result;
use crate::core::stream::BoxSource;
use crate::core::stream::RawStream;

/// The service under which subscriptions are registered, as go-micro names it.
pub const INBOX_SERVICE: &str = "micro.http.broker";

/// The endpoint of [`Inbox::link`].
pub const INBOX_ENDPOINT: &str = "Broker.Deliver";

/// The metadata key of a call of [`INBOX_ENDPOINT`] that names the node.
pub const INBOX_NODE: &str = "micro-node";

/// The receiving end of a broker that has no server of its own.
///
/// The process mounts it on its port; a subscription is a node of [`INBOX_SERVICE`].
pub trait Inbox: fmt::Debug + Send + Sync + 'static {
    /// Says where peers reach the process, before the first subscription; `is_http` if HTTP is
    /// spoken there too.
    fn reached_at(&self, address: &str, is_http: bool);

    /// Takes the copies that one publisher has for a node; the answers tell what becomes of each.
    ///
    /// The stream of answers ends when the publisher's has ended, or the subscription, and every
    /// copy is settled.
    ///
    /// # Errors
    ///
    /// 404 when there is no such node.
    fn link(&self, node: &str, copies: RawStream) -> Result<BoxSource>;

    /// Takes one message for a node, as go-micro posts it.
    ///
    /// # Errors
    ///
    /// 400 for what is no message, 404 when there is no such node, 429 when it has no room.
    fn post(&self, node: &str, document: &Bytes) -> Result<()>;

    /// Leaves the registry and takes no further copies of other processes; what was taken is worked
    /// off, and what waits for another delivery is given back.
    fn leave(&self);
}
