//! The embedded stores pass; broken ones are caught by name.

use super::broken::Broken;
use super::broken::Flaw;
use super::*;
use crate::store::Cached;
use crate::store::CachedConfig;
use crate::store::Memory;

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    let make = async || {
        let store = Memory::new();
        Subject::new(Arc::new(store.clone()), Arc::new(store))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[tokio::test(start_paused = true)]
async fn cached_memory_conforms() {
    let make = async || {
        let store = Memory::new();
        let cached = || Arc::new(Cached::new(store.clone(), CachedConfig::default()));
        Subject::new(cached(), cached())
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn file_conforms() {
    let make = async || {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::File::open(dir.path().join("store.redb")).await.unwrap();
        Subject::new(Arc::new(store.clone()), Arc::new(store))
            .with_ttl(Duration::from_millis(400))
            .with_guard(dir)
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Every flaw must be caught, and by the claim that names it.
#[tokio::test(start_paused = true)]
async fn broken_stores_fail() {
    let flaws = [
        (Flaw::DeclaresATtl, "a_record_ends_with_its_time"),
        (Flaw::DeclaresAWatch, "capabilities_are_told_truthfully"),
        (Flaw::ForgetsMetadata, "a_written_record_is_read_whole"),
        (Flaw::FailsOnNothing, "an_absent_record_is_nothing_and_no_error"),
        (Flaw::MergesMetadata, "a_write_replaces_the_whole_record"),
        (Flaw::DeletesByPrefix, "a_deleted_record_is_gone_and_its_neighbours_stay"),
        (Flaw::JoinsNames, "spaces_do_not_mix"),
        (Flaw::LowersCase, "odd_keys_survive"),
        (Flaw::TakesAnyLength, "what_cannot_be_kept_is_refused"),
        (Flaw::ReadsLate, "every_reader_sees_a_write_that_has_returned"),
        (Flaw::ListsUnsorted, "keys_are_listed_in_the_order_of_their_bytes"),
        (Flaw::LimitsBeforeTheFilter, "a_limit_is_kept_after_the_filters"),
        (Flaw::LosesTheLastOfAPage, "pages_cover_everything_once"),
        (Flaw::TakesPercentForAny, "prefixes_and_suffixes_are_literal"),
        (Flaw::PagesByNumber, "what_stays_is_listed_once_whatever_is_written_meanwhile"),
        (Flaw::ComparesValues, "versions_decide_and_not_values"),
        (Flaw::ChecksThenWrites, "of_writers_at_once_one_wins"),
        (Flaw::StartsVersionsOver, "versions_grow_also_across_deletes"),
        (Flaw::IgnoresConditions, "a_write_by_version_happens_only_on_top_of_it"),
        (Flaw::DeletesAnyVersion, "a_delete_by_version_removes_only_that_one"),
        (Flaw::ListsWhatIsOver, "a_record_ends_with_its_time"),
        (Flaw::KeepsTheFirstTtl, "a_rewrite_ends_the_earlier_time"),
        (Flaw::WatchesTooLate, "a_watch_misses_nothing_that_follows_its_beginning"),
        (Flaw::WatchesEverything, "a_watch_tells_only_of_its_prefix_and_its_space"),
        (Flaw::HidesDeletes, "a_watch_tells_of_puts_and_deletes_in_order"),
        (Flaw::TellsOfRefusedWrites, "a_refused_write_is_not_told"),
        (Flaw::ExpiresSilently, "a_watch_tells_of_a_time_that_is_over"),
    ];
    for (flaw, claim) in flaws {
        let make = async || {
            let broken = Arc::new(Broken::new(flaw));
            Subject::new(Arc::<Broken>::clone(&broken), broken)
        };
        let failures = conformance(make).await.expect_err(&format!("{flaw:?} passed"));
        let caught = failures.names().any(|name| name == claim);
        assert!(caught, "{flaw:?} was not caught by {claim} but: {failures}");
    }
}
