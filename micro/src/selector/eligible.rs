//! What may be chosen for one call: the one place that decides it.

use std::ops::Range;

use super::Pick;
use super::candidates::Candidate;

/// Draws before a random choice among few open nodes turns to walking over all of them.
const DRAWS_MAX: usize = 16;

/// A view of candidates in which some may be closed for the call at hand.
///
/// Indexes are those of the [`Candidates`](super::Candidates).
#[derive(Clone, Debug)]
pub struct Eligible<'a> {
    items: &'a [Candidate],
    range: Range<usize>,
    request: &'a Pick<'a>,
    /// Which candidates serve the endpoint, if not all do.
    serving: Option<&'a [bool]>,
    /// The moment to judge ejections at, if they count.
    ejected_at: Option<f64>,
}

impl<'a> Eligible<'a> {
    pub(super) fn new(
        items: &'a [Candidate],
        range: Range<usize>,
        request: &'a Pick<'a>,
        serving: Option<&'a [bool]>,
    ) -> Self {
        Self { items, range, request, serving, ejected_at: None }
    }

    /// Narrows the view to a range of indexes.
    pub(super) fn within(&self, range: Range<usize>) -> Self {
        Self { range, ..self.clone() }
    }

    /// Closes the nodes that are ejected at `now`.
    pub(super) fn without_ejected(&self, now: f64) -> Self {
        Self { ejected_at: Some(now), ..self.clone() }
    }

    /// Returns the request that the choice is for.
    pub fn request(&self) -> &Pick<'a> {
        self.request
    }

    /// Returns whether the candidate may be chosen.
    pub fn is_open(&self, index: usize) -> bool {
        let Some(candidate) = self.items.get(index) else { return false };
        self.range.contains(&index)
            && self.serving.is_none_or(|serving| serving.get(index).copied().unwrap_or(false))
            && self.ejected_at.is_none_or(|now| !candidate.load.ejected_at(now))
            && !self.request.excluded.iter().any(|failed| failed.id == candidate.instance.id)
            && self.request.filter.is_none_or(|filter| filter(&candidate.instance))
    }

    /// Returns the indexes that are offered if nothing closes any of them.
    ///
    /// This is the common case, in which policies need not walk over the candidates.
    pub fn all_open(&self) -> Option<Range<usize>> {
        let nothing_closes = self.serving.is_none()
            && self.ejected_at.is_none()
            && self.request.excluded.is_empty()
            && self.request.filter.is_none();
        nothing_closes.then(|| self.range.clone())
    }

    /// Returns a candidate by its index, open or not.
    pub fn get(&self, index: usize) -> Option<&'a Candidate> {
        self.items.get(index)
    }

    /// Returns the open candidates with their indexes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a Candidate)> + '_ {
        let all_open = self.all_open().is_some();
        self.range
            .clone()
            .zip(self.items.get(self.range.clone()).unwrap_or_default())
            .filter(move |(index, _)| all_open || self.is_open(*index))
    }

    /// Returns an open candidate at random, each with the same chance.
    pub fn sample(&self) -> Option<usize> {
        if self.range.is_empty() {
            return None;
        }
        if let Some(range) = self.all_open() {
            return Some(fastrand::usize(range));
        }
        for _ in 0..DRAWS_MAX {
            let index = fastrand::usize(self.range.clone());
            if self.is_open(index) {
                return Some(index);
            }
        }
        self.reservoir().0
    }

    /// Returns two different open candidates at random, each pair with the same chance; one if
    /// only one is open.
    pub fn sample_two(&self) -> Option<(usize, Option<usize>)> {
        if let Some(range) = self.all_open() {
            return two_of(&range);
        }
        let mut first = None;
        for _ in 0..DRAWS_MAX {
            if self.range.is_empty() {
                return None;
            }
            let index = fastrand::usize(self.range.clone());
            match first {
                _ if first == Some(index) || !self.is_open(index) => {}
                None => first = Some(index),
                Some(first) => return Some((first, Some(index))),
            }
        }
        match self.reservoir() {
            (Some(first), second) => Some((first, second)),
            (None, _) => None,
        }
    }

    /// Draws two open candidates, in random order, in one walk over all.
    fn reservoir(&self) -> (Option<usize>, Option<usize>) {
        let mut held = (None, None);
        for (seen, (index, _)) in self.iter().enumerate() {
            match fastrand::usize(0..=seen) {
                // The one that stood first moves on to the place of the second.
                0 => held = (Some(index), if seen == 1 { held.0 } else { held.1 }),
                1 => held.1 = Some(index),
                _ => {}
            }
        }
        held
    }
}

fn two_of(range: &Range<usize>) -> Option<(usize, Option<usize>)> {
    match range.len() {
        0 => None,
        1 => Some((range.start, None)),
        count => {
            let first = fastrand::usize(0..count);
            let second = fastrand::usize(0..count - 1);
            let second = if second >= first { second + 1 } else { second };
            Some((range.start + first, Some(range.start + second)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;
    use crate::registry::Instance;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::assert_even;

    /// Checks that all pairs of open nodes come up equally often, and each node first.
    fn check(count: usize, filter: Option<&(dyn Fn(&Instance) -> bool + Send + Sync)>) {
        fastrand::seed(7);
        let nodes = Nodes::new(count);
        let mut request = Pick::new(nodes.now(), "");
        request.filter = filter;
        let (mut pairs, mut firsts) = (BTreeMap::new(), BTreeMap::new());
        let mut singles = BTreeMap::new();
        for _ in 0..100_000 {
            let pair = Cell::new(None);
            nodes.candidates().choose(&request, |open| {
                pair.set(open.sample_two());
                pair.get().map(|(first, _)| first)
            });
            let (first, second) = pair.get().expect("some are open");
            let second = second.expect("two are open");
            *pairs.entry((first.min(second), first.max(second))).or_insert(0_u32) += 1;
            *firsts.entry(first).or_insert(0_u32) += 1;
            let single = nodes.candidates().choose(&request, |open| open.sample());
            *singles.entry(single.expect("some are open")).or_insert(0_u32) += 1;
        }
        let open = nodes.candidates().iter().filter(|c| filter.is_none_or(|f| f(&c.instance)));
        let open = open.count();
        assert_eq!((firsts.len(), singles.len()), (open, open));
        assert_eq!(pairs.len(), open * (open - 1) / 2, "every pair and no other");
        assert_even(&pairs.into_values().collect::<Vec<_>>());
        assert_even(&firsts.into_values().collect::<Vec<_>>());
        assert_even(&singles.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn all_pairs_come_up_equally_often_when_all_are_open() {
        check(2, None);
        check(7, None);
    }

    #[test]
    fn all_pairs_come_up_equally_often_when_some_are_closed() {
        check(9, Some(&|node| node.id != "node-0" && node.id != "node-4"));
    }

    #[test]
    fn all_pairs_come_up_equally_often_when_nearly_all_are_closed() {
        check(200, Some(&|node| ["node-3", "node-77", "node-199"].contains(&node.id.as_str())));
    }

    #[test]
    fn one_open_node_is_a_pair_without_a_second_and_none_is_no_pair() {
        let nodes = Nodes::new(50);
        let drawn = Cell::new(None);
        let mut request = Pick::new(nodes.now(), "");
        let only = |node: &Instance| node.id == "node-7";
        request.filter = Some(&only);
        nodes.candidates().choose(&request, |open| {
            drawn.set(open.sample_two());
            open.sample()
        });
        assert_eq!(drawn.get().map(|(_, second)| second), Some(None));
        let none = |_: &Instance| false;
        request.filter = Some(&none);
        let choice = nodes.candidates().choose(&request, |open| {
            assert_eq!(open.sample_two(), None);
            open.sample()
        });
        assert_eq!(choice, None);
    }
}
