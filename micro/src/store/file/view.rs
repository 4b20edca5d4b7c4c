//! Reads of the file.

use std::ops::Bound;

use redb::{Database, ReadableDatabase};

use crate::store::Key;
use crate::store::Page;
use crate::store::Query;
use crate::store::Record;
use crate::store::Space;
use crate::store::file::layout;
use crate::store::file::layout::RECORDS;
use crate::store::query;

/// Reads a record.
pub(super) fn read(
    database: &Database,
    space: &Space,
    key: &Key,
) -> Result<Option<Record>, redb::Error> {
    let opened = database.begin_read()?.open_table(RECORDS);
    let Some(records) = layout::present(opened)? else { return Ok(None) };
    let Some(found) = records.get((space.database(), space.table(), key.as_str()))? else {
        return Ok(None);
    };
    let (kept, now) = (found.value(), layout::now());
    if layout::is_over(kept.1, now) {
        return Ok(None);
    }
    layout::record(key, kept, now, false).map(Some)
}

/// Lists a page.
pub(super) fn list(database: &Database, space: &Space, query: &Query) -> Result<Page, redb::Error> {
    let opened = database.begin_read()?.open_table(RECORDS);
    let Some(records) = layout::present(opened)? else { return Ok(Page::default()) };
    let (prefix, now) = (query.prefix.as_str(), layout::now());
    let after = query.after.as_deref().filter(|after| *after >= prefix);
    let at = |key| (space.database(), space.table(), key);
    let from = after.map_or(Bound::Included(at(prefix)), |after| Bound::Excluded(at(after)));
    let within = |key: (&str, &str, &str)| {
        key.0 == space.database() && key.1 == space.table() && key.2.starts_with(prefix)
    };
    let candidates = records
        .range((from, Bound::Unbounded))?
        .take_while(|entry| entry.as_ref().map_or(true, |(key, _)| within(key.value())))
        .map(|entry| {
            let (key, found) = entry?;
            Ok::<_, redb::Error>((key.value().2.to_owned(), found))
        });
    query::fill(query, candidates, |key, found| {
        let kept = found.value();
        if layout::is_over(kept.1, now) {
            return Ok(None);
        }
        layout::record(key, kept, now, query.keys_only).map(Some)
    })
}
