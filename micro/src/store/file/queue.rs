//! Changes that wait for the disk, made durable together.
//!
//! Whoever finds nobody at work starts a worker, which takes all that waits, writes it in one
//! transaction, and goes on until nothing waits. Changes are made, and told to watchers, in the
//! order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use redb::{Database, ReadableTable, Table, WriteTransaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::store::Condition;
use crate::store::ERROR_ID;
use crate::store::Event;
use crate::store::Key;
use crate::store::Record;
use crate::store::Space;
use crate::store::Version;
use crate::store::Write;
use crate::store::file::layout::{self, ENDS, Kept, LAST_VERSION, NUMBERS, Place, RECORDS};
use crate::store::file::{Shared, failed};

/// Changes of one transaction.
const BATCH_MAX: usize = 256;

/// Records whose time is over that one transaction removes.
const SWEEP_MAX: usize = 1000;

/// A change of the file.
pub(super) enum Change {
    Write(Space, Write),
    Delete(Space, Key, Option<Version>),
    /// Nothing but what every transaction does: records whose time is over go.
    Sweep,
}

/// The changes that wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    places: Arc<Semaphore>,
    places_max: u32,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Whether a worker is there, who looks once more before it leaves.
    is_worked: bool,
}

struct Job {
    change: Change,
    reply: oneshot::Sender<Result<Version>>,
    /// Held until the change is made.
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Queue {
    pub(super) fn new(places_max: usize) -> Self {
        let places_max = u16::try_from(places_max).unwrap_or(u16::MAX).max(1);
        let places = Arc::new(Semaphore::new(places_max.into()));
        let places_max = places_max.into();
        Self { waiting: Mutex::default(), places, places_max }
    }

    /// Takes no more changes and waits until those that were taken are made.
    pub(super) async fn close(&self) {
        // All places are free once nothing waits; that the queue is closed already is as good.
        let _all = self.places.acquire_many(self.places_max).await.ok();
        self.places.close();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next changes; with none left the worker leaves.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting();
        let batch = waiting.jobs.len().min(BATCH_MAX);
        if batch == 0 {
            waiting.is_worked = false;
        }
        waiting.jobs.drain(..batch).collect()
    }
}

/// Makes a change and waits until it is durable; returns the version of a write.
///
/// A change that was accepted is made although the future is dropped.
pub(super) async fn submit(shared: &Arc<Shared>, change: Change) -> Result<Version> {
    let place = Arc::clone(&shared.queue.places).acquire_owned().await;
    let place = place.map_err(|error| {
        let error = Error::unavailable(ERROR_ID, "the store is closed").with_source(error);
        error.with_retry(Retry::Safe)
    })?;
    let (reply, made) = oneshot::channel();
    let is_first = {
        let mut waiting = shared.queue.waiting();
        waiting.jobs.push_back(Job { change, reply, _place: place });
        !std::mem::replace(&mut waiting.is_worked, true)
    };
    if is_first {
        let mut worker = Worker::new(shared);
        drop(tokio::task::spawn_blocking(move || worker.run()));
    }
    made.await.unwrap_or_else(|error| {
        let detail = "the store ended before the write did";
        Err(Error::unavailable(ERROR_ID, detail).with_source(error))
    })
}

/// Whoever makes the changes; there is at most one.
struct Worker {
    shared: Arc<Shared>,
    /// Whether it found nothing and left the queue, which may be another worker's since then.
    has_left: bool,
}

impl Worker {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), has_left: false }
    }

    fn run(&mut self) {
        loop {
            let jobs = self.shared.queue.take();
            if jobs.is_empty() {
                self.has_left = true;
                return;
            }
            self.make(jobs);
        }
    }

    /// Makes changes durable, tells watchers, and answers.
    fn make(&self, jobs: Vec<Job>) {
        let changes = jobs.iter().map(|job| &job.change);
        let made = self.shared.database().and_then(|database| self.commit(&database, changes));
        match made {
            Ok(batch) => {
                self.tell(batch.events);
                self.shared.next_end.send_if_modified(|end| {
                    std::mem::replace(end, batch.next_end) != batch.next_end
                });
                for (job, outcome) in jobs.into_iter().zip(batch.outcomes) {
                    // Nobody waits for the outcome of a future that was dropped.
                    drop(job.reply.send(outcome));
                }
            }
            Err(error) => {
                for job in jobs {
                    drop(job.reply.send(Err(error.clone())));
                }
            }
        }
    }

    fn commit<'a>(
        &self,
        database: &Database,
        changes: impl Iterator<Item = &'a Change>,
    ) -> Result<Batch> {
        let failed = |error: redb::Error, retry| {
            self.shared.note(&error);
            failed(&self.shared.path, "write", error).with_retry(retry)
        };
        let prepared = database
            .begin_write()
            .map_err(redb::Error::from)
            .and_then(|transaction| Ok((apply(&transaction, changes)?, transaction)));
        let (batch, transaction) = prepared.map_err(|error| failed(error, Retry::Safe))?;
        if batch.is_changed {
            transaction.commit().map_err(|error| failed(error.into(), Retry::Unknown))?;
        }
        Ok(batch)
    }

    fn tell(&self, events: Vec<(Space, Event)>) {
        let mut hub = self.shared.hub();
        for (space, event) in events {
            let key = event.key().unwrap_or_default().to_owned();
            hub.publish(&space, &key, || event.clone());
        }
    }
}

impl Drop for Worker {
    /// Lets the next change find a worker, also when this one failed or never ran.
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let left: Vec<_> = {
            let mut waiting = self.shared.queue.waiting();
            waiting.is_worked = false;
            waiting.jobs.drain(..).collect()
        };
        drop(left);
    }
}

/// What a transaction did.
#[derive(Default)]
struct Batch {
    outcomes: Vec<Result<Version>>,
    events: Vec<(Space, Event)>,
    next_end: Option<u64>,
    is_changed: bool,
}

fn apply<'a>(
    transaction: &WriteTransaction,
    changes: impl Iterator<Item = &'a Change>,
) -> Result<Batch, redb::Error> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    let last = numbers.get(LAST_VERSION)?.map(|number| number.value()).unwrap_or_default();
    let mut tables = Tables {
        records: transaction.open_table(RECORDS)?,
        ends: transaction.open_table(ENDS)?,
        last_version: last,
        now: layout::now(),
        batch: Batch::default(),
    };
    tables.sweep()?;
    for change in changes {
        let outcome = match change {
            Change::Write(space, write) => tables.write(space, write)?,
            Change::Delete(space, key, version) => tables.delete(space, key, *version)?,
            Change::Sweep => Ok(Version::new(0)),
        };
        tables.batch.outcomes.push(outcome);
    }
    tables.batch.next_end = tables.ends.first()?.map(|(key, _)| key.value().0);
    if tables.last_version != last {
        numbers.insert(LAST_VERSION, tables.last_version)?;
    }
    Ok(tables.batch)
}

struct Tables<'t> {
    records: Table<'t, Place, Kept>,
    ends: Table<'t, (u64, u64), Place>,
    last_version: u64,
    now: u64,
    batch: Batch,
}

impl Tables<'_> {
    /// Removes what is over.
    fn sweep(&mut self) -> Result<(), redb::Error> {
        for _ in 0..SWEEP_MAX {
            let first = self.ends.first()?.map(|(end, place)| {
                let (database, table, key) = place.value();
                (end.value(), database.to_owned(), table.to_owned(), key.to_owned())
            });
            let Some((end, database, table, key)) = first else { return Ok(()) };
            if !layout::is_over(end.0, self.now) {
                return Ok(());
            }
            self.ends.remove(end)?;
            self.records.remove((&*database, &*table, &*key))?;
            self.batch.is_changed = true;
            // Invariant: what is in the file was checked before it was written.
            if let Ok(space) = Space::new(&database, &table) {
                self.batch.events.push((space, Event::deleted(key)));
            }
        }
        Ok(())
    }

    /// Returns the version and the end of a record that is there.
    fn find(&self, space: &Space, key: &Key) -> Result<Option<(u64, u64)>, redb::Error> {
        let found = self.records.get((space.database(), space.table(), key.as_str()))?;
        Ok(found.map(|found| (found.value().0, found.value().1)))
    }

    fn write(&mut self, space: &Space, write: &Write) -> Result<Result<Version>, redb::Error> {
        let place = (space.database(), space.table(), write.key.as_str());
        let old = self.find(space, &write.key)?;
        // More may be over than a transaction removes.
        let present = old.filter(|(_, end)| !layout::is_over(*end, self.now));
        let found = present.map(|(version, _)| Version::new(version));
        if let Err(conflict) = write.condition.check(&write.key, found) {
            return Ok(Err(conflict));
        }
        self.forget_end(old)?;
        self.last_version += 1;
        let version = self.last_version;
        let end = write.ttl.map_or(0, |ttl| layout::end(self.now, ttl));
        if end != 0 {
            self.ends.insert((end, version), place)?;
        }
        let metadata = layout::metadata_text(&write.metadata);
        self.records.insert(place, (version, end, metadata.as_str(), &*write.value))?;
        let record = Record::new(write.key.as_str(), write.value.clone(), Version::new(version));
        let record = record.with_metadata(write.metadata.clone()).with_expiry(write.ttl);
        self.changed(space, Event::Put(record));
        Ok(Ok(Version::new(version)))
    }

    fn delete(
        &mut self,
        space: &Space,
        key: &Key,
        version: Option<Version>,
    ) -> Result<Result<Version>, redb::Error> {
        let old = self.find(space, key)?;
        let present = old.filter(|(_, end)| !layout::is_over(*end, self.now));
        let found = present.map(|(version, _)| Version::new(version));
        if let Some(version) = version
            && let Err(conflict) = Condition::Version(version).check(key, found)
        {
            return Ok(Err(conflict));
        }
        if old.is_some() {
            self.forget_end(old)?;
            self.records.remove((space.database(), space.table(), key.as_str()))?;
            self.changed(space, Event::deleted(key.as_str()));
        }
        Ok(Ok(found.unwrap_or(Version::new(0))))
    }

    fn forget_end(&mut self, old: Option<(u64, u64)>) -> Result<(), redb::Error> {
        if let Some((version, end)) = old.filter(|(_, end)| *end != 0) {
            self.ends.remove((end, version))?;
        }
        Ok(())
    }

    fn changed(&mut self, space: &Space, event: Event) {
        self.batch.is_changed = true;
        self.batch.events.push((space.clone(), event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::File;

    #[tokio::test]
    async fn a_worker_that_has_left_touches_no_change_of_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = File::open(dir.path().join("store.redb")).await.unwrap();
        let mut leaving = Worker::new(&store.shared);
        leaving.run();
        let place = Arc::clone(&store.shared.queue.places).acquire_owned().await.unwrap();
        let (reply, mut made) = oneshot::channel();
        {
            let mut waiting = store.shared.queue.waiting();
            waiting.jobs.push_back(Job { change: Change::Sweep, reply, _place: place });
            waiting.is_worked = true;
        }
        drop(leaving);
        assert!(made.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        assert!(store.shared.queue.waiting().is_worked, "two workers would run");
        drop(Worker::new(&store.shared));
        assert!(made.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
    }
}
