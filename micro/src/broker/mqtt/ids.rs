//! What the connections of one broker are called: the names of their sessions.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::names::word;

/// The names of the sessions of one process.
#[derive(Debug)]
pub(super) struct Ids {
    /// The name of the process, if it has one that stays.
    client: Option<String>,
    /// Limit: the subscriptions of one process, and those that are ending.
    taken: Mutex<HashSet<String>>,
}

/// A name that nothing else here has, until it is dropped.
#[derive(Debug)]
pub(super) struct Id {
    pub(super) name: String,
    ids: Arc<Ids>,
}

impl Ids {
    pub(super) fn new(client: Option<String>) -> Arc<Self> {
        Arc::new(Self { client, taken: Mutex::default() })
    }

    /// Returns a name that is never used again.
    pub(super) fn fleeting(&self) -> String {
        format!("{}:{:016x}", self.client.as_deref().unwrap_or("micro"), fastrand::u64(..))
    }

    /// Returns the name of the session of a subscription: for a process with a name the same when
    /// it subscribes alike again.
    pub(super) fn of(self: &Arc<Self>, topic: &str, queue: Option<&str>) -> Id {
        let mut taken = self.lock();
        let name = match &self.client {
            None => self.fleeting(),
            Some(client) => {
                let (topic, queue) = (word(topic), queue.map(word).unwrap_or_default());
                let name = |number: usize| format!("{client}:{number}:{topic}:{queue}");
                let mut free = (0..=taken.len()).map(name).filter(|name| !taken.contains(name));
                // Of one more name than there are taken one is free.
                free.next().unwrap_or_else(|| self.fleeting())
            }
        };
        taken.insert(name.clone());
        drop(taken);
        Id { name, ids: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // Every critical section leaves the set whole, so a poisoned lock is still sound.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        self.ids.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_process_has_the_same_sessions_again_and_no_two_alike() {
        let ids = Ids::new(Some("mailer-1".into()));
        let first = ids.of("orders.*", Some("q"));
        assert_eq!(first.name, "mailer-1:0:orders.=2A:q");
        let second = ids.of("orders.*", Some("q"));
        assert_eq!(second.name, "mailer-1:1:orders.=2A:q");
        assert_eq!(ids.of("orders.*", None).name, "mailer-1:0:orders.=2A:");
        drop(first);
        assert_eq!(ids.of("orders.*", Some("q")).name, "mailer-1:0:orders.=2A:q");
        assert_eq!(Ids::new(None).of("a", None).name.len(), "micro:".len() + 16);
    }
}
