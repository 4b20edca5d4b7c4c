//! Values kept for as long as they are used, so many at most.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::core::clock::Instant;

/// The values used last, each until it was not used for a while.
///
/// What falls out is returned, so that the caller drops it where no lock is held.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    max: usize,
    idle: Duration,
    used: HashMap<K, (V, Instant)>,
    /// When idle values are looked for next.
    next_sweep: Option<Instant>,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    /// Keeps at most `max` values, each for `idle` after its last use.
    pub(super) fn new(max: usize, idle: Duration) -> Self {
        Self { max, idle, used: HashMap::new(), next_sweep: None }
    }

    /// Returns a value and notes its use.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entry = self.used.get_mut(key)?;
        entry.1 = now;
        Some(entry.0.clone())
    }

    /// Keeps a value, in the place of the one used longest ago if there are too many.
    #[must_use]
    pub(super) fn insert(&mut self, key: K, value: V, now: Instant) -> Vec<V> {
        let mut fallen = self.sweep(now);
        if self.used.len() >= self.max && !self.used.contains_key(&key) {
            let oldest = self.used.iter().min_by_key(|(_, entry)| entry.1);
            let oldest = oldest.map(|(key, _)| key.clone());
            fallen.extend(oldest.and_then(|key| self.used.remove(&key)).map(|entry| entry.0));
        }
        fallen.extend(self.used.insert(key, (value, now)).map(|entry| entry.0));
        fallen
    }

    /// Takes out what was not used for a while; cheap where it is not yet time to look.
    #[must_use]
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<V> {
        if self.next_sweep.is_some_and(|next| now < next) {
            return Vec::new();
        }
        self.next_sweep = now.checked_add(self.idle);
        let idle = self.idle;
        let is_idle = |entry: &(V, Instant)| now.saturating_duration_since(entry.1) >= idle;
        self.used.extract_if(|_, entry| is_idle(entry)).map(|(_, entry)| entry.0).collect()
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<V> {
        self.used.drain().map(|(_, entry)| entry.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_value_used_longest_ago_makes_room() {
        let (mut recent, start) = (Recent::new(2, second(60)), clock::now());
        assert!(recent.insert("a", 1, start).is_empty());
        assert!(recent.insert("b", 2, start + second(1)).is_empty());
        assert_eq!(recent.get("a", start + second(2)), Some(1));
        assert_eq!(recent.insert("c", 3, start + second(3)), [2]);
        assert_eq!(recent.get("b", start + second(3)), None);
        assert_eq!(
            recent.insert("c", 4, start + second(3)),
            [3],
            "the same key takes no more room"
        );
    }

    #[test]
    fn a_value_that_nobody_uses_falls_out() {
        let (mut recent, start) = (Recent::new(10, second(60)), clock::now());
        assert!(recent.insert("a", 1, start).is_empty());
        assert!(recent.insert("b", 2, start).is_empty());
        assert_eq!(recent.get("a", start + second(50)), Some(1));
        assert_eq!(recent.sweep(start + second(61)), [2]);
        assert_eq!(recent.sweep(start + second(200)), [1]);
    }
}
