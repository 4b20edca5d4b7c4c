//! Store in a table of a PostgreSQL database, shared by all processes that use it.
//!
//! # Consistency
//! Linearizable: every operation is one statement on the server that takes writes. Versions are drawn
//! from a sequence and grow across deletions. Records are in the table `micro.store_record`, which
//! the first who comes makes; keys are compared by their bytes.
//!
//! # Durability
//! That of a commit: with `fsync` and `synchronous_commit` on, as they are unless changed, a write
//! returns when it is on the server's disk. A cluster that fails over to a standby that lags loses
//! what that one has not, unless commits wait for it.
//!
//! # Limits
//! The length of a value as [`StoreLimits`] says; 1,024 watchers; 1,024 statements at a time for each
//! connection. A time to live of more than a hundred years is cut to that.
//!
//! # When the server fails
//! What is asked without a connection is a 503 after a second, safe to repeat. A write that was sent
//! and not answered, because the connection broke or 12 s passed, has an unknown outcome. Watches
//! stay and hear [`Event::Resync`](super::Event::Resync) when the connection is made again: what was
//! not told of is found by listing.
//!
//! Times to live are kept by the server's clock. What is over is never returned, and is removed
//! within ten seconds, within one where somebody watches. A deleted record leaves its key and
//! version in the table for ten minutes. A watch looks at the table when a signal (`NOTIFY`) comes,
//! and once a second.
//!
//! # Configuration
//! `postgres://user:password@host:5432/database`; without a user it is `postgres`, and without a
//! database that of the user's name. Of several hosts the one that takes writes is used.
//!
//! # Not supported
//! TLS to the server, poolers that give each statement another connection, and servers before
//! PostgreSQL 13.
//!
//! # Tested against
//! PostgreSQL 15.18.

mod following;
mod rows;
mod statements;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::Postgres as Driver;
use crate::driver::postgres::{Blob, Database, Hear, column, params};
use crate::store::hub::Hub;
use crate::store::{
    Capabilities, Condition, ERROR_ID, Key, PAGE_BYTES_MAX, Page, Query, Record, Space, Store,
    Version, Watch, Write, conflict,
};

use self::following::Following;
use self::statements as sql;

/// Between two looks at the table while somebody watches, whatever signals come.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between two removals of what is over while nobody watches.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Records that one statement removes.
const SWEPT_MAX: usize = 1000;

/// Statements of one removal, so that it ends and the watches are looked after.
const SWEEPS_MAX: usize = 100;

/// A store in a PostgreSQL database; clones share it.
#[derive(Clone)]
pub struct Postgres {
    shared: Arc<Shared>,
    _keeper: Arc<TaskHandle>,
}

struct Shared {
    database: Arc<Database>,
    limits: StoreLimits,
    /// Lock order: this, then the hub.
    following: tokio::sync::Mutex<Following>,
    hub: Mutex<Hub>,
    wake: Notify,
    closed: AtomicBool,
}

impl Postgres {
    /// Makes a store in a database of the server; an empty name is that of the user. It connects in
    /// the background, and its tasks belong to `tasks`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use micro::core::limits::StoreLimits;
    /// use micro::core::shutdown::TaskTracker;
    /// use micro::driver::{self, Server};
    /// use micro::store::{Handle, Postgres};
    ///
    /// # async fn example() -> micro::Result<()> {
    /// let tasks = TaskTracker::new();
    /// let server = Server::new("127.0.0.1", 5432).with_user("ada", "secret");
    /// let driver = driver::Postgres::open(&server, &tasks)?;
    /// let store = Postgres::new(&driver, "shop", StoreLimits::default(), &tasks)?;
    /// let orders = Handle::shared(Arc::new(store)).table("orders")?;
    /// orders.put("7", &"tea").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// 412 for a name that no database can have, or more than 16 databases of a server.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn new(
        driver: &Driver,
        database: &str,
        limits: StoreLimits,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            database: driver.database(database)?,
            limits,
            following: tokio::sync::Mutex::default(),
            hub: Mutex::default(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
        });
        let kept = Arc::clone(&shared);
        let keeper = tasks.spawn("store.postgres", async move { kept.keep().await });
        Ok(Self { shared, _keeper: Arc::new(keeper.abort_on_drop()) })
    }
}

impl Shared {
    fn is_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let detail = "the store is closed";
            return Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe));
        }
        Ok(())
    }

    /// Says that something was written.
    fn signal(&self) {
        self.wake.notify_one();
        self.database.signal(sql::CHANNEL, String::new());
    }

    async fn read(&self, space: &Space, key: &Key) -> Result<Option<Record>> {
        self.is_open()?;
        let rows =
            self.database.rows(sql::READ, place(space, key)).await.map_err(Error::of_a_read)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let metadata: String = column(row, 1)?;
        let facts = (column(row, 2)?, column(row, 3)?);
        rows::record(key, column(row, 0)?, &metadata, facts).map(Some)
    }

    async fn write(&self, space: &Space, write: Write) -> Result<Version> {
        self.is_open()?;
        let Write { key, value, metadata, ttl, condition, .. } = write;
        let mut params = place(space, &key);
        params.push(Box::new(Blob(value)));
        params.push(Box::new(rows::metadata(&metadata)?));
        params.push(Box::new(rows::micros(ttl)));
        let ask = match condition {
            Condition::Any => sql::WRITE,
            Condition::Absent => sql::WRITE_ABSENT,
            Condition::Version(version) => {
                params.push(Box::new(rows::number(version)));
                sql::WRITE_VERSION
            }
        };
        let rows = self.database.rows(ask, params).await?;
        let Some(row) = rows.first() else { return Err(conflict(&key, condition)) };
        self.signal();
        rows::version(column(row, 0)?)
    }

    async fn delete(&self, space: &Space, key: &Key, version: Option<Version>) -> Result<()> {
        self.is_open()?;
        let mut params = place(space, key);
        let ask = match version {
            None => sql::DELETE,
            Some(version) => {
                params.push(Box::new(rows::number(version)));
                sql::DELETE_VERSION
            }
        };
        let rows = self.database.rows(ask, params).await?;
        match version {
            Some(version) if rows.is_empty() => Err(conflict(key, Condition::Version(version))),
            _ => {
                self.signal();
                Ok(())
            }
        }
    }

    async fn list(&self, space: &Space, query: &Query) -> Result<Page> {
        self.is_open()?;
        // No key holds a NUL, and the server takes none in a text.
        if query.prefix.contains('\0') || query.suffix.contains('\0') {
            return Ok(Page::new(Vec::new(), None));
        }
        let after = query.after.clone().filter(|after| *after >= query.prefix);
        let before_nul = |after: String| after.split('\0').next().unwrap_or_default().to_owned();
        let after = after.map(before_nul);
        // No key is empty: nothing is left out where a page does not begin after a key.
        let (from, left_out) = match after {
            Some(after) => (after.clone(), after),
            None => (query.prefix.clone(), String::new()),
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let params = params![
            space.database().to_owned(),
            space.table().to_owned(),
            from,
            left_out,
            rows::end_of(&query.prefix),
            query.suffix.clone(),
            count(rows::scanned_max(query)),
            count(query.page_records()),
            query.keys_only,
            count(PAGE_BYTES_MAX),
        ];
        let rows = self.database.rows(sql::LIST, params).await.map_err(Error::of_a_read)?;
        rows::page(query, &rows)
    }

    async fn watch(&self, space: &Space, prefix: &str) -> Result<Watch> {
        self.is_open()?;
        let mut following = self.following.lock().await;
        // What was written before is told to the others here, and never to this one.
        self.follow(&mut following, Some(space)).await.map_err(Error::of_a_read)?;
        let watch = self.hub.lock().unwrap_or_else(PoisonError::into_inner).watch(space, prefix);
        self.wake.notify_one();
        watch
    }

    /// Looks after the watches, and removes what is over.
    async fn keep(self: Arc<Self>) {
        let ear: Weak<dyn Hear> = Arc::<Self>::downgrade(&self);
        let (mut listens, mut swept) = (false, clock::now());
        // Progress: each turn waits.
        loop {
            let watched = self.hub.lock().unwrap_or_else(PoisonError::into_inner).is_watched();
            if watched && !listens {
                self.database.listen(Weak::clone(&ear));
                listens = true;
            }
            let pause = if watched { LOOK_INTERVAL } else { SWEEP_INTERVAL };
            let woken = clock::timeout(pause, self.wake.notified()).await.is_ok();
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            let now = clock::now();
            if !woken || now.saturating_duration_since(swept) >= pause {
                swept = now;
                self.sweep().await;
            }
            if watched {
                let mut following = self.following.lock().await;
                if let Err(error) = self.follow(&mut following, None).await {
                    tracing::debug!(%error, "cannot look at the changes yet");
                }
            }
        }
    }

    async fn sweep(&self) {
        for ask in [sql::EXPIRE, sql::FORGET] {
            for _ in 0..SWEEPS_MAX {
                match self.database.rows(ask, params![]).await {
                    Ok(rows) if rows.len() >= SWEPT_MAX => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(%error, "cannot remove what is over yet");
                        return;
                    }
                }
            }
        }
    }
}

impl Hear for Shared {
    fn hear(&self, channel: &str, payload: Option<&str>) {
        if channel == sql::CHANNEL || payload.is_none() {
            self.wake.notify_one();
        }
    }
}

fn place(space: &Space, key: &Key) -> crate::driver::postgres::Params {
    params![space.database().to_owned(), space.table().to_owned(), key.as_str().to_owned()]
}

impl Store for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            linearizable: true,
            ttl: true,
            cas: true,
            watch: true,
            watch_expiry: true,
            value_bytes_max: self.shared.limits.value_bytes_max,
        }
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(self.shared.read(space, key))
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            write.check(self.name(), &self.capabilities())?;
            self.shared.write(space, write).await
        })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.delete(space, key, version))
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(self.shared.list(space, query))
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.shared.watch(space, prefix))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.closed.store(true, Ordering::Release);
            self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner).close();
            self.shared.wake.notify_one();
            Ok(())
        })
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("database", &self.shared.database).finish()
    }
}
