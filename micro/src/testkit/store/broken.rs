//! A store with one flaw of choice, each seen in the field.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::store::{
    Capabilities, Condition, Event, Feed, Key, Memory, Page, Query, Record, Space, Store, Version,
    Watch, Write, conflict, is_conflict,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A time to live is taken and not kept.
    DeclaresATtl,
    /// A watch is declared and not there.
    DeclaresAWatch,
    /// Metadata is not kept.
    ForgetsMetadata,
    /// What is not there is an error.
    FailsOnNothing,
    /// A write leaves the metadata of the record before it.
    MergesMetadata,
    /// A delete takes all that begins so.
    DeletesByPrefix,
    /// Database and table are one string.
    JoinsNames,
    /// Keys lose their case.
    LowersCase,
    /// What is too long is cut off.
    TakesAnyLength,
    /// The first read after a write sees what was before.
    ReadsLate,
    /// Keys are listed as they come.
    ListsUnsorted,
    /// A suffix is looked for among as many as the limit.
    LimitsBeforeTheFilter,
    /// Pages overlap by less than nothing.
    LosesTheLastOfAPage,
    /// A prefix is a pattern.
    TakesPercentForAny,
    /// A page begins at a number.
    PagesByNumber,
    /// A value that was written again is taken for the version before.
    ComparesValues,
    /// A condition is checked some time before the write.
    ChecksThenWrites,
    /// A record that was deleted begins at the first version.
    StartsVersionsOver,
    /// Conditions hold always.
    IgnoresConditions,
    /// A delete by version takes any.
    DeletesAnyVersion,
    /// A list holds what is over.
    ListsWhatIsOver,
    /// A record ends when its first version would have.
    KeepsTheFirstTtl,
    /// A watch begins some time after it returned.
    WatchesTooLate,
    /// A watch ignores what it is for.
    WatchesEverything,
    /// A watch tells of no deletes.
    HidesDeletes,
    /// A watch tells of writes that did not happen.
    TellsOfRefusedWrites,
    /// A watch does not tell of times that are over.
    ExpiresSilently,
}

#[derive(Debug)]
pub(super) struct Broken {
    memory: Memory,
    flaw: Flaw,
    notes: Arc<Mutex<Notes>>,
}

/// What a flaw needs to remember.
#[derive(Debug, Default)]
struct Notes {
    stale: Option<(Key, Option<Record>)>,
    values: HashMap<Version, Bytes>,
    counts: HashMap<Key, u64>,
    ghosts: Vec<Record>,
    deleted: BTreeSet<String>,
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { memory: Memory::new(), flaw, notes: Arc::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn space(&self, space: &Space) -> Space {
        if !self.is(Flaw::JoinsNames) {
            return space.clone();
        }
        Space::new(&format!("{}{}", space.database(), space.table()), "t").unwrap()
    }

    fn key(&self, key: &Key) -> Key {
        if self.is(Flaw::LowersCase) { Key::new(&key.to_lowercase()).unwrap() } else { key.clone() }
    }

    /// Returns the write as this store takes it.
    fn taken(&self, write: Write, old: Option<&Record>) -> Write {
        let mut write = Write { key: self.key(&write.key), ..write };
        match self.flaw {
            Flaw::DeclaresATtl => write.ttl = None,
            Flaw::ForgetsMetadata => write.metadata.clear(),
            Flaw::MergesMetadata => {
                write.metadata.extend(old.into_iter().flat_map(|old| old.metadata.clone()));
            }
            Flaw::TakesAnyLength => {
                write.value.truncate(self.capabilities().value_bytes_max);
                write.metadata.clear();
                write.ttl = write.ttl.filter(|ttl| !ttl.is_zero());
            }
            Flaw::IgnoresConditions => write.condition = Condition::Any,
            Flaw::KeepsTheFirstTtl => {
                write.ttl = old.and_then(|old| old.expiry).or(write.ttl);
            }
            _ => {}
        }
        write
    }

    async fn flawed_write(&self, space: &Space, write: Write) -> Result<Version> {
        let old = self.memory.read(space, &self.key(&write.key)).await?;
        let mut write = self.taken(write, old.as_ref());
        match self.flaw {
            Flaw::ChecksThenWrites => {
                write.condition.check(&write.key, old.as_ref().map(|old| old.version))?;
                tokio::task::yield_now().await;
                write.condition = Condition::Any;
            }
            Flaw::ComparesValues => {
                let same = |version: Version| {
                    let known = self.notes.lock().unwrap().values.get(&version).cloned();
                    known.is_some() && known == old.as_ref().map(|old| old.value.clone())
                };
                if let Condition::Version(version) = write.condition
                    && same(version)
                {
                    write.condition = Condition::Any;
                }
            }
            Flaw::StartsVersionsOver => return self.counted(space, write, old.is_some()).await,
            Flaw::ReadsLate => {
                self.notes.lock().unwrap().stale = Some((write.key.clone(), old.clone()));
            }
            _ => {}
        }
        let note = write.clone();
        let written = self.memory.write(space, write).await;
        match &written {
            Ok(version) => {
                let mut notes = self.notes.lock().unwrap();
                notes.values.insert(*version, note.value.clone());
                notes.ghosts.retain(|ghost| ghost.key != note.key.as_str());
                if note.ttl.is_some() {
                    notes.ghosts.push(Record::new(note.key.as_str(), note.value, *version));
                }
            }
            Err(error) if is_conflict(error) && self.is(Flaw::TellsOfRefusedWrites) => {
                if let Some(old) = old {
                    self.memory.write(space, Write::new(note.key, old.value)).await?;
                }
            }
            Err(_) => {}
        }
        written
    }

    async fn counted(&self, space: &Space, mut write: Write, exists: bool) -> Result<Version> {
        let key = write.key.clone();
        let count = {
            let notes = self.notes.lock().unwrap();
            notes.counts.get(&key).copied().filter(|_| exists).unwrap_or_default()
        };
        if let Condition::Version(version) = write.condition {
            if version != Version::new(count) || !exists {
                return Err(conflict(&key, write.condition));
            }
            write.condition = Condition::Any;
        }
        self.memory.write(space, write).await?;
        self.notes.lock().unwrap().counts.insert(key, count + 1);
        Ok(Version::new(count + 1))
    }

    async fn flawed_read(&self, space: &Space, key: &Key) -> Result<Option<Record>> {
        let found = self.memory.read(space, &self.key(key)).await?;
        let mut notes = self.notes.lock().unwrap();
        match self.flaw {
            Flaw::FailsOnNothing if found.is_none() => Err(Error::not_found("broken", "nothing")),
            Flaw::ReadsLate if notes.stale.as_ref().is_some_and(|stale| stale.0 == *key) => {
                Ok(notes.stale.take().and_then(|stale| stale.1))
            }
            Flaw::StartsVersionsOver => {
                let count = notes.counts.get(key).copied().unwrap_or_default();
                Ok(found.map(|record| Record { version: Version::new(count), ..record }))
            }
            _ => Ok(found),
        }
    }

    async fn flawed_list(&self, space: &Space, query: &Query) -> Result<Page> {
        let mut query = query.clone();
        let suffix = query.suffix.clone();
        match self.flaw {
            Flaw::LimitsBeforeTheFilter => query.suffix.clear(),
            Flaw::TakesPercentForAny => {
                let end = query.prefix.find('%').unwrap_or(query.prefix.len());
                query.prefix.truncate(end);
            }
            Flaw::PagesByNumber => return self.numbered(space, query).await,
            _ => {}
        }
        let mut page = self.memory.list(space, &query).await?;
        match self.flaw {
            Flaw::LimitsBeforeTheFilter if !suffix.is_empty() => {
                page.records.retain(|record| record.key.ends_with(&suffix));
                page.next = None;
            }
            Flaw::ListsUnsorted => page.records.reverse(),
            Flaw::LosesTheLastOfAPage if page.next.is_some() => drop(page.records.pop()),
            Flaw::ListsWhatIsOver => {
                let ghosts = self.notes.lock().unwrap().ghosts.clone();
                page.records.extend(ghosts);
                page.records.sort_by(|a, b| a.key.cmp(&b.key));
                page.records.dedup_by(|a, b| a.key == b.key);
            }
            _ => {}
        }
        Ok(page)
    }

    async fn numbered(&self, space: &Space, query: Query) -> Result<Page> {
        let skip: Option<usize> = query.after.as_deref().and_then(|after| after.parse().ok());
        let limit = query.page_records();
        let all = Query { limit: 0, after: query.after.filter(|_| skip.is_none()), ..query };
        let records = self.memory.list(space, &all).await?.records;
        let skip = skip.unwrap_or_default();
        let page: Vec<_> = records.iter().skip(skip).take(limit).cloned().collect();
        let next = (records.len() > skip + limit).then(|| format!("{:09}", skip + limit));
        Ok(Page::new(page, next))
    }

    async fn flawed_watch(&self, space: &Space, prefix: &str) -> Result<Watch> {
        if self.is(Flaw::DeclaresAWatch) {
            return Err(Error::unimplemented("broken", "no watch"));
        }
        let prefix = if self.is(Flaw::WatchesEverything) { "" } else { prefix };
        let mut inner = self.memory.watch(space, prefix).await?;
        let (feed, watch) = Feed::channel();
        let (flaw, notes) = (self.flaw, Arc::clone(&self.notes));
        let driver = async move {
            if flaw == Flaw::WatchesTooLate {
                inner.next().await;
            }
            while let Some(event) = inner.next().await {
                let hidden = match &event {
                    Event::Delete { key } if flaw == Flaw::ExpiresSilently => {
                        !notes.lock().unwrap().deleted.contains(key)
                    }
                    Event::Delete { .. } => flaw == Flaw::HidesDeletes,
                    _ => false,
                };
                if !hidden && !feed.send(event) {
                    return;
                }
            }
        };
        Ok(watch.with_driver(driver))
    }
}

impl Store for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async move { self.flawed_read(&self.space(space), key).await })
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move { self.flawed_write(&self.space(space), write).await })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (space, key) = (self.space(space), self.key(key));
            self.notes.lock().unwrap().deleted.insert(key.to_string());
            if self.is(Flaw::DeletesByPrefix) {
                let query = Query::new().with_prefix(key.as_str());
                for record in self.memory.list(&space, &query).await?.records {
                    self.memory.delete(&space, &Key::new(&record.key)?, None).await?;
                }
            }
            let version = version.filter(|_| !self.is(Flaw::DeletesAnyVersion));
            self.memory.delete(&space, &key, version).await
        })
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move { self.flawed_list(&self.space(space), query).await })
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move { self.flawed_watch(&self.space(space), prefix).await })
    }
}
