//! Calls at a steady rate, whatever the answers take.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use micro::Result;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Calls that run at a time; further ones are late instead.
const TOGETHER: usize = 64;

/// Errors that are kept to be shown.
const ERRORS_KEPT: usize = 5;

/// What became of the calls so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers by the node that gave them.
    pub(crate) served: BTreeMap<String, usize>,
    pub(crate) failed: usize,
    /// The first failures.
    pub(crate) errors: Vec<String>,
}

impl Tally {
    pub(crate) fn answers(&self) -> usize {
        self.served.values().sum()
    }

    pub(crate) fn by(&self, node: &str) -> usize {
        self.served.get(node).copied().unwrap_or_default()
    }

    fn add(&mut self, answer: Result<String>) {
        match answer {
            Ok(node) => *self.served.entry(node).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                if self.errors.len() < ERRORS_KEPT {
                    self.errors.push(format!("{} {:?} {error}", error.code(), error.retry()));
                }
            }
        }
    }
}

/// A load that runs until it is ended.
pub(crate) struct Load {
    tally: watch::Sender<Tally>,
    ended: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts to call `rate` times a second; each call gets its number and returns the name of the node that served it.
    pub(crate) fn start<F, C>(rate: u32, call: F) -> Self
    where
        F: Fn(u64) -> C + Send + 'static,
        C: Future<Output = Result<String>> + Send + 'static,
    {
        let (tally, ended) = (watch::Sender::new(Tally::default()), Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(run((rate, call), tally.clone(), Arc::clone(&ended)));
        Self { tally, ended, tasks }
    }

    /// Waits until the tally satisfies a condition.
    pub(crate) async fn until(&self, what: &str, holds: impl FnMut(&Tally) -> bool) {
        let mut tally = self.tally.subscribe();
        let wait = tokio::time::timeout(super::PATIENCE, tally.wait_for(holds));
        let held = wait.await.is_ok();
        assert!(held, "never happened: {what}: {:?}", self.tally.borrow());
    }

    /// Waits until a number of answers more have come.
    pub(crate) async fn answers(&self, more: usize) {
        let target = self.tally.borrow().answers() + more;
        self.until("further answers", |tally| tally.answers() >= target).await;
    }

    /// Starts no more calls, waits for those that run and returns what became of all.
    pub(crate) async fn end(mut self) -> Tally {
        self.ended.store(true, Ordering::SeqCst);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        self.tally.borrow().clone()
    }
}

async fn run<F, C>((rate, call): (u32, F), tally: watch::Sender<Tally>, ended: Arc<AtomicBool>)
where
    F: Fn(u64) -> C,
    C: Future<Output = Result<String>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(TOGETHER));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    // Calls that a busy machine missed are made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    let mut number = 0;
    while !ended.load(Ordering::SeqCst) {
        ticks.tick().await;
        let turn = Arc::clone(&room).acquire_owned().await.unwrap();
        let (call, tally) = (call(number), tally.clone());
        number += 1;
        calls.spawn(async move {
            let answer = call.await;
            tally.send_modify(|tally| tally.add(answer));
            drop(turn);
        });
        while let Some(done) = calls.try_join_next() {
            done.unwrap();
        }
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}
