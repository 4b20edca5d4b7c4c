//! The offsets of a partition that are settled, and how far that is without a gap.

use std::collections::BTreeMap;

/// What a subscription knows of a partition. An offset that is not settled keeps all after it from
/// being committed, so that a process that ends leaves nothing behind that nobody handled.
#[derive(Debug)]
pub(super) struct Held {
    /// The offset after the highest that came.
    next: i64,
    /// Those that came and are not settled, with the bytes of each.
    unsettled: BTreeMap<i64, usize>,
    /// What was told last.
    told: i64,
    /// The last that was fetched since the partition was assigned, or the one before the first that
    /// can be.
    came: i64,
}

impl Default for Held {
    fn default() -> Self {
        Self { next: 0, unsettled: BTreeMap::new(), told: 0, came: -1 }
    }
}

impl Held {
    /// Tells whether an offset that was fetched shows that the log went back: within one assignment
    /// offsets only grow, unless the topic was made anew or the end of its log was lost.
    pub(super) fn went_back(&self, offset: i64) -> bool {
        offset <= self.came
    }

    /// Takes an offset in; false if it came before.
    pub(super) fn take(&mut self, offset: i64, bytes: usize) -> bool {
        self.came = offset;
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

    /// Tells whether what is held goes on where the group is: nobody has gone beyond it, and the
    /// group has not lost its place, as it does with its topic.
    pub(super) fn goes_on_at(&self, committed: i64) -> bool {
        committed <= self.prefix() && (committed >= 0 || self.told <= 0)
    }

    /// Notes that the partition is fetched from what the servers have been told, which may be less
    /// than was to be told; -1 is nothing.
    pub(super) fn is_fetched_from(&mut self, committed: i64) {
        self.told = committed;
        self.came = committed.saturating_sub(1).max(-1);
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

    #[test]
    fn offsets_that_do_not_grow_show_that_the_log_went_back() {
        let mut held = held([4, 5, 7]);
        assert!(held.went_back(7) && held.went_back(0) && !held.went_back(8));
        held.is_fetched_from(5);
        assert!(held.went_back(4) && !held.went_back(5), "what is not committed comes again");
        assert!(!held.take(5, 10));
        assert!(held.went_back(5) && !held.went_back(6));
        held.is_fetched_from(-1);
        assert!(!held.went_back(0));
    }

    #[test]
    fn what_is_held_ends_where_the_group_is_elsewhere() {
        let mut held = held([4, 5]);
        assert!(held.goes_on_at(4) && held.goes_on_at(-1) && !held.goes_on_at(5));
        assert_eq!(held.news(), Some(4));
        assert!(held.goes_on_at(0) && !held.goes_on_at(-1), "the group has lost its place");
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
