//! Policies by the names that configuration uses.

use std::sync::Arc;

use crate::core::error::Error;
use crate::core::error::Result;

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
    let hint = names
        .iter()
        .map(|name| (distance(name, &wanted), *name))
        .min()
        .filter(|(edits, name)| *edits <= name.len() / 2)
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"));
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

/// Returns how many characters have to be added, dropped or replaced to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (line, left) in a.chars().enumerate() {
        let mut diagonal = line;
        let mut beside = line + 1;
        if let Some(first) = row.first_mut() {
            *first = beside;
        }
        for (cell, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(beside + 1);
            beside = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
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

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in
            [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("a", "a", 0)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
