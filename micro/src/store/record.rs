//! What is kept under a key.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::store::Capabilities;
use crate::store::Condition;
use crate::store::ERROR_ID;
use crate::store::Key;
use crate::store::unsupported;

/// Entries of one record's metadata; more is a 400.
pub const METADATA_ENTRIES_MAX: usize = 64;

/// Sum of the bytes of all keys and values of one record's metadata; more is a 400.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Which write a record is from.
///
/// A later write of the same key has a greater version, also when the record was deleted in
/// between, so a version never comes back. Nothing else follows from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Makes a version from the backend's own number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number, which also serves as a fencing token.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record as it was read.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The key, as seen from the handle that read it.
    pub key: String,
    /// The value; empty where only keys were asked for.
    pub value: Bytes,
    /// Facts about the value; empty where only keys were asked for.
    pub metadata: BTreeMap<String, String>,
    /// Which write it is from.
    pub version: Version,
    /// How long it still lives, `None` without an end.
    pub expiry: Option<Duration>,
}

impl Record {
    /// Makes a record without metadata and without an end.
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>, version: Version) -> Self {
        let (key, value) = (key.into(), value.into());
        Self { key, value, metadata: BTreeMap::new(), version, expiry: None }
    }

    /// Replaces the metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Replaces the time it still lives.
    #[must_use]
    pub fn with_expiry(mut self, expiry: Option<Duration>) -> Self {
        self.expiry = expiry;
        self
    }

    /// Reads the value as JSON.
    ///
    /// # Errors
    /// 500 that names the key when the value has another shape; it never shows the value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.value).map_err(|error| {
            let kind = std::any::type_name::<T>();
            let detail = format!("the value of `{}` cannot be read as `{kind}`", self.key);
            Error::internal(ERROR_ID, detail).with_source(error)
        })
    }

    /// Returns the bytes that count towards [`PAGE_BYTES_MAX`](crate::store::PAGE_BYTES_MAX).
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + metadata_bytes(&self.metadata)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets, and metadata may describe them.
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("metadata", &format_args!("{} entries", self.metadata.len()))
            .field("version", &self.version.0)
            .field("expiry", &self.expiry)
            .finish()
    }
}

/// A record to be written whole: nothing of an earlier one stays.
#[derive(Clone)]
#[non_exhaustive]
pub struct Write {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// Facts about the value.
    pub metadata: BTreeMap<String, String>,
    /// How long it lives, `None` without an end.
    pub ttl: Option<Duration>,
    /// What must hold for it to happen.
    pub condition: Condition,
}

impl Write {
    /// Makes a write without metadata, end and condition.
    pub fn new(key: Key, value: impl Into<Bytes>) -> Self {
        let (metadata, condition) = (BTreeMap::new(), Condition::Any);
        Self { key, value: value.into(), metadata, ttl: None, condition }
    }

    /// Replaces the metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Replaces the time to live.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Replaces the condition.
    #[must_use]
    pub fn with_condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// Checks the write against what a backend can do; every backend calls it first.
    ///
    /// # Errors
    /// 413 for a value that is too long, 400 for too much metadata or a time to live of zero, 501
    /// for what the backend does not declare.
    pub fn check(&self, store: &str, capabilities: &Capabilities) -> Result<()> {
        let (bytes, max) = (self.value.len(), capabilities.value_bytes_max);
        if bytes > max {
            let detail = format!("the value of `{}` has {bytes} bytes, at most {max}", self.key);
            return Err(Error::too_large(ERROR_ID, detail));
        }
        let (entries, bytes) = (self.metadata.len(), metadata_bytes(&self.metadata));
        if entries > METADATA_ENTRIES_MAX || bytes > METADATA_BYTES_MAX {
            let detail = format!("the metadata of `{}` is too large", self.key);
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        if self.ttl.is_some_and(|ttl| ttl.is_zero()) {
            let detail = format!("the time to live of `{}` is zero", self.key);
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        if self.ttl.is_some() && !capabilities.ttl {
            return Err(unsupported(store, "time to live"));
        }
        if self.condition != Condition::Any && !capabilities.cas {
            return Err(unsupported(store, "conditions on writes"));
        }
        Ok(())
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("ttl", &self.ttl)
            .field("condition", &self.condition)
            .finish_non_exhaustive()
    }
}

/// Writes a value as JSON.
pub(super) fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
        let detail = format!("the value for `{key}` cannot be written as JSON");
        Error::bad_request(ERROR_ID, detail).with_source(error)
    })
}

fn metadata_bytes(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}
