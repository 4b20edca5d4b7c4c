//! The latest of many values, each with its number.

use std::collections::VecDeque;
use std::sync::Arc;

/// Keeps the latest values; the oldest makes room.
#[derive(Debug)]
pub(super) struct Ring<T> {
    values: VecDeque<Arc<T>>,
    /// The number of the next value; the first has 1.
    next: u64,
    max: usize,
}

impl<T> Ring<T> {
    /// Makes a ring of at most `max` values, and of one at least.
    pub(super) fn new(max: usize) -> Self {
        Self { values: VecDeque::new(), next: 1, max: max.max(1) }
    }

    /// Returns the number that the next value gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Adds a value; returns the one that made room, for the caller to drop without a lock.
    pub(super) fn push(&mut self, value: T) -> Option<Arc<T>> {
        let oldest = if self.values.len() >= self.max { self.values.pop_front() } else { None };
        self.values.push_back(Arc::new(value));
        self.next += 1;
        oldest
    }

    /// Returns the values from the oldest to the latest.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.values.iter()
    }

    /// Returns the values from number `from` on, at most `max`, and how many of those asked for
    /// are gone.
    pub(super) fn since(&self, from: u64, max: usize) -> (Vec<Arc<T>>, u64) {
        let oldest = self.next - u64::try_from(self.values.len()).unwrap_or(u64::MAX);
        let skip = usize::try_from(from.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let values = self.values.iter().skip(skip).take(max).cloned().collect();
        (values, oldest.saturating_sub(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(max: usize, count: u32) -> Ring<u32> {
        let mut ring = Ring::new(max);
        for n in 1..=count {
            ring.push(n);
        }
        ring
    }

    #[test]
    fn the_limit_holds_at_it_above_it_and_far_above_it() {
        for (count, oldest) in [(10, 1), (11, 2), (100, 91)] {
            let ring = filled(10, count);
            let values: Vec<_> = ring.iter().map(|value| **value).collect();
            assert_eq!(values, (oldest..=count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn values_are_found_by_number_and_missing_ones_are_counted() {
        let ring = filled(3, 10);
        let found = |from, max| {
            let (values, missed) = ring.since(from, max);
            (values.iter().map(|value| **value).collect::<Vec<_>>(), missed)
        };
        assert_eq!(found(9, 10), (vec![9, 10], 0));
        assert_eq!(found(8, 2), (vec![8, 9], 0));
        assert_eq!(found(5, 10), (vec![8, 9, 10], 3));
        assert_eq!(found(11, 10), (vec![], 0));
    }
}
