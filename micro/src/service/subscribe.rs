//! The subscriptions of a process, made again and again until the broker is there.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::broker::{Broker, Subscription};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::server::Subscribed;

/// The first and the longest pause between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What a process listens to; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Subscriptions that are still to be made.
    missing: AtomicUsize,
    /// `None` once the process takes no more events.
    made: Mutex<Option<Vec<Subscription>>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { missing: AtomicUsize::new(0), made: Mutex::new(Some(Vec::new())) }
    }
}

impl Subscriptions {
    /// Makes the subscriptions; returns when all are made or after `patience`, in which case the
    /// tries go on.
    ///
    /// # Errors
    /// What no further try would change, such as a pattern on a broker that knows none.
    pub(crate) async fn make(
        &self,
        broker: &Arc<dyn Broker>,
        wanted: Vec<Subscribed>,
        patience: Duration,
        tasks: &TaskTracker,
    ) -> Result<()> {
        self.inner.missing.fetch_add(wanted.len(), Ordering::AcqRel);
        let until = clock::after(clock::now(), patience);
        let start = |subscribed| {
            let (this, broker) = (self.clone(), Arc::clone(broker));
            tasks.spawn("subscribe", async move { this.one(&broker, subscribed).await })
        };
        let tries: Vec<TaskHandle<Result<()>>> = wanted.into_iter().map(start).collect();
        for one in tries {
            match clock::timeout_at(until, one).await {
                Ok(made) => made??,
                Err(_) => tracing::warn!("the broker is not there yet; serving and trying on"),
            }
        }
        Ok(())
    }

    async fn one(&self, broker: &Arc<dyn Broker>, subscribed: Subscribed) -> Result<()> {
        let (topic, options) = (subscribed.spec.topic, subscribed.options());
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        // Progress: each turn subscribes, fails for good, or waits.
        loop {
            let handler = Arc::clone(&subscribed.handler);
            match broker.subscribe(topic, options.clone(), handler).await {
                Ok(subscription) => {
                    // A process that stops took its subscriptions: a late one ends here.
                    if let Some(made) = &mut *self.lock() {
                        made.push(subscription);
                        self.inner.missing.fetch_sub(1, Ordering::AcqRel);
                    }
                    return Ok(());
                }
                Err(error) if error.retry() == Retry::Never => {
                    let error = named(topic, &error);
                    tracing::error!(topic, %error, "there will be no events of this topic");
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(topic, %error, "cannot subscribe yet");
                    clock::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Returns whether every subscription is made and alive.
    pub(crate) fn is_ready(&self) -> bool {
        self.inner.missing.load(Ordering::Acquire) == 0
            && self.lock().iter().flatten().all(Subscription::is_active)
    }

    /// Takes no more events and lets handlers finish until `deadline`; each subscription in a
    /// task of its own.
    pub(crate) fn drain(&self, deadline: Instant, tasks: &TaskTracker) -> Draining {
        let made = self.lock().take().unwrap_or_default();
        let drain = |subscription: Subscription| {
            tasks.spawn("drain subscription", async move { subscription.drain(deadline).await })
        };
        Draining(made.into_iter().map(drain).collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<Subscription>>> {
        self.inner.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(topic: &str, error: &Error) -> Error {
    let detail = format!("cannot subscribe to `{topic}`: {}", error.detail());
    Error::new(error.id().to_owned(), error.code(), detail)
}

/// Subscriptions that end.
#[derive(Debug)]
pub(crate) struct Draining(Vec<TaskHandle<Result<()>>>);

impl Draining {
    /// Waits for the end, at most until `patience` is over, and counts the subscriptions whose
    /// handlers were cut.
    pub(crate) async fn cut(self, patience: impl Future<Output = ()>) -> usize {
        let mut cut = 0;
        let mut patience = pin!(patience);
        let mut over = false;
        for mut one in self.0 {
            let ended = tokio::select! {
                biased;
                ended = &mut one => Some(ended),
                () = &mut patience, if !over => {
                    over = true;
                    None
                }
                () = std::future::ready(()), if over => None,
            };
            match ended {
                Some(Ok(Ok(()))) => {}
                Some(Err(error) | Ok(Err(error))) => {
                    tracing::warn!(%error, "event handlers were cut");
                    cut += 1;
                }
                None => cut += 1,
            }
        }
        cut
    }
}
