//! Tells when a file may have changed, however it is replaced.
//!
//! Watched is not the file but every directory that its name leads through: an editor renames
//! another file over it, Kubernetes swaps a symbolic link beside it. Where the system does not tell
//! of changes the file is looked at every few seconds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::config::changes::{Changes, Signal};
use crate::core::clock;

/// Symbolic links that a name may lead through.
const LINKS_MAX: usize = 16;

/// Pause between looks at a file that the system does not watch.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long nothing must happen before a change counts as complete: editors write in steps.
const SETTLE: Duration = Duration::from_millis(50);

/// The longest that changes without a pause are waited for.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Watches a file from now on.
pub(super) fn watch(path: PathBuf) -> Changes {
    let (signal, changes) = Signal::channel();
    let mut eye = Eye::open(path);
    changes.with_driver(async move {
        loop {
            eye.changed().await;
            eye.reopen();
            if !signal.send() {
                return;
            }
        }
    })
}

/// Names that matter in the directories that are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trail {
    directories: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

struct Eye {
    path: PathBuf,
    trail: Trail,
    /// What tells of changes; `None` where the file is polled.
    watcher: Option<(RecommendedWatcher, mpsc::Receiver<()>)>,
    seen: Stamp,
}

/// What tells one content from another without reading it.
type Stamp = Option<(Option<SystemTime>, u64, u64)>;

impl Eye {
    fn open(path: PathBuf) -> Self {
        let mut eye = Self { path, trail: Trail::default(), watcher: None, seen: None };
        eye.reopen();
        eye
    }

    /// Watches where the name leads at this moment.
    fn reopen(&mut self) {
        self.seen = stamp(&self.path);
        let trail = trail(&self.path);
        if self.watcher.is_some() && trail == self.trail {
            return;
        }
        // The old one goes first: systems bound how many there are.
        self.watcher = None;
        match start(&trail) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                let path = self.path.display();
                tracing::debug!(%path, %error, "polled: the system does not watch it");
            }
        }
        self.trail = trail;
    }

    /// Waits until the file may have changed and has come to rest.
    async fn changed(&mut self) {
        let Some((_, told)) = &mut self.watcher else {
            loop {
                clock::sleep(POLL_INTERVAL).await;
                if stamp(&self.path) != self.seen {
                    return;
                }
            }
        };
        if told.recv().await.is_none() {
            // The watcher ended by itself: polled from here on.
            self.watcher = None;
            clock::sleep(POLL_INTERVAL).await;
            return;
        }
        let latest = clock::after(clock::now(), SETTLE_MAX);
        while clock::now() < latest && clock::timeout(SETTLE, told.recv()).await == Ok(Some(())) {}
    }
}

fn start(trail: &Trail) -> notify::Result<(RecommendedWatcher, mpsc::Receiver<()>)> {
    let (sender, told) = mpsc::channel(1);
    let names = trail.names.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = match &event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            Ok(event) => {
                let mut paths = event.paths.iter();
                event.need_rescan()
                    || paths.any(|p| p.file_name().is_none_or(|name| names.contains(name)))
            }
            Err(_) => true,
        };
        // A signal that waits already says the same.
        if concerns && sender.try_send(()).is_err() {}
    })?;
    for directory in &trail.directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok((watcher, told))
}

/// Follows the name of a file through symbolic links, of directories too.
fn trail(path: &Path) -> Trail {
    let mut trail = Trail::default();
    let mut left = LINKS_MAX;
    let mut next = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    while let Some(path) = next.take() {
        let mut walked = PathBuf::new();
        let mut parts = path.components();
        while let Some(part) = parts.next() {
            let parent = walked.clone();
            walked.push(part);
            let Ok(target) = fs::read_link(&walked) else { continue };
            note(&mut trail, &parent, &walked);
            left = left.saturating_sub(1);
            if left > 0 {
                next = Some(parent.join(target).join(parts.as_path()));
            }
            break;
        }
        if next.is_none()
            && let Some(parent) = path.parent()
        {
            note(&mut trail, parent, &path);
        }
    }
    trail
}

fn note(trail: &mut Trail, directory: &Path, entry: &Path) {
    trail.directories.insert(directory.to_owned());
    trail.names.extend(entry.file_name().map(ToOwned::to_owned));
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some((metadata.modified().ok(), metadata.len(), number))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    async fn signalled(changes: &mut Changes, what: &str) {
        let told = clock::timeout(Duration::from_secs(10), changes.next()).await;
        assert_eq!(told, Ok(Some(())), "{what}");
    }

    #[tokio::test]
    async fn a_write_a_rename_and_a_return_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.json"), dir.path().join("new"));
        fs::write(&path, "1").unwrap();
        let mut changes = watch(path.clone());
        fs::write(&path, "2").unwrap();
        signalled(&mut changes, "a write").await;
        fs::write(&other, "3").unwrap();
        fs::rename(&other, &path).unwrap();
        signalled(&mut changes, "a rename over it").await;
        fs::remove_file(&path).unwrap();
        signalled(&mut changes, "a removal").await;
        fs::write(&path, "4").unwrap();
        signalled(&mut changes, "a return").await;
        fs::write(dir.path().join("beside"), "5").unwrap();
        let quiet = clock::timeout(SETTLE * 4, changes.next()).await;
        assert!(quiet.is_err(), "what happens beside the file is not told");
    }

    /// As Kubernetes does with the files of a config map.
    #[tokio::test]
    async fn a_swap_of_a_link_that_the_name_leads_through_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("..v1", "1"), ("..v2", "2"), ("..v3", "3")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.json"), text).unwrap();
        }
        symlink("..v1", at("..data")).unwrap();
        symlink("..data/a.json", at("a.json")).unwrap();
        let mut changes = watch(at("a.json"));
        for version in ["..v2", "..v3"] {
            symlink(version, at("..tmp")).unwrap();
            fs::rename(at("..tmp"), at("..data")).unwrap();
            signalled(&mut changes, version).await;
        }
        fs::write(at("..v3/a.json"), "4").unwrap();
        signalled(&mut changes, "a write where it leads").await;
    }

    #[test]
    fn a_circle_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path().join("b"), dir.path().join("a")).unwrap();
        symlink(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(trail(&dir.path().join("a")).directories.contains(dir.path()));
    }
}
