//! Reads the sources again when they change, and keeps what is good.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Source;
use crate::config::changes::Changes;
use crate::config::document::Document;
use crate::config::handle::Config;
use crate::config::snapshot::Snapshot;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::shutdown::TaskTracker;

/// Types that settings are checked against before they are taken.
pub(super) const CHECKS_MAX: usize = 1024;

/// The longest that one source may hold up a reload of all.
const LOAD_WAIT: Duration = Duration::from_secs(10);

/// Pauses between tries to watch a source that cannot be watched.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What became of the changes of the sources.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reloads {
    /// Changes that were taken.
    pub applied: u64,
    /// Changes that were refused, so that the values before them stay.
    pub refused: u64,
    /// Why the last one was refused; `None` once a later one was taken whole.
    pub last_error: Option<Error>,
}

/// Reads settings as somebody requires them.
type Read = Box<dyn Fn(&Snapshot) -> Result<()> + Send + Sync>;

/// What new settings must satisfy.
pub(super) struct Check {
    pub(super) kind: TypeId,
    pub(super) key: String,
    pub(super) run: Read,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.key).finish()
    }
}

impl Config {
    /// Reads all sources again and takes what they hold, if it satisfies everything that was
    /// required; returns whether anything changed.
    ///
    /// A source that cannot be read counts as it was when it last could. Whoever watches is told
    /// once, when everything is in place.
    ///
    /// # Errors
    /// Why a change was refused; it is counted and logged too, and the values before it stay.
    pub async fn reload(&self) -> Result<bool> {
        // Invariant: one reload at a time, so that an older document never replaces a newer one.
        let mut documents = self.shared().documents.lock().await;
        let (read, failure) = self.read_all(&documents).await;
        let taken = self.take(&read);
        if taken.is_ok() {
            *documents = read;
        }
        let failure = taken.as_ref().err().or(failure.as_ref()).cloned();
        let mut reloads = self.shared().reloads();
        reloads.applied += u64::from(taken.as_ref().is_ok_and(|changed| *changed));
        reloads.last_error.clone_from(&failure);
        match failure {
            None => taken,
            Some(error) => {
                reloads.refused += 1;
                drop(reloads);
                tracing::warn!(%error, "settings were not taken; those before them stay");
                Err(error)
            }
        }
    }

    /// Returns what became of the changes so far.
    pub fn reloads(&self) -> Reloads {
        self.shared().reloads().clone()
    }

    /// Reloads by itself whenever a source changes, as long as the tasks run.
    ///
    /// Once this returns, no change of a source that can be watched is missed.
    pub async fn follow(&self, tasks: &TaskTracker) {
        let (sender, mut signals) = mpsc::channel(1);
        let mut is_followed = false;
        for source in &self.shared().sources {
            let source = Arc::clone(source);
            let watching = source.watch().await;
            if matches!(watching, Ok(None)) {
                continue;
            }
            is_followed = true;
            let sender = sender.clone();
            drop(tasks.spawn("config source", watch(source, watching, sender)));
        }
        if !is_followed {
            return;
        }
        let config = self.clone();
        let reload = async move {
            // What changed between the first reading and the beginning of the watch.
            loop {
                // A refused change is counted and logged there.
                drop(config.reload().await);
                if signals.recv().await.is_none() {
                    return;
                }
            }
        };
        drop(tasks.spawn("config reload", reload));
    }

    /// Reads every source; one that fails keeps its last document.
    async fn read_all(&self, before: &[Document]) -> (Vec<Document>, Option<Error>) {
        let (mut documents, mut failure) = (Vec::with_capacity(before.len()), None);
        for (source, last) in self.shared().sources.iter().zip(before) {
            let late = || {
                let detail = format!("{} was not read within {LOAD_WAIT:?}", source.name());
                Err(Error::timeout("micro.config", detail))
            };
            let read = clock::timeout(LOAD_WAIT, source.load()).await;
            match read.unwrap_or_else(|_elapsed| late()) {
                Ok(document) => documents.push(document),
                Err(error) => {
                    documents.push(last.clone());
                    failure = Some(error);
                }
            }
        }
        (documents, failure)
    }

    fn take(&self, documents: &[Document]) -> Result<bool> {
        let shared = self.shared();
        let sources = shared.sources.iter().map(|source| source.as_ref());
        let next = Snapshot::merge(sources.zip(documents))?;
        // Invariant: held until the settings are in place, so that no check comes in between.
        let checks = shared.checks();
        for check in checks.iter() {
            (check.run)(&next)?;
        }
        Ok(shared.snapshot.send_if_modified(|present| {
            let is_other = **present != next;
            // The same values may stand on other lines.
            *present = Arc::new(next);
            is_other
        }))
    }
}

/// Passes the signals of a source on, and watches it again when its watch ends.
async fn watch(source: Arc<dyn Source>, first: Result<Option<Changes>>, sender: mpsc::Sender<()>) {
    let mut pauses = Backoff::new(RETRY_PAUSES.0, RETRY_PAUSES.1);
    let mut watching = first;
    loop {
        match watching {
            Ok(Some(mut changes)) => {
                pauses.reset();
                while changes.next().await.is_some() {
                    // A signal that waits already says the same.
                    if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                        return;
                    }
                }
            }
            Ok(None) => return,
            Err(error) => {
                let source = source.name();
                tracing::warn!(source, %error, "cannot follow settings; trying again");
            }
        }
        clock::sleep(RETRY_PAUSES.0.max(pauses.next_delay())).await;
        watching = source.watch().await;
        // What changed while nobody watched.
        if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
            return;
        }
    }
}
