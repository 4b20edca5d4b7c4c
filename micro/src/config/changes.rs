//! Signals that a source may hold another document.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;

/// A stream of signals; several changes may be one signal. Dropping it ends the watch.
pub struct Changes {
    signals: mpsc::Receiver<()>,
    /// Work that is done while someone waits for a signal; `None` once it is done.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The end at which a source signals; clones signal the same.
#[derive(Clone, Debug)]
pub struct Signal(mpsc::Sender<()>);

impl Signal {
    /// Makes both ends.
    pub fn channel() -> (Self, Changes) {
        // One signal that waits stands for all that follow it.
        let (sender, signals) = mpsc::channel(1);
        (Self(sender), Changes { signals, driver: None })
    }

    /// Signals a change; never waits. Returns whether anybody still watches.
    pub fn send(&self) -> bool {
        !matches!(self.0.try_send(()), Err(mpsc::error::TrySendError::Closed(())))
    }
}

impl Changes {
    /// Runs `driver` whenever somebody waits, so that no task is needed.
    #[must_use]
    pub fn with_driver(mut self, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        self.driver = Some(Box::pin(driver));
        self
    }

    /// Waits for a signal; cancel safe. `None` when the source signals no more.
    pub async fn next(&mut self) -> Option<()> {
        std::future::poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(cx).is_ready()
            {
                self.driver = None;
            }
            self.signals.poll_recv(cx)
        })
        .await
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}
