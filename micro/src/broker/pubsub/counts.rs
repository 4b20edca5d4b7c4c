//! Deliveries of messages where the servers do not count them.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Messages of one subscription whose deliveries are counted, the latest ones: one that is handled by
/// another process in the end is never forgotten otherwise.
pub(super) const COUNTED_MAX: usize = 1_000;

/// How often messages were delivered to this process.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    of: HashMap<String, u32>,
    order: VecDeque<String>,
}

impl Counts {
    /// Counts a delivery, and returns how many there were with it.
    pub(super) fn count(&self, id: &str) -> u32 {
        let mut state = self.lock();
        if let Some(count) = state.of.get_mut(id) {
            *count = count.saturating_add(1);
            return *count;
        }
        state.of.insert(id.to_owned(), 1);
        state.order.push_back(id.to_owned());
        if state.order.len() > COUNTED_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.of.remove(&oldest);
        }
        1
    }

    /// Forgets a message.
    pub(super) fn forget(&self, id: &str) {
        let mut state = self.lock();
        if state.of.remove(id).is_some() {
            state.order.retain(|other| other != id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_until_the_message_is_forgotten() {
        let counts = Counts::default();
        assert_eq!((counts.count("a"), counts.count("b"), counts.count("a")), (1, 1, 2));
        counts.forget("a");
        assert_eq!((counts.count("a"), counts.count("b")), (1, 2));
    }

    #[test]
    fn the_latest_messages_are_counted() {
        for (count, oldest) in [(COUNTED_MAX, 0), (COUNTED_MAX + 1, 1), (COUNTED_MAX * 10, 9_000)] {
            let counts = Counts::default();
            (0..count).for_each(|n| assert_eq!(counts.count(&n.to_string()), 1));
            assert_eq!(counts.count(&oldest.to_string()), 2, "{count}");
            assert_eq!(counts.lock().of.len(), count.min(COUNTED_MAX));
        }
    }
}
