//! What becomes of a handler whose caller goes away.

/// What a server does with a handler when its caller disconnects or gives up.
///
/// An endpoint that is marked `#[handler(detached)]` is detached either way. A detached handler
/// runs to its end, also past the deadline of its call; it may ask
/// [`Context::is_cancelled`](crate::core::context::Context::is_cancelled). A graceful stop waits
/// for it as for any call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// Drops the handler at its next await.
    #[default]
    Dropped,
    /// Lets the handler run to its end.
    Detached,
}
