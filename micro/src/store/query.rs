//! What to list, and a page of it.

use crate::store::Record;

/// Records of one page; a query that asks for more gets as many.
pub const PAGE_RECORDS_MAX: usize = 1000;

/// Bytes of the records of one page, after which it ends; the record that reaches it is in it.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records that a backend looks at for one page, so that a rare suffix holds up nobody.
pub const SCAN_RECORDS_MAX: usize = 10_000;

/// Which records to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// How the keys begin; all characters are literal.
    pub prefix: String,
    /// How the keys end; all characters are literal.
    pub suffix: String,
    /// The key after which the page begins: [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Records at most; zero means [`PAGE_RECORDS_MAX`].
    pub limit: usize,
    /// Whether values and metadata are left out.
    pub keys_only: bool,
}

impl Query {
    /// Lists everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists only keys that begin so.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Lists only keys that end so.
    #[must_use]
    pub fn with_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// Begins after a key, which need not exist.
    #[must_use]
    pub fn with_after(mut self, after: impl Into<String>) -> Self {
        self.after = Some(after.into());
        self
    }

    /// Ends after so many records.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Leaves values and metadata out.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Returns how many records a page holds at most, 1 to [`PAGE_RECORDS_MAX`].
    pub fn page_records(&self) -> usize {
        if self.limit == 0 { PAGE_RECORDS_MAX } else { self.limit.min(PAGE_RECORDS_MAX) }
    }

    /// Returns whether a key begins and ends as asked for; the two may overlap.
    pub fn matches(&self, key: &str) -> bool {
        key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }
}

/// A part of a list, in the order of the bytes of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The records; there may be none on a page that is not the last.
    pub records: Vec<Record>,
    /// Where the next page begins, for [`Query::with_after`]; `None` on the last one.
    pub next: Option<String>,
}

impl Page {
    /// Makes a page.
    pub fn new(records: Vec<Record>, next: Option<String>) -> Self {
        Self { records, next }
    }
}

/// Fills a page from the records of a space that begin with the prefix and follow `after`, in
/// order.
pub(super) fn fill<T, E>(
    query: &Query,
    mut candidates: impl Iterator<Item = Result<(String, T), E>>,
    mut read: impl FnMut(&str, T) -> Result<Option<Record>, E>,
) -> Result<Page, E> {
    let mut page = Page::default();
    let (mut bytes, mut seen) = (0_usize, 0_usize);
    while let Some(candidate) = candidates.next() {
        let (key, found) = candidate?;
        if query.matches(&key)
            && let Some(record) = read(&key, found)?
        {
            bytes = bytes.saturating_add(record.bytes());
            page.records.push(record);
        }
        seen += 1;
        let full = page.records.len() >= query.page_records();
        if full || bytes >= PAGE_BYTES_MAX || seen >= SCAN_RECORDS_MAX {
            page.next = candidates.next().transpose()?.map(|_| key);
            break;
        }
    }
    Ok(page)
}
