//! Unix sockets: a file that one listener at a time owns.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::{UnixListener, UnixStream};

/// How often a path is tried whose file comes and goes meanwhile.
const TRIES_MAX: usize = 3;

/// A listener at a path; its file is removed when it is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    file: Option<File>,
}

/// What tells one file at a path from the next.
type File = (u64, u64);

impl UnixSocket {
    /// Binds a path; the socket that a dead process has left there is replaced.
    ///
    /// # Errors
    /// What the operating system says. `AddrInUse` when a process listens there, and when the file
    /// is anything but a socket: neither is ever removed.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES_MAX {
            // The system never binds to a file that exists.
            match UnixListener::bind(path) {
                Ok(listener) => {
                    let file = socket_at(path).ok();
                    return Ok(Self { listener, path: path.to_owned(), file });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => refused = error,
                Err(error) => return Err(error),
            }
            match remove_dead(path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Err(refused)
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a peer; cancel safe.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Another process may have its own socket there by now.
        if self.file.is_some() && socket_at(&self.path).ok() == self.file {
            // A file that is gone already is as good as one removed here.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Identifies the socket at a path; symbolic links are not followed.
fn socket_at(path: &Path) -> io::Result<File> {
    let found = std::fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(in_use(path, "is a file that is no socket"));
    }
    Ok((found.dev(), found.ino()))
}

/// Removes the socket of a process that died, never that of a living one.
///
/// It is moved aside before it is removed, and looked at again there: between the first look and
/// the move another process may have bound the path.
async fn remove_dead(path: &Path) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let found = socket_at(path)?;
    if lives(path).await {
        return Err(in_use(path, "belongs to another process"));
    }
    let mut aside = OsString::from(path);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    aside.push(format!(".{}.{number}", std::process::id()));
    let aside = PathBuf::from(aside);
    std::fs::rename(path, &aside)?;
    let same = socket_at(&aside).ok() == Some(found);
    if same && !lives(&aside).await {
        return std::fs::remove_file(&aside);
    }
    // A link never replaces what a third process has put there meanwhile.
    std::fs::hard_link(&aside, path)?;
    std::fs::remove_file(&aside)?;
    Err(in_use(path, "belongs to another process"))
}

/// Tells whether somebody listens; only a refusal says that nobody does.
async fn lives(path: &Path) -> bool {
    let connected = UnixStream::connect(path).await;
    !connected.is_err_and(|error| {
        // A path that is too long for a socket cannot have one.
        matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput)
    })
}

fn in_use(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    async fn refusal(path: &Path) -> String {
        let error = UnixSocket::bind(path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        error.to_string()
    }

    fn files(directory: &tempfile::TempDir) -> usize {
        std::fs::read_dir(directory.path()).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_removed() {
        let directory = directory();
        let path = directory.path().join("data.db");
        std::fs::write(&path, "precious").unwrap();
        assert!(refusal(&path).await.contains("no socket"));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(refusal(&link).await.contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert_eq!(files(&directory), 2);
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let directory = directory();
        let path = directory.path().join("node.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(files(&directory), 1, "a process that dies leaves its socket");
        let bound = UnixSocket::bind(&path).await.unwrap();
        assert!(refusal(&path).await.contains("another process"));
        let (dialed, accepted) = tokio::join!(UnixStream::connect(&path), bound.accept());
        assert!(dialed.is_ok() && accepted.is_ok());
        assert_eq!(files(&directory), 1);
        drop(bound);
        assert_eq!(files(&directory), 0);
    }

    #[tokio::test]
    async fn a_listener_leaves_the_socket_of_its_successor() {
        let directory = directory();
        let path = directory.path().join("node.sock");
        let first = UnixSocket::bind(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = UnixSocket::bind(&path).await.unwrap();
        drop(first);
        assert!(lives(&path).await);
        drop(second);
        assert_eq!(files(&directory), 0);
    }

    #[tokio::test]
    async fn of_many_that_start_together_one_binds_and_stays_reachable() {
        let directory = directory();
        let path = directory.path().join("node.sock");
        for _ in 0..20 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let (a, b, c) = tokio::join!(
                UnixSocket::bind(&path),
                UnixSocket::bind(&path),
                UnixSocket::bind(&path)
            );
            let bound: Vec<_> = [a, b, c].into_iter().flatten().collect();
            assert_eq!(bound.len(), 1);
            assert!(lives(&path).await);
            drop(bound);
            assert_eq!(files(&directory), 0);
        }
    }
}
