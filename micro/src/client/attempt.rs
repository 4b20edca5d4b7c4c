//! One try of a call at one node, counted in the node's load until it ends.

use std::sync::Arc;

use tokio::time::Instant;

use crate::client::peer::Peer;
use crate::client::target::Nodes;
use crate::core::clock;
use crate::core::error::{Error, Retry};
use crate::registry::Instance;
use crate::selector::{Candidate, Outcome};

/// Who was chosen for a try.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// A node of the registry; one that has a peer.
    Node(Arc<Nodes>, usize),
    /// The address that the caller named.
    Address(Arc<Peer>),
}

impl Chosen {
    /// Chooses a node of a snapshot, unless its address makes no sense to this process.
    pub(super) fn node(nodes: Arc<Nodes>, index: usize) -> Option<Self> {
        nodes.peer(index)?;
        Some(Self::Node(nodes, index))
    }

    pub(super) fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Node(nodes, index) => nodes.peer(*index),
            Self::Address(peer) => Some(peer),
        }
    }

    pub(super) fn instance(&self) -> Option<&Arc<Instance>> {
        self.candidate().map(|candidate| &candidate.instance)
    }

    fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Node(nodes, index) => nodes.candidates.get(*index),
            Self::Address(_) => None,
        }
    }
}

/// A try that counts at its node from its start to its end, or to its drop.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) chosen: Chosen,
    pub(super) started: Instant,
    over: bool,
}

impl Attempt {
    pub(super) fn start(chosen: Chosen, now: Instant) -> Self {
        if let Some(candidate) = chosen.candidate() {
            candidate.load.start();
        }
        Self { chosen, started: now, over: false }
    }

    /// Returns when the try began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Counts how the try ended.
    pub(super) fn finish(&mut self, at: Instant, outcome: Outcome) {
        self.over = true;
        if let Some(candidate) = self.chosen.candidate() {
            candidate.load.finish(at, self.started, outcome);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            self.finish(clock::now(), Outcome::Abandoned);
        }
    }
}

/// Returns what an error says of the node: an answer of the application speaks well of it, and so
/// does a refusal for the moment.
pub(super) fn outcome_of(error: &Error) -> Outcome {
    match error.code() {
        503 if error.retry() == Retry::Safe => Outcome::Abandoned,
        408 | 500 | 502..=504 => Outcome::Failure,
        _ => Outcome::Success,
    }
}
