//! One subscription: its tasks and its end.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::broker::subscription::Control;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::shutdown::{Shutdown, TaskHandle};

const ID: &str = "micro.broker";

/// A subscription, whose tasks follow its life: while it drains they take nothing more, and when
/// it closes they end.
#[derive(Debug)]
pub(super) struct Member {
    topic: String,
    life: Shutdown,
    /// Handle deliveries.
    workers: Mutex<Vec<TaskHandle>>,
    /// Brings them, and ends after them.
    intake: Mutex<Option<TaskHandle>>,
    /// How long a cut handler may take to yield.
    patience: Duration,
}

impl Member {
    pub(super) fn new(
        topic: &str,
        life: Shutdown,
        workers: Vec<TaskHandle>,
        intake: TaskHandle,
        patience: Duration,
    ) -> Arc<Self> {
        let (workers, intake) = (Mutex::new(workers), Mutex::new(Some(intake)));
        Arc::new(Self { topic: topic.to_owned(), life, workers, intake, patience })
    }

    pub(super) fn stop_fetching(&self) {
        self.life.drain();
    }

    /// Waits for the workers until `deadline`, cuts the others, and returns how many were cut.
    pub(super) async fn finish(&self, deadline: Instant) -> usize {
        self.stop_fetching();
        let workers = std::mem::take(&mut *lock(&self.workers));
        let mut late = Vec::new();
        for mut worker in workers {
            if clock::timeout_at(deadline, &mut worker).await.is_err() {
                late.push(worker);
            }
        }
        self.life.close();
        let cut = late.len();
        let patience = clock::after(clock::now(), self.patience);
        let intake = lock(&self.intake).take();
        for task in late.into_iter().chain(intake) {
            if clock::timeout_at(patience, task).await.is_err() {
                tracing::warn!(topic = self.topic, "a cut subscriber does not yield");
            }
        }
        cut
    }
}

impl Control for Member {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.finish(deadline).await {
                0 => Ok(()),
                cut => {
                    let text = format!("drain of {}: {cut} subscribers cut", self.topic);
                    Err(Error::timeout(ID, text))
                }
            }
        })
    }

    fn stop(&self) {
        self.life.close();
    }

    fn is_active(&self) -> bool {
        !self.life.is_draining()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.life.close();
    }
}

/// The subscriptions of a broker, and whether it is open.
#[derive(Debug)]
pub(super) struct Members {
    most: usize,
    is_closed: AtomicBool,
    live: Mutex<HashMap<u64, Option<Weak<Member>>>>,
}

/// A place among the subscriptions of a broker; it is given back when this is dropped, unless a
/// subscription has taken it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    members: &'a Members,
    number: u64,
}

impl Members {
    pub(super) fn new(most: usize) -> Self {
        Self { most, is_closed: AtomicBool::new(false), live: Mutex::default() }
    }

    /// Checks that the broker is open.
    ///
    /// # Errors
    /// 503, safe to retry elsewhere; `what` says what was asked for.
    pub(super) fn check_open(&self, what: &str) -> Result<()> {
        if !self.is_closed.load(SeqCst) {
            return Ok(());
        }
        let error = Error::unavailable(ID, format!("{what}: the broker is closed"));
        Err(error.with_retry(Retry::Safe))
    }

    /// Reserves a place for a subscription.
    ///
    /// # Errors
    /// 429 if there are as many as may be, 503 if the broker is closed.
    pub(super) fn place(&self, topic: &str) -> Result<Place<'_>> {
        let mut live = lock(&self.live);
        self.check_open(&format!("subscribe to {topic}"))?;
        live.retain(|_, member| {
            let gone = |member: &Weak<Member>| {
                member.upgrade().is_none_or(|member| member.life.is_closed())
            };
            !member.as_ref().is_some_and(gone)
        });
        if live.len() >= self.most {
            let text = format!("subscribe to {topic}: there are {} subscriptions", self.most);
            return Err(Error::too_many_requests(ID, text));
        }
        let number = live.keys().max().map_or(0, |most| most + 1);
        live.insert(number, None);
        Ok(Place { members: self, number })
    }

    /// Lets all subscriptions finish until `deadline`, then closes, and returns how many handlers
    /// were cut.
    pub(super) async fn close(&self, deadline: Instant) -> usize {
        let members = self.all();
        members.iter().for_each(|member| member.stop_fetching());
        let mut cut = 0;
        for member in members {
            cut += member.finish(deadline).await;
        }
        self.is_closed.store(true, SeqCst);
        // Those that were made meanwhile.
        for member in self.all() {
            cut += member.finish(deadline).await;
        }
        cut
    }

    fn all(&self) -> Vec<Arc<Member>> {
        lock(&self.live).values().flatten().filter_map(Weak::upgrade).collect()
    }
}

impl Place<'_> {
    /// Gives the place to a subscription.
    pub(super) fn take(self, member: &Arc<Member>) {
        let mut live = lock(&self.members.live);
        if let Some(place) = live.get_mut(&self.number) {
            *place = Some(Arc::downgrade(member));
        }
        drop(live);
        // A broker that was closed meanwhile has not seen this one.
        if self.members.is_closed.load(SeqCst) {
            member.life.close();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut live = lock(&self.members.live);
        if live.get(&self.number).is_some_and(Option::is_none) {
            live.remove(&self.number);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the state whole, so a poisoned lock is still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::shutdown::TaskTracker;

    fn member(tasks: &TaskTracker) -> Arc<Member> {
        let life = Shutdown::new();
        let intake = tasks.spawn("intake", std::future::ready(()));
        Member::new("t", life, Vec::new(), intake, Duration::ZERO)
    }

    #[tokio::test]
    async fn places_are_bounded_and_given_back() {
        let (members, tasks) = (Members::new(2), TaskTracker::new());
        let first = member(&tasks);
        members.place("t").unwrap().take(&first);
        let second = members.place("t").unwrap();
        assert_eq!(members.place("t").unwrap_err().code(), 429);
        drop(second);
        let second = members.place("t").unwrap();
        first.stop();
        members.place("t").unwrap();
        drop(second);
        assert_eq!(members.close(clock::now()).await, 0);
        assert_eq!(members.place("t").unwrap_err().code(), 503);
    }
}
