//! The default recorder: rings in memory.
//!
//! Durability: none. Limits: as many records and spans as it was made for, each of bounded size;
//! the oldest is overwritten. Failure behaviour: a reader that falls behind is told how many
//! records it missed. Not supported: what was overwritten.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::limits::DebugLimits;
use crate::core::stream::Streaming;
use crate::debug::record::{Level, LogQuery, Record};
use crate::debug::ring::Ring;
use crate::debug::span::{Span, SpanQuery};
use crate::debug::text::plain;
use crate::debug::{Capabilities, ERROR_ID, Recorder};

/// Records that a follower takes out of the ring at a time.
const BATCH: usize = 128;

/// Keeps the latest log records and spans in memory; clones share them.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

struct Inner {
    logs: Mutex<Ring<Record>>,
    spans: Mutex<Ring<Span>>,
    logged: Notify,
    followers: AtomicUsize,
    limits: DebugLimits,
}

impl Memory {
    /// Makes empty rings of the default sizes.
    pub fn new() -> Self {
        Self::with_limits(DebugLimits::DEFAULT)
    }

    /// Makes empty rings that hold as much as the limits say.
    pub fn with_limits(limits: DebugLimits) -> Self {
        let inner = Inner {
            logs: Mutex::new(Ring::new(limits.logs_max)),
            spans: Mutex::new(Ring::new(limits.spans_max)),
            logged: Notify::new(),
            followers: AtomicUsize::new(0),
            limits,
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Cuts a record to its bounds and takes out of it what acts on a terminal.
    fn bounded(&self, mut record: Record) -> Record {
        let max = self.limits.log_bytes_max;
        record.message = plain(&record.message, max);
        record.target = plain(&record.target, max);
        record.trace = record.trace.map(|trace| plain(&trace, max));
        let mut room = max;
        let mut metadata = std::mem::take(&mut record.metadata);
        metadata.retain(|key, value| {
            *value = plain(value, room.saturating_sub(key.len()));
            let fits = key.len() <= room;
            room = room.saturating_sub(key.len() + value.len());
            fits
        });
        record.metadata = metadata;
        record
    }

    fn find(&self, query: &LogQuery) -> (Vec<Record>, u64) {
        let logs = lock(&self.logs);
        let count = if query.count == 0 { usize::MAX } else { query.count };
        let fitting = logs.iter().rev().filter(|record| query.fits(record)).take(count);
        let found: Vec<_> = fitting.cloned().collect();
        let next = logs.next();
        drop(logs);
        (found.iter().rev().map(|record| Record::clone(record)).collect(), next)
    }
}

impl Recorder for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            logs: true,
            follow: true,
            spans: true,
            logs_kept: self.inner.limits.logs_max,
            spans_kept: self.inner.limits.spans_max,
        }
    }

    fn log(&self, record: Record) {
        let mut record = self.inner.bounded(record);
        let mut logs = lock(&self.inner.logs);
        record.seq = logs.next();
        let oldest = logs.push(record);
        drop(logs);
        drop(oldest);
        self.inner.logged.notify_waiters();
    }

    fn span(&self, span: Span) {
        let oldest = lock(&self.inner.spans).push(span);
        drop(oldest);
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<Vec<Record>>> {
        Box::pin(std::future::ready(Ok(self.inner.find(query).0)))
    }

    fn follow(&self, query: &LogQuery) -> Result<Streaming<Record>> {
        let follower = Follower::begin(&self.inner, query)?;
        Ok(Streaming::unfold(follower, |mut follower| async move {
            Some((Ok(follower.next().await), follower))
        }))
    }

    fn spans<'a>(&'a self, query: &'a SpanQuery) -> BoxFuture<'a, Result<Vec<Span>>> {
        let count = if query.count == 0 { usize::MAX } else { query.count };
        let spans = lock(&self.inner.spans);
        let fitting = spans.iter().rev().filter(|span| query.fits(span)).take(count);
        let found: Vec<_> = fitting.cloned().collect();
        drop(spans);
        let found = found.iter().rev().map(|span| Span::clone(span)).collect();
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// A reader of the log that remembers how far it is.
struct Follower {
    inner: Arc<Inner>,
    query: LogQuery,
    /// The number of the next record to read.
    next: u64,
    ready: VecDeque<Record>,
}

impl Follower {
    fn begin(inner: &Arc<Inner>, query: &LogQuery) -> Result<Self> {
        let max = inner.limits.followers_max;
        let room = |followers| (followers < max).then_some(followers + 1);
        let place = inner.followers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        if place.is_err() {
            let detail = format!("{max} follow the log, as many as may");
            return Err(Error::too_many_requests(ERROR_ID, detail));
        }
        let mut follower = Self {
            inner: Arc::clone(inner),
            query: query.clone(),
            next: 0,
            ready: VecDeque::new(),
        };
        let (found, next) = inner.find(query);
        follower.ready.extend(found);
        follower.next = next;
        Ok(follower)
    }

    async fn next(&mut self) -> Record {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return record;
            }
            let inner = Arc::clone(&self.inner);
            let mut logged = pin!(inner.logged.notified());
            // Enabled before the ring is read, so that what comes after the read is not missed.
            logged.as_mut().enable();
            if !self.read() {
                logged.await;
            }
        }
    }

    /// Reads what has come; `false` if nothing has.
    fn read(&mut self) -> bool {
        let (records, missed) = lock(&self.inner.logs).since(self.next, BATCH);
        let read = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.next += missed + read;
        if missed > 0 {
            let message = format!("{missed} records were overwritten before they were read");
            self.ready.push_back(Record::new(ERROR_ID, message).with_level(Level::Warn));
        }
        let fitting = records.iter().filter(|record| self.query.fits(record));
        self.ready.extend(fitting.map(|record| Record::clone(record)));
        read > 0 || missed > 0
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.inner.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(change: impl FnOnce(&mut DebugLimits)) -> Memory {
        let mut limits = DebugLimits::default();
        change(&mut limits);
        Memory::with_limits(limits)
    }

    #[test]
    fn followers_are_bounded_and_their_places_come_back() {
        let memory = memory(|limits| limits.followers_max = 2);
        let query = LogQuery::default();
        let first = memory.follow(&query).unwrap();
        let _second = memory.follow(&query).unwrap();
        for _ in 0..20 {
            assert_eq!(memory.follow(&query).unwrap_err().code(), 429);
        }
        drop(first);
        assert!(memory.follow(&query).is_ok());
    }

    #[tokio::test]
    async fn a_record_is_bounded_at_the_limit_above_it_and_far_above_it() {
        let memory = memory(|limits| limits.log_bytes_max = 100);
        for (length, kept) in [(100, 100), (101, 100), (1000, 100)] {
            let mut record = Record::new("t", "x".repeat(length));
            for n in 0..length {
                record = record.with(format!("key {n}"), "v".repeat(length));
            }
            memory.log(record);
            let seen = memory.logs(&LogQuery::last(1)).await.unwrap().remove(0);
            assert_eq!(seen.message.len(), kept);
            let bytes: usize = seen.metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
            assert!(bytes <= 100, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_follower_that_falls_behind_is_told_what_it_missed() {
        let memory = memory(|limits| limits.logs_max = 3);
        let mut follow = memory.follow(&LogQuery::default()).unwrap();
        for n in 1..=10 {
            memory.log(Record::new("t", n.to_string()));
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(follow.next().await.unwrap().unwrap().message);
        }
        assert_eq!(seen[0], "7 records were overwritten before they were read");
        assert_eq!(seen[1..], ["8", "9", "10"]);
    }
    #[tokio::test]
    async fn as_many_spans_are_kept_as_may() {
        for (recorded, kept) in [(3, 3), (4, 3), (30, 3)] {
            let memory = memory(|limits| limits.spans_max = 3);
            for n in 0..recorded {
                memory.span(Span { name: n.to_string(), ..Span::default() });
            }
            let spans = memory.spans(&SpanQuery::default()).await.unwrap();
            assert_eq!(spans.len(), kept, "{recorded}");
            assert_eq!(spans[kept - 1].name, (recorded - 1).to_string(), "the oldest went");
        }
    }
}
