//! The rules of components, and their tests.

use crate::Held;

/// The rules of registries and callers, of brokers, stores and settings. A file below `tests/` is named
/// from the root.
pub(crate) const RULES: &[Held] = &[
    (
        "R1 registration follows the state",
        &[("registry/lease/tests.rs", &["r1_registration_follows_readiness_alone"])],
    ),
    (
        "R2 whole batches, no gap that is not told",
        &[
            ("registry/memory.rs", &["r2_a_watcher_far_behind_is_ended_after_what_was_queued"]),
            (
                "testkit/registry/claims.rs",
                &["a_watch_delivers_whole_batches", "nothing_falls_between_a_lookup_and_a_watch"],
            ),
            (
                "tests/tests/backends/etcd/outage.rs",
                &[
                    "a_watch_goes_on_with_the_next_revision",
                    "a_watch_whose_revision_is_compacted_begins_anew",
                ],
            ),
        ],
    ),
    (
        "R3 services do not hold up each other",
        &[(
            "registry/cache/tests.rs",
            &["r3_a_service_that_cannot_be_looked_up_holds_up_no_other"],
        )],
    ),
    (
        "R4 a node that is gone is not chosen",
        &[
            ("registry/cache/guard.rs", &["r4_explicit_removals_are_believed_at_once"]),
            ("client/tests/retries.rs", &["a_refusal_is_repeated_no_more_often_than_asked_for"]),
        ],
    ),
    (
        "R5 turns are turns",
        &[("selector/round_robin.rs", &["r5_a_hundred_thousand_picks_are_evener_than_chance"])],
    ),
    (
        "R6 one watch for all",
        &[("registry/cache/tests.rs", &["r6_callers_share_one_watch_and_follow_changes"])],
    ),
    (
        "R7 keys in parts, revisions of whole records",
        &[
            (
                "registry/cache/tests.rs",
                &["r7_every_part_of_a_record_counts_and_names_do_not_run_together"],
            ),
            (
                "testkit/registry/claims.rs",
                &[
                    "names_are_not_confused",
                    "registering_again_replaces_and_publishes_every_change",
                ],
            ),
        ],
    ),
    (
        "R8 ghosts and their twins",
        &[("registry/lease/tests.rs", &["r8_a_ghost_does_not_remove_its_restarted_twin"])],
    ),
    (
        "R9 how old what a registry tells may be",
        &[(
            "tests/tests/held/main.rs",
            &["r9_the_readme_says_how_old_what_a_registry_tells_may_be"],
        )],
    ),
    (
        "R10 stale reads",
        &[("registry/cache/tests.rs", &["r10_readers_go_by_the_watch_and_its_age_shows"])],
    ),
    (
        "R11 no herd",
        &[
            ("registry/lease/tests.rs", &["r11_a_lease_outlives_its_ttl_by_jittered_heartbeats"]),
            ("selector/near.rs", &["r11_of_a_hundred_nodes_all_are_used_and_of_more_a_part"]),
        ],
    ),
    (
        "R12 nothing, unknown and failed are three",
        &[(
            "registry/cache/tests.rs",
            &["r12_a_registry_that_forgets_everything_is_not_believed_at_once"],
        )],
    ),
    (
        "R13 a node that joins",
        &[(
            "selector/p2c.rs",
            &["r13_a_joining_node_is_not_flooded_and_has_its_share_after_ten_seconds"],
        )],
    ),
    (
        "R14 when all fail",
        &[("selector/outlier.rs", &["r14_more_than_half_ejected_means_that_all_are_used"])],
    ),
    (
        "R15 retries do not multiply",
        &[
            (
                "client/tests/retries.rs",
                &[
                    "r15_an_overload_is_multiplied_by_no_more_than_the_budget",
                    "r15_a_repetition_says_which_try_it_is",
                ],
            ),
            ("server/tests/limits.rs", &["r15_a_repeated_call_does_not_wait_for_room"]),
        ],
    ),
    (
        "R16 nodes of several versions",
        &[(
            "selector/skew.rs",
            &["r16_nodes_that_lack_the_endpoint_are_left_out_while_others_have_it"],
        )],
    ),
    (
        "R17 what moves when nodes change",
        &[(
            "selector/consistent_hash.rs",
            &["r17_one_node_more_or_less_moves_its_share_of_the_keys"],
        )],
    ),
    (
        "R18 addresses that nobody could reach",
        &[("registry/lease/tests.rs", &["r18_what_nobody_could_reach_is_refused_at_start"])],
    ),
    (
        "K1 acknowledged by the handler",
        &[
            (
                "broker/tests/mod.rs",
                &["k1_a_message_is_acknowledged_by_its_handler_and_not_before"],
            ),
            ("broker/tests/within.rs", &["k1_within_a_process_too_the_handler_acknowledges"]),
        ],
    ),
    (
        "K2 subscribed means subscribed",
        &[("broker/tests/mod.rs", &["k2_nothing_that_is_published_after_subscribing_is_lost"])],
    ),
    (
        "K3 ack, retry, reject",
        &[
            ("broker/tests/mod.rs", &["k3_errors_and_panics_are_retried_and_refusals_are_not"]),
            ("broker/tests/within.rs", &["k3_within_a_process_too_refusals_are_not_retried"]),
        ],
    ),
    (
        "K4 poison",
        &[
            (
                "broker/tests/mod.rs",
                &["k4_what_takes_its_receivers_down_is_given_up_and_can_be_replayed"],
            ),
            ("broker/tests/within.rs", &["k4_what_always_fails_is_given_up_and_can_be_replayed"]),
        ],
    ),
    (
        "K5 order",
        &[("broker/tests/mod.rs", &["k5_order_holds_for_one_publisher_and_one_at_a_time"])],
    ),
    (
        "K6 what waits is bounded",
        &[("broker/tests/mod.rs", &["k6_what_waits_is_bounded_by_count_and_by_bytes"])],
    ),
    ("K7 ids", &[("broker/tests/mod.rs", &["k7_an_id_tells_a_message_that_came_before"])]),
    (
        "K8 outcomes of publishing",
        &[
            ("broker/tests/mod.rs", &["k8_publishing_succeeds_or_is_safe_to_repeat_or_unknown"]),
            ("broker/tests/within.rs", &["k8_within_a_process_what_fails_is_safe_to_repeat"]),
        ],
    ),
    (
        "K9 no buffer for those out of reach",
        &[
            (
                "broker/tests/mod.rs",
                &["k9_nothing_is_kept_for_those_out_of_reach_beyond_a_bound_that_shows"],
            ),
            ("broker/tests/within.rs", &["k9_within_a_process_nothing_is_kept_for_those_to_come"]),
        ],
    ),
    (
        "K10 connections come back; there are none within a process",
        &[("broker/tests/mod.rs", &["k10_a_lost_connection_is_made_again_and_groups_stay"])],
    ),
    (
        "K11 draining",
        &[
            (
                "broker/tests/mod.rs",
                &[
                    "k11_draining_finishes_what_runs_and_gives_back_what_waits",
                    "k11_a_process_that_stops_gives_what_it_has_to_others",
                ],
            ),
            (
                "broker/tests/within.rs",
                &["k11_within_a_process_draining_finishes_what_runs_and_loses_nothing"],
            ),
        ],
    ),
    (
        "K12 names; environments share no server",
        &[(
            "broker/tests/mod.rs",
            &["k12_names_are_checked_and_patterns_refused_where_there_are_none"],
        )],
    ),
    (
        "K13 what cannot be decoded",
        &[("broker/tests/mod.rs", &["k13_what_cannot_be_decoded_goes_to_the_dead_letters"])],
    ),
    (
        "K14 counts",
        &[
            ("broker/tests/mod.rs", &["k14_every_copy_is_accounted_for_on_both_sides"]),
            ("broker/memory/tests/deliveries.rs", &["every_copy_is_accounted_for"]),
            ("testkit/broker/settling.rs", &["what_is_counted_adds_up"]),
            ("tests/tests/metrics.rs", &["the_page_tells_what_has_become_of_the_messages"]),
        ],
    ),
    (
        "St1 a write that returned",
        &[("store/tests.rs", &["st1_a_write_that_returned_is_there_and_powers_are_declared"])],
    ),
    (
        "St2 versions",
        &[("store/tests.rs", &["st2_versions_decide_and_a_conflict_is_its_own_kind"])],
    ),
    ("St3 times to live", &[("store/tests.rs", &["st3_what_is_over_is_never_returned"])]),
    (
        "St4 pages, order, literal prefixes",
        &[("store/tests.rs", &["st4_lists_are_paged_in_order_and_take_prefixes_literally"])],
    ),
    ("St5 fences", &[("store/tests.rs", &["st5_a_version_fences_off_the_holder_of_an_old_one"])]),
    (
        "St6 statements take parameters only",
        &[
            ("tests/tests/backends/postgres/store.rs", &["st6_no_name_is_a_part_of_a_statement"]),
            ("testkit/store/basics.rs", &["odd_keys_survive"]),
        ],
    ),
    (
        "St7 scopes",
        &[(
            "store/tests.rs",
            &["st7_a_scope_cannot_be_left", "st7_a_bound_handle_widens_to_nothing"],
        )],
    ),
    (
        "Cf1 precedence and origin",
        &[("config/tests.rs", &["cf1_precedence_is_printed_with_the_origin_of_each_value"])],
    ),
    (
        "Cf2 changes are whole",
        &[("config/tests.rs", &["cf2_a_change_is_checked_whole_taken_at_once_and_told_once"])],
    ),
    (
        "Cf3 unknown keys",
        &[("config/tests.rs", &["cf3_unknown_keys_are_errors_at_the_start_and_later"])],
    ),
    (
        "Cf4 variables are typed",
        &[("config/tests.rs", &["cf4_variables_are_typed_and_durations_need_units"])],
    ),
    ("Cf5 nothing is expanded", &[("config/tests.rs", &["cf5_nothing_in_a_value_is_expanded"])]),
];
