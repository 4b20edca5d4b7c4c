//! Records under keys: read, write, delete, list and watch, with time to live and versions.
//!
//! Records live in a [`Space`], a table of a database. A program holds a [`Handle`], which is
//! `micro::Store`: it is bound to a space, cannot leave it, and reads and writes typed values.
//!
//! ```
//! use micro::Store;
//! use micro::store::{Memory, Query};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Debug, Deserialize, PartialEq, Serialize)]
//! struct Order {
//!     item: String,
//!     count: u32,
//! }
//!
//! # async fn example() -> micro::core::error::Result<()> {
//! let store = Store::new(Memory::new()).database("shop")?.table("orders")?;
//! let order = Order { item: "tea".into(), count: 2 };
//! let version = store.put("7", &order).ttl(Duration::from_secs(3600)).await?;
//! assert_eq!(store.get::<Order>("7").await?, Some(order));
//!
//! // Written only if nobody else has written since.
//! store.put("7", &Order { item: "tea".into(), count: 3 }).if_version(version).await?;
//! let error = store.delete_version("7", version).await.unwrap_err();
//! assert!(micro::store::is_conflict(&error));
//!
//! let page = store.list(&Query::new().with_prefix("7")).await?;
//! assert_eq!(page.records.len(), 1);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod cache;
mod feed;
#[cfg(feature = "redb")]
mod file;
mod handle;
mod hub;
mod key;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod put;
mod query;
mod record;
mod scan;

use std::fmt;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

pub use self::cache::{Cached, CachedConfig};
pub use self::feed::{Event, Feed, WATCH_EVENTS_MAX, Watch};
#[cfg(feature = "redb")]
pub use self::file::File;
pub use self::handle::{Handle, UPDATE_TRIES_MAX};
pub use self::hub::WATCHERS_MAX;
pub use self::key::{KEY_BYTES_MAX, Key, NAME_BYTES_MAX, Space};
pub use self::memory::Memory;
#[cfg(feature = "nats")]
pub use self::nats::Nats;
pub use self::put::Put;
pub use self::query::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX, Page, Query, SCAN_RECORDS_MAX};
pub use self::record::{METADATA_BYTES_MAX, METADATA_ENTRIES_MAX, Record, Version, Write};
pub use self::scan::Scan;

/// The id of the errors of every store.
pub(crate) const ERROR_ID: &str = "micro.store";

/// A backend that keeps records.
///
/// Every name reaches a backend checked: [`Space`] and [`Key`] cannot be made otherwise. They hold
/// any text without control characters, so a backend encodes them as its own names need.
///
/// An error with `Retry::Unknown` may have taken effect. Dropping the future of a write or a delete
/// leaves open whether it takes effect; dropping any other only gives up the answer.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `memory`.
    fn name(&self) -> &'static str;

    /// Returns what the backend can do; the same at every call.
    fn capabilities(&self) -> Capabilities;

    /// Reads a record, `None` if there is none; one whose time has passed is never returned.
    ///
    /// May be repeated.
    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>>;

    /// Writes a record whole and returns its version, once the backend's durability point is
    /// reached.
    ///
    /// A condition that does not hold is [`conflict`], and nothing is written. What
    /// [`Write::check`] refuses is refused. Repeating a write without a condition is right;
    /// repeating one with a condition may find its own first try.
    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>>;

    /// Removes a record; an absent one is no error unless a version is asked for.
    ///
    /// With a version it removes only that one; any other, or none, is [`conflict`].
    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Lists records in the order of the bytes of their keys, page by page.
    ///
    /// A page may be shorter than asked for, even empty, and yet not be the last:
    /// [`Page::next`] tells. A record that stays is listed once, whatever is written meanwhile.
    /// May be repeated.
    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>>;

    /// Watches the keys that begin with `prefix`; every write that ends after this returns is
    /// reported.
    ///
    /// Changes of one key are reported in order. Versions between two reports may be left out, the
    /// last one never. [`Event::Resync`] stands for a gap.
    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>>;

    /// Gives up files and connections; whatever is asked for later is `Unavailable`.
    ///
    /// May be repeated. What was written stays written.
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What a store backend can do.
///
/// What is not declared returns `Unsupported` (501) when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A write that returned survives the end of the process, however it ends.
    pub durable: bool,
    /// A read sees every write that returned before it began, in whatever process.
    pub linearizable: bool,
    /// Records with a time to live disappear when it is over.
    pub ttl: bool,
    /// Conditions on writes and versions on deletes work.
    pub cas: bool,
    /// [`Store::watch`] works.
    pub watch: bool,
    /// A watch reports records whose time is over, as [`Event::Delete`].
    pub watch_expiry: bool,
    /// Bytes of the longest value; a longer one is a 413.
    pub value_bytes_max: usize,
}

impl Capabilities {
    /// Declares nothing, with values of at most `value_bytes_max` bytes.
    pub const fn none(value_bytes_max: usize) -> Self {
        Self {
            durable: false,
            linearizable: false,
            ttl: false,
            cas: false,
            watch: false,
            watch_expiry: false,
            value_bytes_max,
        }
    }
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing.
    #[default]
    Any,
    /// There is no record under the key.
    Absent,
    /// The record has this version.
    Version(Version),
}

impl Condition {
    /// Checks the condition against the version that a key has, if it has one.
    ///
    /// # Errors
    /// [`conflict`] when it does not hold.
    pub fn check(self, key: &Key, found: Option<Version>) -> Result<()> {
        let holds = match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        };
        if holds { Ok(()) } else { Err(conflict(key, self)) }
    }
}

/// Makes the error of a condition that does not hold: 409 for [`Condition::Absent`], 423 for a
/// version. Nothing was written, and the same request would fail again.
pub fn conflict(key: &Key, condition: Condition) -> Error {
    match condition {
        Condition::Absent => Error::conflict(ERROR_ID, format!("`{key}` exists")),
        _ => Error::aborted(ERROR_ID, format!("`{key}` has been written or deleted since")),
    }
}

/// Returns whether an error is a [`conflict`]: somebody else has changed the record.
pub fn is_conflict(error: &Error) -> bool {
    error.id() == ERROR_ID && matches!(error.code(), 409 | 423)
}

/// Makes the error of a power that a backend does not declare.
pub fn unsupported(store: &str, what: &str) -> Error {
    Error::unimplemented(ERROR_ID, format!("the store `{store}` has no {what}"))
}

#[cfg(test)]
mod tests;
