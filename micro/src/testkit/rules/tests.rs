//! Rules in a store pass; broken ones are caught by name.

use super::broken::{Broken, Flaw};
use super::*;
use crate::auth::StoredRules;
use crate::core::shutdown::TaskTracker;
use crate::store::{Handle, Memory};

#[tokio::test(start_paused = true)]
async fn rules_in_a_store_conform() {
    let make = async || {
        let table = Handle::new(Memory::new()).table("rules").unwrap();
        let open = async || {
            let rules = StoredRules::open(table.clone(), &TaskTracker::new()).await.unwrap();
            let rules: Arc<dyn Rules> = Arc::new(rules);
            rules
        };
        Subject { one: open().await, two: open().await }
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn rules_in_a_file_conform() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let make = async || {
        let name = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = dir.path().join(format!("{name}.redb"));
        let file = crate::store::File::open(path).await.unwrap();
        let table = Handle::new(file).table("rules").unwrap();
        let open = async || {
            let rules = StoredRules::open(table.clone(), &TaskTracker::new()).await.unwrap();
            let rules: Arc<dyn Rules> = Arc::new(rules);
            rules
        };
        Subject { one: open().await, two: open().await }
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Every flaw must be caught, and by the claim that names it.
#[tokio::test(start_paused = true)]
async fn broken_rules_fail() {
    for (flaw, claim) in [
        (Flaw::HidesThatThereAreNone, "no_rules_are_told_from_none_that_match"),
        (Flaw::HoldsLate, "a_rule_holds_when_its_grant_returns_and_soon_elsewhere"),
        (Flaw::RevokesByPrefix, "a_revoked_rule_is_gone_and_others_stay"),
        (Flaw::KeepsRevoked, "a_revoked_rule_is_gone_and_others_stay"),
        (Flaw::FirstWins, "among_equals_deny_wins_whatever_came_first"),
        (Flaw::IgnoresPriority, "a_higher_priority_decides"),
        (Flaw::LowersScopes, "a_scope_is_compared_exactly"),
        (Flaw::EmptyIsNobody, "an_empty_scope_is_everybody_and_a_star_every_account"),
        (Flaw::AnonymousIsAnAccount, "an_empty_scope_is_everybody_and_a_star_every_account"),
        (Flaw::LowersNames, "every_part_of_a_resource_has_to_match"),
        (Flaw::IgnoresTypes, "every_part_of_a_resource_has_to_match"),
        (Flaw::WildcardWithoutSegment, "a_wildcard_covers_what_is_below_it_and_no_more"),
        (Flaw::TakesAnything, "what_is_no_rule_is_refused_and_not_kept"),
        (Flaw::AddsInsteadOfReplacing, "a_rule_of_the_same_id_is_replaced_whole"),
        (Flaw::ListsAsTheyCame, "rules_are_listed_whole_in_the_order_of_their_ids"),
        (Flaw::ListsHalf, "rules_are_listed_whole_in_the_order_of_their_ids"),
    ] {
        let make = async || {
            let broken = Arc::new(Broken::new(flaw));
            Subject { one: Arc::<Broken>::clone(&broken), two: broken }
        };
        let failures = conformance(make).await.expect_err(&format!("{flaw:?} passed"));
        let caught = failures.names().any(|name| name == claim);
        assert!(caught, "{flaw:?} was not caught by {claim} but: {failures}");
    }
}
