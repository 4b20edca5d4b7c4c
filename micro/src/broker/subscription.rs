//! The handle of a subscription.

use std::fmt;
use std::sync::Arc;

use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// What a backend does to a subscription of its own.
pub trait Control: Send + Sync + 'static {
    /// Takes no further messages, lets deliveries finish until `deadline`, then ends.
    ///
    /// If handlers had to be cut, it ends all the same and the error (408) counts them; their
    /// messages are delivered again where the backend keeps them.
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>>;

    /// Ends at once: handlers are dropped at their next await.
    fn stop(&self);

    /// Returns whether messages still arrive.
    fn is_active(&self) -> bool;
}

/// A subscription; dropping it ends it at once, as [`close`](Self::close) does.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    topic: String,
    control: Arc<dyn Control>,
}

impl Subscription {
    /// Makes the handle, for a backend.
    pub fn new(topic: impl Into<String>, control: Arc<dyn Control>) -> Self {
        Self { topic: topic.into(), control }
    }

    /// Returns the topic or pattern.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns whether messages still arrive: the subscription may have ended by
    /// [`Overflow::Disconnect`](super::Overflow::Disconnect) or with its broker.
    pub fn is_active(&self) -> bool {
        self.control.is_active()
    }

    /// Takes no further messages, lets deliveries finish until `deadline`, then ends.
    ///
    /// Dropping the future ends the subscription at once.
    ///
    /// # Errors
    ///
    /// If handlers had to be cut, it ends all the same and a 408 counts them.
    pub async fn drain(self, deadline: Instant) -> Result<()> {
        self.control.drain(deadline).await
    }

    /// Ends at once: handlers are dropped at their next await and their messages delivered to
    /// another member of the group, if there is one.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.control.stop();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .field("active", &self.is_active())
            .finish_non_exhaustive()
    }
}
