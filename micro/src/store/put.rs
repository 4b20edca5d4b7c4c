//! A write that is being put together.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::store::Condition;
use crate::store::Handle;
use crate::store::Version;
use crate::store::Write;

/// A write; awaiting it writes and returns the version. Dropped before, it does nothing.
#[must_use = "a write does nothing unless it is awaited"]
pub struct Put {
    handle: Handle,
    key: String,
    value: Result<Bytes>,
    metadata: BTreeMap<String, String>,
    ttl: Option<Duration>,
    condition: Condition,
}

impl Put {
    pub(super) fn new(handle: Handle, key: &str, value: Result<Bytes>) -> Self {
        let (metadata, condition) = (BTreeMap::new(), Condition::Any);
        Self { handle, key: key.to_owned(), value, metadata, ttl: None, condition }
    }

    /// Lets the record end after a while, counted from the write.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// States a fact about the value, replacing one of the same name.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Writes only if there is no record under the key.
    pub fn if_absent(mut self) -> Self {
        self.condition = Condition::Absent;
        self
    }

    /// Writes only if the record is still of this version.
    pub fn if_version(mut self, version: Version) -> Self {
        self.condition = Condition::Version(version);
        self
    }

    /// Keeps what another record says beside its value.
    pub(super) fn like(
        mut self,
        metadata: BTreeMap<String, String>,
        ttl: Option<Duration>,
    ) -> Self {
        (self.metadata, self.ttl) = (metadata, ttl);
        self
    }

    async fn run(self) -> Result<Version> {
        let mut write = Write::new(self.handle.key(&self.key)?, self.value?);
        (write.metadata, write.ttl) = (self.metadata, self.ttl);
        write.condition = self.condition;
        self.handle.write_checked(write).await
    }
}

impl IntoFuture for Put {
    type Output = Result<Version>;
    type IntoFuture = BoxFuture<'static, Result<Version>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("key", &self.key)
            .field("ttl", &self.ttl)
            .field("condition", &self.condition)
            .finish_non_exhaustive()
    }
}
