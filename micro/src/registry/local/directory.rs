//! The directory that the processes of one user share, and who else may look into it: nobody.

use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::registry::check::ERROR_ID;

/// What every hidden name, as of a file being written, starts with.
pub(super) const HIDDEN: char = '.';

/// A directory that only this user may read or change.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// How many directories at the end of the path must be private.
    private: usize,
}

/// Tells a directory from others that take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, Option<SystemTime>);

impl Directory {
    /// Returns the default place: `$XDG_RUNTIME_DIR/micro/registry`, or below `/tmp` by user id.
    pub(super) fn default_path() -> PathBuf {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        if let Some(runtime) = runtime.filter(|path| path.is_absolute() && path.is_dir()) {
            return runtime.join("micro/registry");
        }
        std::env::temp_dir().join(format!("micro-{}", user())).join("registry")
    }

    /// Names a directory without touching it; the last `private` parts of it must be private.
    pub(super) fn new(path: PathBuf, private: usize) -> Self {
        Self { path, private }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates what is missing and refuses what others could read or change.
    pub(super) fn prepare(&self) -> Result<()> {
        let parts: Vec<&Path> = self.path.ancestors().take(self.private).collect();
        create(&self.path).map_err(|error| self.failed("create", error))?;
        // A file made here has this user as its owner, whoever that is.
        let probe = self.scratch();
        let file = create_file(&probe).map_err(|error| self.failed("write to", error))?;
        let own = file.metadata();
        let removed = fs::remove_file(&probe);
        let own = own.and_then(|own| removed.map(|()| own));
        let own = own.map_err(|error| self.failed("write to", error))?;
        for part in parts {
            let found =
                fs::symlink_metadata(part).map_err(|error| self.failed("inspect", error))?;
            if let Some(why) = objection(&found, &own) {
                let detail = format!(
                    "registry directory {} {why}; make it private (chmod 700) or name another in \
                     MICRO_REGISTRY",
                    part.display()
                );
                return Err(Error::precondition_failed(ERROR_ID, detail));
            }
        }
        Ok(())
    }

    /// Writes a file of the directory as a whole: readers see the old or the new one.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let scratch = self.scratch();
        let written = create_file(&scratch)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(&scratch, self.path.join(name)));
        if written.is_err() {
            // The first error is the one to report; the scratch file is swept later if need be.
            fs::remove_file(&scratch).ok();
        }
        written
    }

    /// Removes a file if its content satisfies `condition`, and never one that replaced it since.
    pub(super) fn remove_if(
        &self,
        name: &str,
        condition: impl Fn(&Path) -> io::Result<bool>,
    ) -> io::Result<()> {
        let path = self.path.join(name);
        let absent_is_fine = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        };
        if !condition(&path).or_else(absent_is_fine)? {
            return Ok(());
        }
        // Moved aside first: what is deleted is then what was looked at.
        let scratch = self.scratch();
        match fs::rename(&path, &scratch) {
            Err(error) => return absent_is_fine(error).map(drop),
            Ok(()) if condition(&scratch).unwrap_or(true) => {}
            // A link fails if yet another file has taken the name, which is then the newest.
            Ok(()) => drop(fs::hard_link(&scratch, &path)),
        }
        fs::remove_file(&scratch)
    }

    /// Returns what tells this directory from one that replaces it; `None` if there is none that
    /// can be read.
    pub(super) fn identity(&self) -> Option<Identity> {
        fs::read_dir(&self.path).ok()?;
        let metadata = fs::metadata(&self.path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        // Numbers of files are used again at once: the time of creation tells more.
        Some(Identity(inode, metadata.created().ok()))
    }

    /// Returns a name in the directory that nobody else uses.
    fn scratch(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.path.join(format!("{HIDDEN}{pid}-{next}-{:08x}", fastrand::u32(..)))
    }

    pub(super) fn failed(&self, what: &str, error: io::Error) -> Error {
        let detail =
            format!("cannot {what} the registry directory {}: {error}", self.path.display());
        Error::unavailable(ERROR_ID, detail).with_source(error)
    }
}

/// Returns the number of the user, or the name where numbers are not told.
fn user() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // The second is the effective one, which owns the files this process makes.
    let number = uids.and_then(|uids| uids.split_ascii_whitespace().nth(1)).map(str::to_owned);
    let name = || std::env::var("USER").ok();
    let user = number.or_else(name).unwrap_or_default();
    user.chars().filter(|c| c.is_ascii_alphanumeric()).take(32).collect()
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn create_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}

/// Says what is wrong with a directory, judged by a file of this user's.
#[cfg(unix)]
fn objection(found: &Metadata, own: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    if !found.is_dir() {
        return Some("is not a directory itself (symbolic links are refused)".to_owned());
    }
    if found.uid() != own.uid() {
        return Some(format!("belongs to user {}, not to {}", found.uid(), own.uid()));
    }
    let mode = found.mode() & 0o777;
    (mode & 0o077 != 0).then(|| format!("has mode {mode:03o}, which lets other users in"))
}

#[cfg(not(unix))]
fn objection(found: &Metadata, _own: &Metadata) -> Option<String> {
    (!found.is_dir()).then(|| "is not a directory itself".to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory(path: PathBuf) -> Directory {
        Directory::new(path, 1)
    }

    #[test]
    fn a_directory_that_lets_others_in_is_refused_by_name() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("registry");
        directory(path.clone()).prepare().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        for mode in [0o701, 0o710, 0o755, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = directory(path.clone()).prepare().unwrap_err();
            assert_eq!(error.code(), 412);
            assert!(error.detail().contains(path.to_str().unwrap()), "{error}");
            assert!(error.detail().contains("MICRO_REGISTRY"), "{error}");
        }
    }

    #[test]
    fn a_link_or_an_open_parent_is_refused_where_both_must_be_private() {
        let temp = tempfile::tempdir().unwrap();
        let real = temp.path().join("real");
        directory(real.clone()).prepare().unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(directory(link).prepare().unwrap_err().code(), 412);

        let nested = Directory::new(real.join("registry"), 2);
        nested.prepare().unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(nested.prepare().unwrap_err().code(), 412);
    }

    #[test]
    fn a_directory_that_cannot_be_made_says_where() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let error = directory(file.join("registry")).prepare().unwrap_err();
        assert_eq!(error.code(), 503);
        assert!(error.detail().contains(file.to_str().unwrap()), "{error}");
    }

    #[test]
    fn only_what_was_looked_at_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let directory = directory(temp.path().join("registry"));
        directory.prepare().unwrap();
        directory.write("a", b"old").unwrap();
        let is_old = |path: &Path| Ok(fs::read(path)? == b"old");
        // The name is taken over between the look and the removal.
        let calls = std::cell::Cell::new(0);
        directory
            .remove_if("a", |path| {
                let old = is_old(path);
                if calls.replace(1) == 0 {
                    directory.write("a", b"new").unwrap();
                }
                old
            })
            .unwrap();
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"new");
        directory.remove_if("a", is_old).unwrap();
        assert!(directory.path().join("a").exists());
        directory.remove_if("a", |_| Ok(true)).unwrap();
        directory.remove_if("a", |_| Ok(true)).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "no scratch is left");
    }
}
