//! Code of the program that runs at the turns of its life.

use std::fmt;
use std::future::Future;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::service::running::Running;
use crate::service::wiring::Wiring;

/// Runs before the process serves.
pub(crate) type Before = Box<dyn FnOnce(Wiring) -> BoxFuture<'static, Result<()>> + Send>;

/// Runs while the process serves.
pub(crate) type While = Box<dyn FnOnce(Running) -> BoxFuture<'static, Result<()>> + Send>;

/// Runs when nothing is served any more.
pub(crate) type After = Box<dyn FnOnce() -> BoxFuture<'static, Result<()>> + Send>;

/// The hooks of a service, each list in the order of its making.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) before_start: Vec<Before>,
    pub(crate) after_start: Vec<While>,
    pub(crate) before_stop: Vec<While>,
    pub(crate) after_stop: Vec<After>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("before_start", &self.before_start.len())
            .field("after_start", &self.after_start.len())
            .field("before_stop", &self.before_stop.len())
            .field("after_stop", &self.after_stop.len())
            .finish()
    }
}

/// Boxes a hook that takes an argument.
pub(crate) fn boxed<A, F, U>(hook: F) -> Box<dyn FnOnce(A) -> BoxFuture<'static, Result<()>> + Send>
where
    F: FnOnce(A) -> U + Send + 'static,
    U: Future<Output = Result<()>> + Send + 'static,
{
    Box::new(move |argument| Box::pin(hook(argument)))
}
