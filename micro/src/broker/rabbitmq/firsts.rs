//! When messages that are delivered again were delivered first.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// Messages of one subscription whose first delivery is known, the latest ones: a message that is
/// handled by another process in the end is never forgotten otherwise.
pub(super) const FIRSTS_MAX: usize = 1_000;

/// The times of first deliveries to a subscription.
#[derive(Default)]
pub(super) struct Firsts(Mutex<Times>);

#[derive(Default)]
struct Times {
    of: HashMap<String, Duration>,
    order: VecDeque<String>,
}

impl Firsts {
    /// Remembers when a message was delivered, unless an earlier time is known.
    pub(super) fn keep(&self, id: &str, at: Duration) {
        let mut times = self.lock();
        if times.of.contains_key(id) {
            return;
        }
        times.of.insert(id.to_owned(), at);
        times.order.push_back(id.to_owned());
        if times.order.len() > FIRSTS_MAX
            && let Some(oldest) = times.order.pop_front()
        {
            times.of.remove(&oldest);
        }
    }

    /// Forgets a message and returns when it was delivered first, if that is known.
    pub(super) fn take(&self, id: &str) -> Option<Duration> {
        let mut times = self.lock();
        let at = times.of.remove(id)?;
        times.order.retain(|other| other != id);
        Some(at)
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_kept_until_it_is_taken() {
        let firsts = Firsts::default();
        firsts.keep("a", Duration::from_secs(1));
        firsts.keep("a", Duration::from_secs(2));
        assert_eq!(firsts.take("a"), Some(Duration::from_secs(1)));
        assert_eq!(firsts.take("a"), None);
    }

    #[test]
    fn the_latest_messages_are_kept() {
        for (count, oldest) in [(FIRSTS_MAX, 0), (FIRSTS_MAX + 1, 1), (FIRSTS_MAX * 10, 9_000)] {
            let firsts = Firsts::default();
            (0..count).for_each(|n| firsts.keep(&n.to_string(), Duration::ZERO));
            assert!(firsts.take(&oldest.to_string()).is_some(), "{count}");
            assert!(oldest == 0 || firsts.take(&(oldest - 1).to_string()).is_none(), "{count}");
        }
    }
}
