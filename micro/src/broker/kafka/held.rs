//! The offsets of a partition that are settled, and how far that is without a gap.

use std::collections::BTreeMap;

/// What a subscription knows of a partition. An offset that is not settled keeps all after it from
/// being committed, so that a process that ends leaves nothing behind that nobody handled.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The offset after the highest that came.
    next: i64,
    /// Those that came and are not settled, with the bytes of each.
    unsettled: BTreeMap<i64, usize>,
    /// What was told last.
    told: i64,
}

impl Held {
    /// Takes an offset in; false if it came before.
    pub(super) fn take(&mut self, offset: i64, bytes: usize) -> bool {
        if offset < self.next {
            return false;
        }
        self.next = offset.saturating_add(1);
        self.unsettled.insert(offset, bytes);
        true
    }

    /// Settles an offset and returns its bytes; `None` if that was settled.
    pub(super) fn settle(&mut self, offset: i64) -> Option<usize> {
        self.unsettled.remove(&offset)
    }

    /// Returns the offset before which all is settled.
    pub(super) fn prefix(&self) -> i64 {
        self.unsettled.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// Returns how far the highest offset is ahead of the first that is not settled.
    pub(super) fn span(&self) -> usize {
        usize::try_from(self.next.saturating_sub(self.prefix())).unwrap_or_default()
    }

    /// Returns the prefix if it has moved since it was told.
    pub(super) fn news(&mut self) -> Option<i64> {
        let prefix = self.prefix();
        (prefix > self.told).then(|| {
            self.told = prefix;
            prefix
        })
    }

    /// Notes what the servers have been told, which may be less than was to be told.
    pub(super) fn was_told(&mut self, offset: i64) {
        self.told = offset;
    }

    /// Counts what is not settled, and its bytes.
    pub(super) fn unsettled(&self) -> (usize, usize) {
        (self.unsettled.len(), self.unsettled.values().sum())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn held(offsets: impl IntoIterator<Item = i64>) -> Held {
        let mut held = Held::default();
        for offset in offsets {
            assert!(held.take(offset, 10));
        }
        held
    }

    #[test]
    fn only_what_is_settled_without_a_gap_is_told() {
        let mut held = held([5, 6, 7, 9]);
        assert_eq!(held.news(), Some(5), "nothing below the first that came is open");
        assert_eq!(
            (held.settle(9), held.settle(7), held.settle(6)),
            (Some(10), Some(10), Some(10))
        );
        assert_eq!(held.news(), None, "5 is not settled");
        assert_eq!((held.span(), held.unsettled()), (5, (1, 10)));
        assert_eq!((held.settle(5), held.settle(5)), (Some(10), None));
        assert_eq!((held.news(), held.news()), (Some(10), None));
        assert_eq!(held.span(), 0);
    }

    #[test]
    fn what_comes_twice_is_taken_once() {
        let mut held = held([0, 1]);
        held.settle(1);
        assert!(!held.take(0, 10) && !held.take(1, 10));
        assert!(held.take(2, 10));
        assert_eq!((held.prefix(), held.unsettled()), (0, (2, 20)));
    }

    proptest! {
        #[test]
        fn nothing_unsettled_is_ever_below_what_is_told(
            order in Just((0_i64..40).collect::<Vec<_>>()).prop_shuffle(), came in 1_i64..40,
        ) {
            let mut held = held(0..came);
            let mut open: BTreeSet<i64> = (0..came).collect();
            for offset in order.into_iter().filter(|offset| *offset < came) {
                held.settle(offset);
                open.remove(&offset);
                let least = open.first().copied().unwrap_or(came);
                prop_assert_eq!(held.prefix(), least);
                if let Some(told) = held.news() {
                    prop_assert!(told <= least);
                }
            }
            prop_assert_eq!(held.prefix(), came);
        }
    }
}
