//! The handle through which a program keeps its records: `micro::Store`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::store::Capabilities;
use crate::store::ERROR_ID;
use crate::store::Key;
use crate::store::Page;
use crate::store::Put;
use crate::store::Query;
use crate::store::Record;
use crate::store::Scan;
use crate::store::Space;
use crate::store::Store;
use crate::store::Version;
use crate::store::Watch;
use crate::store::Write;
use crate::store::is_conflict;
use crate::store::key;
use crate::store::record;
use crate::store::unsupported;

/// Tries of [`Handle::update`] before it gives up.
pub const UPDATE_TRIES_MAX: u32 = 16;

/// A place in a store; a clone is the same place.
///
/// A handle narrows and never widens: from all of the store to a database, to a table, to the keys
/// behind a prefix. Whoever holds a narrow one cannot reach what is beside it.
#[derive(Clone)]
pub struct Handle {
    store: Arc<dyn Store>,
    space: Space,
    /// What each key begins with in the store; empty, or ends with `/`.
    prefix: Arc<str>,
    bound: Bound,
}

/// How far a handle is narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Store,
    Database,
    Table,
    Prefix,
}

impl Handle {
    /// Opens all of a backend; until narrowed it is at table `default` of database `micro`.
    pub fn new(store: impl Store) -> Self {
        Self::shared(Arc::new(store))
    }

    /// Opens all of a backend that others use too.
    pub fn shared(store: Arc<dyn Store>) -> Self {
        Self { store, space: Space::unbound(), prefix: "".into(), bound: Bound::Store }
    }

    /// Narrows to a database.
    ///
    /// # Errors
    /// 403 when the handle is bound to a database, 400 for a name that is no [`Space`]'s.
    pub fn database(&self, name: &str) -> Result<Self> {
        self.narrow(Bound::Database, Space::new(name, self.space.table())?)
    }

    /// Narrows to a table of the database.
    ///
    /// # Errors
    /// 403 when the handle is bound to a table, 400 for a name that is no [`Space`]'s.
    pub fn table(&self, name: &str) -> Result<Self> {
        self.narrow(Bound::Table, Space::new(self.space.database(), name)?)
    }

    /// Narrows to the keys that begin with `name` and `/`, which are read and written without it.
    ///
    /// # Errors
    /// 400 when the name, together with those it is within, is no [`Key`].
    pub fn scope(&self, name: &str) -> Result<Self> {
        key::check("the name of a scope", name, key::KEY_BYTES_MAX)?;
        let prefix = format!("{}{name}/", self.prefix);
        Key::new(&prefix)?;
        Ok(Self { prefix: prefix.into(), bound: Bound::Prefix, ..self.clone() })
    }

    fn narrow(&self, bound: Bound, space: Space) -> Result<Self> {
        if self.bound >= bound {
            let detail = format!("this handle is bound to {}", self.space);
            return Err(Error::forbidden(ERROR_ID, detail));
        }
        Ok(Self { space, bound, ..self.clone() })
    }

    /// Returns the database and the table.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Returns the name of the backend.
    pub fn backend(&self) -> &'static str {
        self.store.name()
    }

    /// Returns what the backend can do.
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// Reads a value that [`Handle::put`] wrote, `None` if there is none.
    ///
    /// # Errors
    /// 500 when the value has another shape; what the backend fails with.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.read(key).await?.map(|record| record.decode()).transpose()
    }

    /// Reads a record, `None` if there is none.
    ///
    /// # Errors
    /// 400 when the key is no [`Key`]; what the backend fails with.
    pub async fn read(&self, key: &str) -> Result<Option<Record>> {
        let found = self.store.read(&self.space, &self.key(key)?).await?;
        Ok(found.map(|record| self.seen(record)))
    }

    /// Writes a value as JSON: `store.put("a", &value).await?`.
    ///
    /// The returned [`Put`] takes a time to live, metadata and a condition.
    pub fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Put {
        Put::new(self.clone(), key, record::encode(key, value))
    }

    /// Writes bytes as they are.
    pub fn write(&self, key: &str, value: impl Into<Bytes>) -> Put {
        Put::new(self.clone(), key, Ok(value.into()))
    }

    /// Removes a record; an absent one is no error.
    ///
    /// # Errors
    /// 400 when the key is no [`Key`]; what the backend fails with.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(&self.space, &self.key(key)?, None).await
    }

    /// Removes a record only if it is still of this version.
    ///
    /// # Errors
    /// As [`Handle::delete`]; a conflict when the record is gone or of another version.
    pub async fn delete_version(&self, key: &str, version: Version) -> Result<()> {
        if !self.capabilities().cas {
            return Err(unsupported(self.backend(), "conditions on deletes"));
        }
        self.store.delete(&self.space, &self.key(key)?, Some(version)).await
    }

    /// Changes a value to what `change` makes of it, again if somebody else was faster.
    ///
    /// `change` may run [`UPDATE_TRIES_MAX`] times. Metadata and time to live stay. Returns what
    /// was written.
    ///
    /// # Errors
    /// As [`Handle::get`]; a conflict when others were faster every time.
    pub async fn update<T, F>(&self, key: &str, mut change: F) -> Result<T>
    where
        T: DeserializeOwned + Serialize,
        F: FnMut(Option<T>) -> T,
    {
        let mut pauses = Backoff::new(Duration::from_millis(2), Duration::from_millis(200));
        let mut tries = 1;
        loop {
            let (value, put) = match self.read(key).await? {
                Some(record) => {
                    let value = change(Some(record.decode()?));
                    let put = self.put(key, &value).if_version(record.version);
                    (value, put.like(record.metadata, record.expiry))
                }
                None => {
                    let value = change(None);
                    let put = self.put(key, &value).if_absent();
                    (value, put)
                }
            };
            match put.await {
                Ok(_) => return Ok(value),
                Err(error) if is_conflict(&error) && tries < UPDATE_TRIES_MAX => tries += 1,
                Err(error) => return Err(error),
            }
            clock::sleep(pauses.next_delay()).await;
        }
    }

    /// Lists one page of records, in the order of the bytes of their keys.
    ///
    /// # Errors
    /// What the backend fails with.
    pub async fn list(&self, query: &Query) -> Result<Page> {
        if self.prefix.is_empty() {
            return self.store.list(&self.space, query).await;
        }
        let mut inner = query.clone();
        inner.prefix = format!("{}{}", self.prefix, query.prefix);
        inner.after = query.after.as_ref().map(|after| format!("{}{after}", self.prefix));
        // A suffix never reaches into the prefix of the scope: keys are judged as they are seen.
        inner.suffix = String::new();
        self.list_within(query, inner).await
    }

    async fn list_within(&self, query: &Query, inner: Query) -> Result<Page> {
        let page = self.store.list(&self.space, &inner).await?;
        let records = page.records.into_iter().map(|record| self.seen(record));
        let records = records.filter(|record| query.matches(&record.key)).collect();
        let next = page.next.as_deref().map(|next| self.strip(next).to_owned());
        Ok(Page::new(records, next))
    }

    /// Walks over all records that a query asks for, page by page.
    pub fn scan(&self, query: Query) -> Scan {
        Scan::new(self.clone(), query)
    }

    /// Watches the keys that begin with `prefix`; see [`Store::watch`].
    ///
    /// # Errors
    /// 501 when the backend has no watch; what it fails with.
    pub async fn watch(&self, prefix: &str) -> Result<Watch> {
        let prefix = format!("{}{prefix}", self.prefix);
        let watch = self.store.watch(&self.space, &prefix).await?;
        Ok(watch.stripped(self.prefix.len()))
    }

    /// Makes the key of the store.
    pub(super) fn key(&self, key: &str) -> Result<Key> {
        if self.prefix.is_empty() {
            return Key::new(key);
        }
        key::check("a key", key, key::KEY_BYTES_MAX)?;
        Key::new(&format!("{}{key}", self.prefix))
    }

    pub(super) async fn write_checked(&self, write: Write) -> Result<Version> {
        write.check(self.backend(), &self.capabilities())?;
        self.store.write(&self.space, write).await
    }

    fn strip<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&*self.prefix).unwrap_or(key)
    }

    /// Returns a record as the holder of this handle sees it.
    fn seen(&self, mut record: Record) -> Record {
        if !self.prefix.is_empty() {
            record.key = self.strip(&record.key).to_owned();
        }
        record
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("backend", &self.backend())
            .field("space", &self.space)
            .field("prefix", &self.prefix)
            .finish()
    }
}
