//! Signals between processes: hints that it is worth a look, never the truth.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Signals that wait to be sent; further ones are left out, a look after a while finds what they
/// stood for.
pub(super) const SIGNALS_MAX: usize = 1024;

/// Whoever wants to hear signals.
pub(crate) trait Hear: Send + Sync {
    /// Takes a signal, `None` for what may have been missed; called by the task of the connection,
    /// which must not be held up.
    fn hear(&self, channel: &str, payload: Option<&str>);
}

/// Those who listen.
#[derive(Default)]
pub(super) struct Ears {
    ears: Mutex<Vec<Weak<dyn Hear>>>,
}

impl Ears {
    pub(super) fn add(&self, ear: Weak<dyn Hear>) {
        let mut ears = self.lock();
        ears.retain(|ear| ear.strong_count() > 0);
        ears.push(ear);
    }

    pub(super) fn tell(&self, channel: &str, payload: Option<&str>) {
        for ear in self.lock().iter().filter_map(Weak::upgrade) {
            ear.hear(channel, payload);
        }
    }

    /// Says that signals may have been missed.
    pub(super) fn tell_of_gap(&self) {
        self.tell("", None);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Hear>>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signals that wait to be sent, each once.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<BTreeSet<(&'static str, String)>>,
    filled: Notify,
}

impl Outbox {
    /// Adds a signal.
    pub(super) fn put(&self, channel: &'static str, payload: String) {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= SIGNALS_MAX {
                return;
            }
            waiting.insert((channel, payload));
        }
        self.filled.notify_one();
    }

    /// Waits for signals and takes them all, channels and payloads.
    pub(super) async fn take(&self) -> (Vec<&'static str>, Vec<String>) {
        // Progress: each turn takes what there is or waits for more.
        loop {
            let waiting = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting)
            };
            if !waiting.is_empty() {
                return waiting.into_iter().unzip();
            }
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signals_are_sent_once_and_are_limited() {
        let outbox = Outbox::default();
        outbox.put("store", String::new());
        outbox.put("store", String::new());
        assert_eq!(outbox.take().await, (vec!["store"], vec![String::new()]));
        for n in 0..SIGNALS_MAX * 10 {
            outbox.put("broker", n.to_string());
            let waiting = outbox.waiting.lock().unwrap().len();
            assert_eq!(waiting, (n + 1).min(SIGNALS_MAX));
        }
        assert_eq!(outbox.take().await.0.len(), SIGNALS_MAX);
    }
}
