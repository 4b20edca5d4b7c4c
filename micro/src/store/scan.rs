//! All pages of a list, one record at a time.

use std::collections::VecDeque;

use crate::core::error::Result;
use crate::store::Handle;
use crate::store::Query;
use crate::store::Record;

/// A walk over the records that a query asks for, in the order of their keys.
///
/// Holds one page at a time. What is written meanwhile may or may not be seen.
#[derive(Debug)]
pub struct Scan {
    handle: Handle,
    query: Query,
    page: VecDeque<Record>,
    /// Records that may still be returned; `None` without a limit.
    left: Option<usize>,
    done: bool,
}

impl Scan {
    pub(super) fn new(handle: Handle, query: Query) -> Self {
        let left = (query.limit > 0).then_some(query.limit);
        Self { handle, query, page: VecDeque::new(), left, done: false }
    }

    /// Returns the next record, `None` after the last; cancel safe.
    ///
    /// # Errors
    /// What the backend fails with; calling again tries the same page again.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        if self.left == Some(0) {
            return Ok(None);
        }
        while self.page.is_empty() && !self.done {
            self.query.limit = self.left.unwrap_or_default();
            let page = self.handle.list(&self.query).await?;
            self.done = page.next.is_none();
            self.query.after = page.next;
            self.page = page.records.into();
        }
        let record = self.page.pop_front();
        if record.is_some() {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        Ok(record)
    }
}
