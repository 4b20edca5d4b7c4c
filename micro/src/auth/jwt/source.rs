//! Where the keys of an issuer come from.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::auth::ERROR_ID;
use crate::auth::jwt::KEYS_BYTES_MAX;
use crate::auth::jwt::key::{Published, PublishedKey};
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::store;
use crate::store::Query;

/// A place that publishes a set of keys, as JSON (RFC 7517).
///
/// Asked every few minutes and when a token names an unknown key, with pauses in between, so that
/// a key that is published before it signs is known in time.
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// Returns the set as it is published at this moment; dropping the future gives up.
    fn fetch(&self) -> BoxFuture<'_, Result<String>>;
}

/// A set that never changes.
#[derive(Clone, Debug)]
pub struct KeyText(String);

impl KeyText {
    /// Takes the JSON of a set.
    pub fn new(json: impl Into<String>) -> Self {
        Self(json.into())
    }
}

impl KeySource for KeyText {
    fn fetch(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

/// A file with a set, read again at each look.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// Names the file; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(KEYS_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

impl KeySource for KeyFile {
    fn fetch(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            let path = self.0.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            read.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|error| {
                let detail = format!("the keys in {} cannot be read", self.0.display());
                Error::precondition_failed(ERROR_ID, detail).with_source(error)
            })
        })
    }
}

/// The public keys that an issuer keeps in a table of a store.
#[derive(Clone, Debug)]
pub(super) struct KeyTable(pub(super) store::Handle);

impl KeySource for KeyTable {
    fn fetch(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            let mut set = Published::default();
            let mut scan = self.0.scan(Query::new());
            while let Some(record) = scan.next().await? {
                set.keys.push(record.decode::<PublishedKey>()?);
            }
            serde_json::to_string(&set)
                .map_err(|error| Error::internal(ERROR_ID, "keys have no JSON").with_source(error))
        })
    }
}
