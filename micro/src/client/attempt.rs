//! One try of a call at one node, counted in the node's load until it ends.

use std::sync::Arc;

use tokio::time::Instant;

use crate::client::peer::Peer;
use crate::core::clock;
use crate::core::error::{Error, Retry};
use crate::registry::Instance;
use crate::selector::{Candidate, Load, Outcome};

/// Who was chosen for a try.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) peer: Arc<Peer>,
    /// None when the caller named an address.
    pub(super) instance: Option<Arc<Instance>>,
    load: Option<Arc<Load>>,
}

impl Chosen {
    pub(super) fn candidate(candidate: &Candidate, peer: &Arc<Peer>) -> Self {
        Self {
            peer: Arc::clone(peer),
            instance: Some(Arc::clone(&candidate.instance)),
            load: Some(Arc::clone(&candidate.load)),
        }
    }

    pub(super) fn address(peer: Arc<Peer>) -> Self {
        Self { peer, instance: None, load: None }
    }
}

/// Counts a try from its start to its end, or to its drop.
#[derive(Debug)]
pub(super) struct Counted {
    load: Option<Arc<Load>>,
    started: Instant,
}

impl Counted {
    pub(super) fn start(chosen: &Chosen, now: Instant) -> Self {
        if let Some(load) = &chosen.load {
            load.start();
        }
        Self { load: chosen.load.clone(), started: now }
    }

    /// Counts how the try ended.
    pub(super) fn finish(mut self, at: Instant, outcome: Outcome) {
        if let Some(load) = self.load.take() {
            load.finish(at, self.started, outcome);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.load.take() {
            load.finish(clock::now(), self.started, Outcome::Abandoned);
        }
    }
}

/// Returns what an error says of the node: an answer of the application speaks well of it.
pub(super) fn outcome_of(error: &Error) -> Outcome {
    match error.code() {
        408 | 500 | 502..=504 => Outcome::Failure,
        // A node that refuses for a moment is not broken.
        429 if error.retry() == Retry::Safe => Outcome::Success,
        _ => Outcome::Success,
    }
}
