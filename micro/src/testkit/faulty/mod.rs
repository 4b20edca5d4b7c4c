//! A backend that fails, is late or is away when it is told to, for tests of what others do then.
//!
//! Nothing happens by chance: calls fail in the order in which they come, and what was asked for
//! holds until it is used up or taken back.

mod broker;
mod registry;
mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};

/// A registry, store or broker around another one, with faults; clones share both.
///
/// A call that fails is a 503 with [`Retry::Safe`] and does not reach the backend behind: it did
/// nothing. Calls that are under way when something is asked for are not touched by it. `name`,
/// `capabilities`, `close` and a broker's inbox are always those of the backend.
///
/// ```
/// use micro::registry::{Memory, Registry};
/// use micro::testkit::Faulty;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let registry = Faulty::new(Memory::new());
///
/// registry.fail_next(1);
/// assert_eq!(registry.list().await.unwrap_err().code(), 503);
/// assert!(registry.list().await?.is_empty());
///
/// let mut watch = registry.watch(None).await?;
/// assert!(watch.next().await.is_some());
/// registry.down();
/// assert!(watch.next().await.is_none());
/// assert_eq!(registry.lookup("shop").await.unwrap_err().code(), 503);
/// registry.up();
/// assert!(registry.lookup("shop").await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<B> {
    inner: Arc<B>,
    script: Arc<Script>,
}

/// What is to happen.
#[derive(Debug)]
struct Script {
    plan: Mutex<Plan>,
    /// Counts the times that the backend went away; watches end at each.
    outages: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Plan {
    failing: u32,
    delay: Duration,
    is_down: bool,
    asked: u64,
}

impl<B> Clone for Faulty<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), script: Arc::clone(&self.script) }
    }
}

impl<B> Faulty<B> {
    /// Puts a backend behind faults, of which there are none yet.
    pub fn new(inner: B) -> Self {
        let script = Script { plan: Mutex::default(), outages: watch::Sender::new(0) };
        Self { inner: Arc::new(inner), script: Arc::new(script) }
    }

    /// Returns the backend itself, which has no faults.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Fails so many of the calls that follow, in the place of those that were still to fail.
    ///
    /// Calls that fail because the backend is away are not among them.
    pub fn fail_next(&self, calls: u32) {
        self.plan().failing = calls;
    }

    /// Answers every call that follows by so much later; [`Duration::ZERO`] ends that.
    ///
    /// The time passes before the call reaches the backend. Whether a call fails is settled when it
    /// is made.
    pub fn delay(&self, delay: Duration) {
        self.plan().delay = delay;
    }

    /// Goes away: every call fails and every watch ends, until [`Faulty::up`].
    ///
    /// A watch ends even if the backend is back before somebody reads from it.
    pub fn down(&self) {
        self.plan().is_down = true;
        self.script.outages.send_modify(|outages| *outages += 1);
    }

    /// Comes back, with all that the backend had.
    pub fn up(&self) {
        self.plan().is_down = false;
    }

    /// Returns how many calls there were, failed ones included.
    pub fn asked(&self) -> u64 {
        self.plan().asked
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        self.script.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and lets it through, late or not at all where that was asked for.
    async fn pass(&self, call: &str) -> Result<()> {
        let (delay, fails) = self.next();
        if !delay.is_zero() {
            clock::sleep(delay).await;
        }
        if fails {
            let detail = format!("{call}: the backend was told to fail; nothing was done");
            return Err(Error::unavailable("micro.testkit", detail).with_retry(Retry::Safe));
        }
        Ok(())
    }

    fn next(&self) -> (Duration, bool) {
        let mut plan = self.plan();
        plan.asked += 1;
        if plan.is_down || plan.failing == 0 {
            return (plan.delay, plan.is_down);
        }
        plan.failing -= 1;
        (plan.delay, true)
    }
}
