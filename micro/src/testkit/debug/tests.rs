//! The embedded recorder passes; broken ones are caught by name.

use super::broken::{Broken, Flaw};
use super::*;
use crate::core::future::BoxFuture;
use crate::debug::{Capabilities, Memory, Span, SpanQuery, unsupported};

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    let make = async || Subject::new(Arc::new(Memory::new()));
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Nobody collects: what is sent elsewhere changes nothing of what is kept here.
#[cfg(feature = "otlp")]
#[tokio::test]
async fn otlp_conforms() {
    use crate::core::limits::DebugLimits;
    use crate::core::shutdown::TaskTracker;
    use crate::debug::Otlp;

    let tasks = TaskTracker::new();
    let make = async || {
        let (kept, limits) = (Arc::new(Memory::new()), DebugLimits::default());
        let otlp = Otlp::open("http://127.0.0.1:9", "shop", kept, &limits, &tasks).unwrap();
        Subject::new(Arc::new(otlp))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
    tasks.abort_all();
}

/// A backend that sends everything elsewhere and shows nothing.
#[derive(Debug)]
struct Mute;

impl Recorder for Mute {
    fn name(&self) -> &'static str {
        "mute"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }
    fn log(&self, _: Record) {}
    fn span(&self, _: Span) {}
    fn logs<'a>(&'a self, _: &'a LogQuery) -> BoxFuture<'a, CallResult<Vec<Record>>> {
        Box::pin(std::future::ready(Err(unsupported("mute", "log"))))
    }
    fn follow(&self, _: &LogQuery) -> CallResult<Streaming<Record>> {
        Err(unsupported("mute", "log"))
    }
    fn spans<'a>(&'a self, _: &'a SpanQuery) -> BoxFuture<'a, CallResult<Vec<Span>>> {
        Box::pin(std::future::ready(Err(unsupported("mute", "spans"))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_declares_nothing_and_shows_nothing_conforms() {
    let make = async || Subject::new(Arc::new(Mute));
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Every flaw must be caught, and by the claim that names it.
#[tokio::test(start_paused = true)]
async fn broken_recorders_fail() {
    let flaws = [
        (Flaw::DeclaresSpans, "capabilities_are_told_truthfully"),
        (Flaw::ForgetsMetadata, "a_record_is_found_whole"),
        (Flaw::Reverses, "records_are_numbered_and_in_order"),
        (Flaw::NumbersNothing, "records_are_numbered_and_in_order"),
        (Flaw::KeepsHalf, "as_many_as_declared_are_kept_and_they_are_the_latest"),
        (Flaw::CountsFirst, "a_count_is_of_the_latest_that_fit"),
        (Flaw::TurnsLevels, "a_level_selects_what_is_as_grave_or_graver"),
        (Flaw::TargetsAnywhere, "a_target_selects_by_its_beginning_and_literally"),
        (Flaw::IgnoresTime, "a_time_selects_what_is_not_older"),
        (Flaw::IgnoresTraces, "a_trace_selects_its_records"),
        (Flaw::KeepsControls, "nothing_in_a_record_acts_on_a_terminal"),
        (Flaw::FollowsTwice, "a_follower_gets_what_is_there_and_what_follows_once"),
        (Flaw::FollowsLate, "a_follower_gets_what_is_there_and_what_follows_once"),
        (Flaw::FollowsEverything, "a_follower_sees_only_what_fits"),
        (Flaw::LeaksFollowers, "a_follower_that_leaves_makes_room"),
        (Flaw::ForgetsParents, "a_span_is_found_whole_by_its_trace"),
        (Flaw::MixesTraces, "a_trace_that_is_not_there_has_no_spans"),
        (Flaw::CountsTheFirstSpans, "as_many_spans_as_declared_are_kept_and_they_are_the_latest"),
    ];
    for (flaw, claim) in flaws {
        let make = async || Subject {
            patience: Duration::from_millis(50),
            ..Subject::new(Arc::new(Broken::new(flaw)))
        };
        let failures = conformance(make).await.expect_err(&format!("{flaw:?} passed"));
        let caught = failures.names().any(|name| name == claim);
        assert!(caught, "{flaw:?} was not caught by {claim} but: {failures}");
    }
}
