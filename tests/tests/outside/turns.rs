//! A policy that gives each node its turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use micro::selector::{Candidates, Pick, Selector};
use micro::testkit::selector::conforms;

/// Takes the open nodes in their order.
#[derive(Debug, Default)]
struct Turns {
    turn: AtomicUsize,
}

impl Selector for Turns {
    fn name(&self) -> &'static str {
        "turns"
    }

    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        candidates.choose(request, |offered| {
            let open: Vec<_> = offered.iter().map(|(index, _)| index).collect();
            open.get(turn % open.len().max(1)).copied()
        })
    }
}

#[test]
fn a_selector_from_outside_conforms() {
    conforms(&Turns::default());
}
