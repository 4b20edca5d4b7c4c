//! Rows as records, and what goes into them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::error::{Error, Result};
use crate::driver::postgres::{Row, column};
use crate::store::{ERROR_ID, Page, Query, Record, SCAN_RECORDS_MAX, Version};

/// The longest time to live that is kept: a hundred years. A longer one is cut to it.
const TTL_MICROS_MAX: i64 = 100 * 365 * 24 * 3600 * 1_000_000;

/// Makes a record; of `facts` the first is the version, the second how many microseconds it lives.
pub(super) fn record(
    key: &str,
    value: Vec<u8>,
    metadata: &str,
    facts: (i64, Option<i64>),
) -> Result<Record> {
    let metadata: BTreeMap<String, String> = if metadata.is_empty() {
        BTreeMap::new()
    } else {
        serde_json::from_str(metadata).map_err(|error| {
            let detail = format!("the metadata of `{key}` cannot be read");
            Error::internal(ERROR_ID, detail).with_source(error)
        })?
    };
    let rest = facts.1.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    Ok(Record::new(key, value, version(facts.0)?).with_metadata(metadata).with_expiry(rest))
}

pub(super) fn version(number: i64) -> Result<Version> {
    let number = u64::try_from(number)
        .map_err(|_negative| Error::internal(ERROR_ID, "a version is negative"))?;
    Ok(Version::new(number))
}

/// Returns the number of a version; one that no record has for one that is too great.
pub(super) fn number(version: Version) -> i64 {
    i64::try_from(version.get()).unwrap_or(-1)
}

pub(super) fn metadata(metadata: &BTreeMap<String, String>) -> Result<String> {
    if metadata.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(metadata)
        .map_err(|error| Error::internal(ERROR_ID, "metadata is no JSON").with_source(error))
}

pub(super) fn micros(ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX).clamp(1, TTL_MICROS_MAX))
}

/// How many records a list looks at for a page.
pub(super) fn scanned_max(query: &Query) -> usize {
    if query.suffix.is_empty() { query.page_records() + 1 } else { SCAN_RECORDS_MAX }
}

/// Makes a page of the rows of a list.
pub(super) fn page(query: &Query, rows: &[Row]) -> Result<Page> {
    let mut page = Page::default();
    let (mut scanned, mut last, mut fits) = (0_i64, None::<String>, 0_i64);
    for row in rows {
        (scanned, last, fits) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
        let Some(key): Option<String> = column(row, 3)? else { continue };
        let value: Option<Vec<u8>> = column(row, 6)?;
        let metadata: Option<String> = column(row, 7)?;
        let facts = (column(row, 4)?, column(row, 5)?);
        let (value, metadata) = (value.unwrap_or_default(), metadata.unwrap_or_default());
        page.records.push(record(&key, value, &metadata, facts)?);
    }
    let left_out = usize::try_from(fits).unwrap_or_default() > page.records.len();
    let more = usize::try_from(scanned).unwrap_or_default() >= scanned_max(query);
    page.next = match page.records.last() {
        Some(record) if left_out => Some(record.key.clone()),
        _ if more => last,
        _ => None,
    };
    Ok(page)
}

/// Returns the least text that is greater than every key that begins with `prefix`.
pub(super) fn end_of(prefix: &str) -> String {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The surrogates are no characters and are left out.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return chars.into_iter().collect();
        }
    }
    // No key has so many bytes.
    char::MAX.to_string().repeat(crate::store::KEY_BYTES_MAX / 4 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_to_live_are_cut_to_what_the_server_can_add() {
        assert_eq!(micros(None), None);
        assert_eq!(micros(Some(Duration::from_nanos(1))), Some(1));
        assert_eq!(micros(Some(Duration::from_secs(7))), Some(7_000_000));
        let most = Duration::from_micros(u64::try_from(TTL_MICROS_MAX).unwrap());
        for ttl in [most, most + Duration::from_micros(1), most * 10, Duration::MAX] {
            assert_eq!(micros(Some(ttl)), Some(TTL_MICROS_MAX));
        }
    }

    #[test]
    fn metadata_returns_as_it_was() {
        let facts = BTreeMap::from([("a\"b".to_owned(), "\u{e4}\0".to_owned())]);
        let record = record("k", vec![1], &metadata(&facts).unwrap(), (3, Some(5))).unwrap();
        assert_eq!(record.metadata, facts);
        assert_eq!(record.expiry, Some(Duration::from_micros(5)));
        assert_eq!(metadata(&BTreeMap::new()).unwrap(), "");
    }

    proptest! {
        #[test]
        fn a_prefix_ends_after_all_that_begins_with_it_and_before_the_rest(
            prefix in "[a\u{d7ff}\u{10ffff}]{0,3}", key in "[ab\u{d7ff}\u{e000}\u{10ffff}]{1,6}",
        ) {
            let within = *key >= *prefix && key < end_of(&prefix);
            prop_assert_eq!(within, key.starts_with(&prefix));
        }
    }
}
