//! What the connections of one broker are called: the names of their sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::names::word;

/// The names of the sessions of one process.
#[derive(Debug)]
pub(super) struct Ids {
    /// The name of the process, if it has one that stays.
    client: Option<String>,
    state: Mutex<State>,
    /// Rung when a name is given back.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the names that were taken.
    number: u64,
    /// Limit: the subscriptions of one process, and those that are ending.
    taken: HashMap<String, Taken>,
}

/// Who has a name.
#[derive(Debug)]
struct Taken {
    number: u64,
    /// It is given back soon.
    is_ending: bool,
}

/// A name that nothing else here has, until it is given back or this is dropped.
#[derive(Debug)]
pub(super) struct Id {
    pub(super) name: String,
    number: u64,
    ids: Arc<Ids>,
}

impl Ids {
    pub(super) fn new(client: Option<String>) -> Arc<Self> {
        Arc::new(Self { client, state: Mutex::default(), freed: Notify::new() })
    }

    /// Returns a name that is never used again.
    pub(super) fn fleeting(&self) -> String {
        format!("{}:{:016x}", self.client.as_deref().unwrap_or("micro"), fastrand::u64(..))
    }

    /// Returns the name of the session of a subscription: for a process with a name the same when
    /// it subscribes alike again. Waits for one that is ending. Cancel safe.
    pub(super) async fn of(self: &Arc<Self>, topic: &str, queue: Option<&str>) -> Id {
        // Progress: each turn but the last waits until a name is given back.
        loop {
            // Before the look: what is given back after it rings.
            let freed = self.freed.notified();
            if let Some(id) = self.take(topic, queue) {
                return id;
            }
            freed.await;
        }
    }

    /// Takes the first name that nothing has which goes on; `None` if something ending has it.
    fn take(self: &Arc<Self>, topic: &str, queue: Option<&str>) -> Option<Id> {
        let mut state = self.lock();
        let name = match &self.client {
            None => self.fleeting(),
            Some(client) => {
                let (topic, queue) = (word(topic), queue.map(word).unwrap_or_default());
                let name = |number: usize| format!("{client}:{number}:{topic}:{queue}");
                let goes_on =
                    |name: &String| state.taken.get(name).is_some_and(|taken| !taken.is_ending);
                let mut free = (0..=state.taken.len()).map(name).filter(|name| !goes_on(name));
                // Of one more name than there are taken one is free.
                free.next().unwrap_or_else(|| self.fleeting())
            }
        };
        if state.taken.contains_key(&name) {
            return None;
        }
        state.number = state.number.wrapping_add(1);
        let number = state.number;
        state.taken.insert(name.clone(), Taken { number, is_ending: false });
        drop(state);
        Some(Id { name, number, ids: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Id {
    /// Has whoever wants the name wait for it.
    pub(super) fn end(&self) {
        let mut state = self.ids.lock();
        let taken = state.taken.get_mut(&self.name);
        if let Some(taken) = taken.filter(|taken| taken.number == self.number) {
            taken.is_ending = true;
        }
    }

    /// Gives the name back.
    pub(super) fn give_back(&self) {
        let mut state = self.ids.lock();
        let taken = state.taken.get(&self.name);
        if taken.is_some_and(|taken| taken.number == self.number) {
            state.taken.remove(&self.name);
            drop(state);
            self.ids.freed.notify_waiters();
        }
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::clock;

    #[tokio::test(start_paused = true)]
    async fn a_named_process_has_the_same_sessions_again_and_no_two_alike() {
        let ids = Ids::new(Some("mailer-1".into()));
        let first = ids.of("orders.*", Some("q")).await;
        assert_eq!(first.name, "mailer-1:0:orders.=2A:q");
        let second = ids.of("orders.*", Some("q")).await;
        assert_eq!(second.name, "mailer-1:1:orders.=2A:q");
        assert_eq!(ids.of("orders.*", None).await.name, "mailer-1:0:orders.=2A:");
        drop(first);
        assert_eq!(ids.of("orders.*", Some("q")).await.name, "mailer-1:0:orders.=2A:q");
        assert_eq!(Ids::new(None).of("a", None).await.name.len(), "micro:".len() + 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_ending_is_waited_for() {
        let ids = Ids::new(Some("mailer-1".into()));
        let first = ids.of("orders", None).await;
        first.end();
        let waited = clock::timeout(Duration::from_secs(5), ids.of("orders", None)).await;
        assert!(waited.is_err(), "it is still taken");
        let waiting = {
            let ids = Arc::clone(&ids);
            async move { ids.of("orders", None).await }
        };
        let giving = async {
            clock::sleep(Duration::from_secs(1)).await;
            first.give_back();
        };
        let (second, ()) = tokio::join!(waiting, giving);
        assert_eq!(second.name, "mailer-1:0:orders:");
        // Whoever has given it back does not take it from the next.
        drop(first);
        assert_eq!(ids.of("orders", None).await.name, "mailer-1:1:orders:");
    }
}
