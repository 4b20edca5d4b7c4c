//! Which nodes serve an endpoint, where nodes of one service differ.
//!
//! While a service is being upgraded, some of its nodes may lack an endpoint that others have.
//! Where all nodes serve the same, which is the rule, nothing is kept and nothing is looked up.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use crate::registry::Endpoint;

use super::candidates::Candidate;

/// For each endpoint, which candidates may serve it.
#[derive(Default)]
pub(super) struct Skew {
    /// By endpoint, for endpoints that some candidates lack.
    listed: HashMap<Box<str>, Box<[bool]>>,
    /// The candidates that list no endpoints, if only some do: they may serve anything.
    unlisted: Option<Box<[bool]>>,
}

impl Skew {
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let Some((first, rest)) = candidates.split_first() else { return Self::default() };
        if rest.iter().all(|other| serve_the_same(first, other)) {
            return Self::default();
        }
        let silent: Box<[bool]> =
            candidates.iter().map(|c| c.instance.endpoints.is_empty()).collect();
        let mut listed: HashMap<Box<str>, Box<[bool]>> = HashMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            for endpoint in candidate.instance.endpoints.iter() {
                let serving =
                    listed.entry(endpoint.name.as_str().into()).or_insert_with(|| silent.clone());
                if let Some(serves) = serving.get_mut(index) {
                    *serves = true;
                }
            }
        }
        let unlisted = silent.iter().any(|is_silent| *is_silent).then_some(silent);
        Self { listed, unlisted }
    }

    /// Returns which candidates may serve `endpoint`; `None` means all. An endpoint that no
    /// candidate has rules out none, so that the node itself says that it does not exist.
    pub(super) fn serving(&self, endpoint: &str) -> Option<&[bool]> {
        if self.listed.is_empty() {
            return None;
        }
        self.listed.get(endpoint).or(self.unlisted.as_ref()).map(AsRef::as_ref)
    }
}

fn serve_the_same(a: &Candidate, b: &Candidate) -> bool {
    let (a, b) = (&a.instance.endpoints, &b.instance.endpoints);
    Arc::ptr_eq(a, b) || names(a) == names(b)
}

fn names(endpoints: &[Endpoint]) -> BTreeSet<&str> {
    endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use crate::selector::Pick;
    use crate::selector::Random;
    use crate::selector::fixture::Nodes;

    fn served_by(nodes: &Nodes, endpoint: &str) -> Vec<usize> {
        let request = Pick::new(nodes.now(), endpoint);
        let picked = nodes.tally_for(&Random::new(), 1000, &request);
        (0..picked.len()).filter(|index| picked[*index] > 0).collect()
    }

    #[test]
    fn r16_nodes_that_lack_the_endpoint_are_left_out_while_others_have_it() {
        let nodes = Nodes::with_endpoints(&[&["A.X"], &["A.X", "A.Y"], &["A.X"]]);
        assert_eq!(served_by(&nodes, "A.Y"), [1]);
        assert_eq!(served_by(&nodes, "A.X"), [0, 1, 2]);
    }

    #[test]
    fn an_endpoint_that_nobody_has_rules_out_nobody() {
        let nodes = Nodes::with_endpoints(&[&["A.X"], &["A.X", "A.Y"]]);
        assert_eq!(served_by(&nodes, "A.Z"), [0, 1]);
    }

    #[test]
    fn nodes_that_list_nothing_may_serve_anything() {
        let nodes = Nodes::with_endpoints(&[&[], &["A.X"], &["A.Y"]]);
        assert_eq!(served_by(&nodes, "A.X"), [0, 1]);
        assert_eq!(served_by(&nodes, "A.Z"), [0]);
        let nodes = Nodes::with_endpoints(&[&[], &[]]);
        assert_eq!(served_by(&nodes, "A.X"), [0, 1]);
    }
}
