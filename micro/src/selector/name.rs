//! Policies by the names that configuration uses.

use std::sync::Arc;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::nearest::nearest;

use super::ConsistentHash;
use super::LeastConnections;
use super::P2c;
use super::Random;
use super::RoundRobin;
use super::Selector;

/// Returns the policy with this name; `_` and `-` are the same, and so are cases.
///
/// # Errors
///
/// An unknown name is a bad request (400) whose text lists the names and the nearest of them.
pub fn by_name(name: &str) -> Result<Arc<dyn Selector>> {
    let policies = policies();
    let wanted = name.trim().replace('_', "-").to_ascii_lowercase();
    if let Some(found) = policies.iter().find(|policy| policy.name() == wanted) {
        return Ok(Arc::clone(found));
    }
    let names: Vec<_> = policies.iter().map(|policy| policy.name()).collect();
    let hint = nearest(&wanted, names.iter().copied())
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    Err(Error::bad_request(
        "micro.selector",
        format!("unknown selector {name:?}: use one of {}{hint}", names.join(", ")),
    ))
}

fn policies() -> [Arc<dyn Selector>; 5] {
    [
        Arc::new(P2c::new()),
        Arc::new(Random::new()),
        Arc::new(RoundRobin::new()),
        Arc::new(LeastConnections::new()),
        Arc::new(ConsistentHash::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_name() {
        for policy in policies() {
            assert_eq!(by_name(policy.name()).expect("known").name(), policy.name());
        }
        assert_eq!(by_name(" Round_Robin ").expect("known").name(), "round-robin");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones_and_the_nearest() {
        let text = by_name("p2d").expect_err("unknown").to_string();
        for policy in policies() {
            assert!(text.contains(policy.name()), "{text}");
        }
        assert!(text.contains("did you mean `p2c`?"), "{text}");
        let text = by_name("robin").expect_err("unknown").to_string();
        assert!(!text.contains("did you mean `p2c`"), "{text}");
        assert!(!by_name("zzzzzzzz").expect_err("unknown").to_string().contains("did you mean"));
    }
}
