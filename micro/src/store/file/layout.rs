//! What is in the file: records, when they end, and the last version.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::StoreLimits;
use crate::store::ERROR_ID;
use crate::store::Record;
use crate::store::Version;
use crate::store::file::failed;

/// Database, table and key.
pub(super) type Place = (&'static str, &'static str, &'static str);

/// Version, end in milliseconds since 1970 or 0 for none, metadata as JSON, value.
pub(super) type Kept = (u64, u64, &'static str, &'static [u8]);

pub(super) const RECORDS: TableDefinition<'static, Place, Kept> = TableDefinition::new("records");

/// Records by their end and version; a version belongs to one record only.
pub(super) const ENDS: TableDefinition<'static, (u64, u64), Place> = TableDefinition::new("ends");

/// The last version that was given out, under the key [`LAST_VERSION`].
pub(super) const NUMBERS: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("numbers");

pub(super) const LAST_VERSION: &str = "last_version";

/// Opens or makes the file. May wait for the disk.
pub(super) fn open(path: &Path, limits: &StoreLimits) -> Result<Database> {
    let unusable = |error: std::io::Error| {
        let detail = format!("cannot open the store {}: {error}", path.display());
        Error::unavailable(ERROR_ID, detail).with_source(error)
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directory(parent).map_err(unusable)?;
    }
    let is_fresh = !path.exists();
    if is_fresh {
        make(path, limits, unusable)?;
    }
    let file = open_file(path).map_err(unusable)?;
    let database = FileBackend::new(file)
        .and_then(|file| builder(limits).create_with_backend(file))
        .map_err(|error| refused(path, error))?;
    if is_fresh && let Some(parent) = parent {
        // The name of the file must outlive a loss of power as its contents do.
        std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable)?;
    }
    Ok(database)
}

/// Makes the file whole before it has its name: a process may be killed at any time, and what it had
/// begun to lay out could not be opened again. One that is killed here leaves a hidden file behind.
fn make(
    path: &Path,
    limits: &StoreLimits,
    unusable: impl Fn(std::io::Error) -> Error,
) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = format!(".{name}.{:016x}.new", fastrand::u64(..));
    let fresh = path.with_file_name(unique);
    let made = open_file(&fresh).map_err(&unusable).and_then(|file| {
        let backend = FileBackend::new(file).map_err(|error| refused(path, error))?;
        let database = builder(limits).create_with_backend(backend);
        drop(database.map_err(|error| refused(path, error))?);
        match std::fs::hard_link(&fresh, path) {
            // Another process has made it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // Not every file system has links.
            Err(_) if !path.exists() => std::fs::rename(&fresh, path).map_err(&unusable),
            linked => linked.map_err(&unusable),
        }
    });
    // Nothing that matters is lost where it stays.
    let _removed = std::fs::remove_file(&fresh).is_ok();
    made
}

/// Says how the file is used.
fn builder(limits: &StoreLimits) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(limits.file_cache_bytes_max);
    builder
}

fn refused(path: &Path, error: DatabaseError) -> Error {
    let why = match &error {
        DatabaseError::DatabaseAlreadyOpen => "another process has it open; give each its own path",
        DatabaseError::UpgradeRequired(_) => "it is of an older format",
        _ => return failed(path, "open", error.into()),
    };
    let detail = format!("cannot open the store {}: {why}", path.display());
    Error::precondition_failed(ERROR_ID, detail).with_source(error)
}

#[cfg(unix)]
fn create_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_directory(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)
}

fn open_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns when the next record ends.
pub(super) fn next_end(database: &Database) -> Result<Option<u64>, redb::Error> {
    let Some(ends) = present(database.begin_read()?.open_table(ENDS))? else { return Ok(None) };
    Ok(ends.first()?.map(|(key, _)| key.value().0))
}

/// Takes a table that was never written for an empty one.
pub(super) fn present<T>(opened: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the date in milliseconds since 1970.
pub(super) fn now() -> u64 {
    u64::try_from(clock::unix_now().as_millis()).unwrap_or(u64::MAX)
}

/// Returns the date at which a time to live is over; never 0, which stands for none.
pub(super) fn end(now: u64, ttl: Duration) -> u64 {
    let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    now.saturating_add(millis).max(1)
}

/// Returns whether a record with this end is over.
pub(super) fn is_over(end: u64, now: u64) -> bool {
    end != 0 && end <= now
}

/// Makes a record of what is in the file.
pub(super) fn record(
    key: &str,
    kept: (u64, u64, &str, &[u8]),
    now: u64,
    keys_only: bool,
) -> Result<Record, redb::Error> {
    let (version, end, metadata, value) = kept;
    let expiry = (end != 0).then(|| Duration::from_millis(end.saturating_sub(now)));
    let version = Version::new(version);
    if keys_only {
        return Ok(Record::new(key, Bytes::new(), version).with_expiry(expiry));
    }
    let record = Record::new(key, Bytes::copy_from_slice(value), version);
    Ok(record.with_metadata(read_metadata(metadata)?).with_expiry(expiry))
}

fn read_metadata(text: &str) -> Result<BTreeMap<String, String>, redb::Error> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(text)
        .map_err(|error| redb::Error::Corrupted(format!("the metadata of a record: {error}")))
}

/// Writes metadata as text, empty if there is none.
pub(super) fn metadata_text(metadata: &BTreeMap<String, String>) -> String {
    if metadata.is_empty() {
        return String::new();
    }
    // Text under text is always JSON.
    serde_json::to_string(metadata).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    /// A disk that counts the bytes that are read from it.
    #[derive(Debug)]
    struct Disk {
        inner: InMemoryBackend,
        read: Arc<AtomicUsize>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            StorageBackend::len(&self.inner)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.read.fetch_add(out.len(), Ordering::SeqCst);
            StorageBackend::read(&self.inner, offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            StorageBackend::set_len(&self.inner, len)
        }

        fn sync_data(&self) -> io::Result<()> {
            StorageBackend::sync_data(&self.inner)
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            StorageBackend::write(&self.inner, offset, data)
        }
    }

    /// Bytes of each value.
    const VALUE_BYTES: usize = 1000;

    /// Reads every record; returns the bytes of their values.
    fn read_all(database: &Database) -> usize {
        let table = database.begin_read().unwrap().open_table(RECORDS).unwrap();
        table.iter().unwrap().map(|entry| entry.unwrap().1.value().3.len()).sum()
    }

    /// What fits is read from the disk once; of what does not, no more than the limit is kept.
    #[test]
    fn what_is_kept_in_memory_of_a_file_is_bounded() {
        let max = 1024 * 1024;
        let limits = StoreLimits { file_cache_bytes_max: max, ..StoreLimits::default() };
        // Pages are not full: they take more than the values in them.
        for bytes in [max / 8, max, max + max / 10, max * 10] {
            let read = Arc::<AtomicUsize>::default();
            let disk = Disk { inner: InMemoryBackend::new(), read: Arc::clone(&read) };
            let database = builder(&limits).create_with_backend(disk).unwrap();
            let writing = database.begin_write().unwrap();
            let mut table = writing.open_table(RECORDS).unwrap();
            let (value, records) = ([7_u8; VALUE_BYTES], bytes / VALUE_BYTES);
            for record in 0..records {
                let key = format!("{record:08}");
                let kept = (1_u64, 0_u64, "", value.as_slice());
                table.insert(("micro", "default", key.as_str()), kept).unwrap();
            }
            drop(table);
            writing.commit().unwrap();
            let whole = records * VALUE_BYTES;
            assert_eq!(read_all(&database), whole);
            let before = read.load(Ordering::SeqCst);
            assert_eq!(read_all(&database), whole, "what is not kept is read again");
            let again = read.load(Ordering::SeqCst) - before;
            assert!(again + max >= whole, "{whole} bytes, and only {again} are not in memory");
            assert!(bytes > max / 8 || again == 0, "{again} of {whole} bytes, which fit");
        }
    }
}
