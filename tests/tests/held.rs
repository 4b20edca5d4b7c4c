//! Which test holds which fault, limit and rule: every hostile peer, every bound that the crate names
//! and every rule for its components is held by tests, and the tests that are named here exist.

use std::fs;
use std::path::Path;

/// A fault or a limit, and the files and tests that hold it.
type Held = (&'static str, &'static [(&'static str, &'static [&'static str])]);

const HELD: &[Held] = &[
    (
        "F40 rapid reset, and resets that the server is made to send",
        &[
            (
                "server/tests/floods.rs",
                &[
                    "f40_calls_that_are_reset_at_once_run_no_more_than_there_is_room_for",
                    "f40_calls_that_are_reset_once_they_run_are_dropped_one_by_one",
                    "f40_a_peer_that_makes_the_server_reset_is_cut_off",
                ],
            ),
            (
                "server/tests/http2.rs",
                &["streams_that_are_reset_before_they_are_accepted_end_the_connection"],
            ),
            (
                "transport/native/tests/hostile.rs",
                &["a_flood_of_calls_given_up_at_once_runs_no_more_than_the_limit"],
            ),
        ],
    ),
    (
        "F41 continuations without end, bombs of header lists",
        &[
            (
                "server/tests/floods.rs",
                &[
                    "f41_continuations_without_end_are_cut_off",
                    "l03_a_list_of_headers_beyond_the_limit_is_refused_and_far_beyond_it_the_end",
                ],
            ),
            (
                "server/tests/conformance/hpack.rs",
                &["f41_a_bomb_of_references_is_refused_before_it_is_unpacked"],
            ),
        ],
    ),
    (
        "F42 empty and small data, settings, pings, windows without end",
        &[
            (
                "server/tests/floods.rs",
                &[
                    "f42_empty_and_small_data_is_cut_off",
                    "f42_settings_pings_and_windows_without_end_cost_nobody_else_anything",
                    "f09_a_peer_that_reads_nothing_is_closed_however_it_asks",
                ],
            ),
            (
                "transport/native/tests/limits.rs",
                &["empty_messages_cost_credit_and_empty_parts_are_counted"],
            ),
            (
                "transport/native/tests/hostile.rs",
                &["a_flood_of_pings_that_nobody_reads_the_answers_of_is_bounded_and_ends"],
            ),
        ],
    ),
    (
        "F43 slow heads, bodies and handshakes, silent connections",
        &[
            (
                "server/tests/floods.rs",
                &[
                    "f43_heads_and_bodies_that_drip_end_in_their_time",
                    "f43_bodies_that_drip_over_http2_are_given_up",
                    "f43_a_connection_of_http2_that_never_asks_for_anything_ends",
                    "f43_thousands_of_silent_connections_keep_nobody_out",
                ],
            ),
            (
                "server/tests/secure.rs",
                &[
                    "f43_a_handshake_that_stands_still_ends_in_its_time",
                    "f43_a_handshake_of_one_byte_at_a_time_has_no_more_time",
                ],
            ),
            (
                "server/tests/protocols.rs",
                &["its_connections_are_closed_when_silent_slow_idle_or_old"],
            ),
            (
                "transport/native/tests/hostile.rs",
                &["whoever_does_not_speak_the_protocol_is_closed_in_time"],
            ),
        ],
    ),
    (
        "F44 lengths that promise too much, overflow, or are overlong",
        &[
            ("server/tests/floods.rs", &["f44_what_a_length_promises_is_not_believed"]),
            (
                "server/tests/smuggling.rs",
                &["a_length_beyond_64_bits", "a_negative_length", "a_chunk_beyond_64_bits"],
            ),
            ("transport/native/varint.rs", &["overlong_and_cut_numbers_are_refused"]),
            ("transport/native/frame.rs", &["an_overlong_frame_is_refused_by_its_header_alone"]),
        ],
    ),
    ("F45 compressed bombs", &[("registry/mdns/txt.rs", &["hostile_texts_are_refused"])]),
    (
        "F46 nesting without end",
        &[(
            "codec/depth/tests.rs",
            &[
                "msgpack_arrays_stop_at_the_limit",
                "json_stops_at_the_limit",
                "a_codec_without_limits_of_its_own_is_held",
            ],
        )],
    ),
    (
        "F47 elements without end, keys that come twice",
        &[
            ("codec/depth/tests.rs", &["elements_stop_at_the_limit"]),
            ("codec/tests.rs", &["a_field_that_comes_twice_is_refused"]),
        ],
    ),
    (
        "F48 streams, names and connections without end",
        &[
            ("server/tests/http2.rs", &["streams_beyond_the_limit_are_refused"]),
            (
                "transport/native/tests/limits.rs",
                &["names_are_numbered_in_order_and_up_to_the_limit"],
            ),
            ("server/tests/connections.rs", &["an_account_has_so_many_connections_and_no_more"]),
        ],
    ),
    (
        "F49 text of others in logs, secrets in debug output",
        &[
            ("core/error.rs", &["display_escapes_and_never_shows_the_source"]),
            ("core/secret.rs", &["debug_of_whatever_holds_it_shows_nothing"]),
            ("core/metadata.rs", &["debug_masks_secrets"]),
        ],
    ),
    (
        "F50 foreign pages and names of hosts on every path",
        &[
            (
                "server/tests/browsers.rs",
                &["f50_every_path_refuses_foreign_pages_and_names_over_both_versions"],
            ),
            ("server/tests/inside.rs", &["f50_foreign_pages_and_hosts_see_nothing_of_the_inside"]),
        ],
    ),
    (
        "F51 requests that two readers take for different ones",
        &[
            (
                "server/tests/smuggling.rs",
                &[
                    "a_length_before_chunks",
                    "chunks_before_a_length",
                    "chunks_twice",
                    "an_encoding_folded_into_two_lines",
                    "two_hosts",
                    "a_tunnel",
                    "bytes_that_come_before_an_upgrade_is_granted_are_its_own",
                ],
            ),
            ("server/http/sound.rs", &["whom_a_request_is_for_is_said_once"]),
            ("server/tests/unread.rs", &["a_refusal_arrives_however_much_is_still_sent"]),
        ],
    ),
    (
        "F52 a server is who the address names",
        &[(
            "transport/tls/files/tests.rs",
            &["a16_a_server_is_who_the_address_names_by_an_authority_that_is_trusted"],
        )],
    ),
    (
        "F53 a server that is hostile",
        &[(
            "transport/native/tests/hostile_server.rs",
            &[
                "a_frame_beyond_the_limit_ends_the_connection_and_its_calls",
                "floods_cost_nothing_and_calls_go_on",
                "unfinished_responses_share_one_bound",
            ],
        )],
    ),
    (
        "L1 bytes of a message",
        &[
            ("server/tests/limits.rs", &["a_body_at_the_limit_passes_and_above_it_is_a_413"]),
            (
                "server/tests/http2.rs",
                &["a_message_beyond_the_limit_is_a_413_and_the_connection_goes_on"],
            ),
            (
                "transport/native/tests/limits.rs",
                &["a_message_beyond_the_limit_costs_its_call_and_no_more"],
            ),
        ],
    ),
    (
        "L2 bytes of a frame",
        &[
            ("server/tests/http2.rs", &["a_frame_beyond_the_limit_ends_the_connection"]),
            (
                "transport/native/tests/limits.rs",
                &["a_frame_beyond_the_limit_closes_the_connection_by_its_header_alone"],
            ),
        ],
    ),
    (
        "L3 metadata and heads",
        &[
            ("core/metadata.rs", &["each_limit_holds_at_the_limit_and_refuses_one_more"]),
            ("server/tests/limits.rs", &["a_head_past_its_limits_is_refused"]),
            (
                "transport/native/tests/limits.rs",
                &["metadata_over_a_limit_refuses_the_call_and_far_over_it_closes_the_connection"],
            ),
        ],
    ),
    (
        "L4 streams of a connection",
        &[
            ("server/tests/http2.rs", &["streams_beyond_the_limit_are_refused"]),
            (
                "transport/native/tests/limits.rs",
                &["streams_and_running_calls_beyond_the_limit_are_refused_safely"],
            ),
        ],
    ),
    (
        "L5 resets",
        &[(
            "server/tests/http2.rs",
            &[
                "streams_that_are_reset_before_they_are_accepted_end_the_connection",
                "streams_that_the_server_resets_for_errors_end_the_connection",
            ],
        )],
    ),
    (
        "L6 empty and small frames",
        &[("server/tests/floods.rs", &["f42_empty_and_small_data_is_cut_off"])],
    ),
    (
        "L7 connections, of an address, of an account",
        &[
            ("server/roster.rs", &["an_address_on_another_host_has_its_own_limit"]),
            ("server/tests/limits.rs", &["too_many_connections_close_the_idle_ones_first"]),
            (
                "server/tests/connections.rs",
                &[
                    "an_account_has_so_many_connections_and_no_more",
                    "an_account_has_so_many_native_connections_and_no_more",
                ],
            ),
        ],
    ),
    (
        "L8 calls that run",
        &[(
            "server/tests/limits.rs",
            &[
                "calls_past_the_limit_wait_and_those_past_the_queue_are_refused",
                "an_endpoint_has_its_own_limit",
            ],
        )],
    ),
    (
        "L9 waiting for a slot",
        &[("server/tests/limits.rs", &["a_call_waits_for_a_share_of_its_time_and_no_longer"])],
    ),
    (
        "L10 handshakes",
        &[
            ("server/tests/ends.rs", &["silent_slow_and_idle_connections_are_closed_in_time"]),
            ("server/tests/secure.rs", &["f43_a_handshake_that_stands_still_ends_in_its_time"]),
        ],
    ),
    (
        "L11 reading a head",
        &[("server/tests/ends.rs", &["a_head_has_its_time_from_its_first_byte_to_its_last"])],
    ),
    (
        "L12 the progress of a body",
        &[
            ("server/http/body.rs", &["a_body_has_to_make_progress"]),
            ("server/tests/floods.rs", &["f43_bodies_that_drip_over_http2_are_given_up"]),
        ],
    ),
    (
        "L13 idle connections",
        &[
            ("server/tests/ends.rs", &["silent_slow_and_idle_connections_are_closed_in_time"]),
            (
                "server/tests/connections.rs",
                &["an_idle_native_connection_is_closed_by_either_side_in_time"],
            ),
        ],
    ),
    (
        "L14 pings",
        &[("transport/native/tests/hostile.rs", &["a_peer_that_does_not_answer_pings_is_dropped"])],
    ),
    (
        "L15 the age of a connection",
        &[
            ("server/tests/ends.rs", &["a_connection_grows_old_only_so_far"]),
            ("transport/native/tests/hostile.rs", &["an_old_connection_says_goaway_then_ends"]),
        ],
    ),
    (
        "L16 deadlines",
        &[(
            "server/tests/calls.rs",
            &["the_deadline_is_the_least_of_callers_endpoints_and_processs"],
        )],
    ),
];

/// The rules of registries and callers, of brokers, stores and settings. A file below `tests/` is named
/// from the root.
const RULES: &[Held] = &[
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
        &[("tests/tests/held.rs", &["r9_the_readme_says_how_old_what_a_registry_tells_may_be"])],
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
                    "r15_what_is_called_for_a_repeated_call_is_not_repeated_by_itself",
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
        &[(
            "broker/tests.rs",
            &[
                "k1_a_message_is_acknowledged_by_its_handler_and_not_before",
                "k1_within_a_process_too_the_handler_acknowledges",
            ],
        )],
    ),
    (
        "K2 subscribed means subscribed",
        &[("broker/tests.rs", &["k2_nothing_that_is_published_after_subscribing_is_lost"])],
    ),
    (
        "K3 ack, retry, reject",
        &[(
            "broker/tests.rs",
            &[
                "k3_errors_and_panics_are_retried_and_refusals_are_not",
                "k3_within_a_process_too_refusals_are_not_retried",
            ],
        )],
    ),
    (
        "K4 poison",
        &[(
            "broker/tests.rs",
            &[
                "k4_what_takes_its_receivers_down_is_given_up_and_can_be_replayed",
                "k4_what_always_fails_is_given_up_and_can_be_replayed",
            ],
        )],
    ),
    ("K5 order", &[("broker/tests.rs", &["k5_order_holds_for_one_publisher_and_one_at_a_time"])]),
    (
        "K6 what waits is bounded",
        &[("broker/tests.rs", &["k6_what_waits_is_bounded_by_count_and_by_bytes"])],
    ),
    ("K7 ids", &[("broker/tests.rs", &["k7_an_id_tells_a_message_that_came_before"])]),
    (
        "K8 outcomes of publishing",
        &[(
            "broker/tests.rs",
            &[
                "k8_publishing_succeeds_or_is_safe_to_repeat_or_unknown",
                "k8_within_a_process_what_fails_is_safe_to_repeat",
            ],
        )],
    ),
    (
        "K9 no buffer for those out of reach",
        &[(
            "broker/tests.rs",
            &[
                "k9_nothing_is_kept_for_those_out_of_reach_beyond_a_bound_that_shows",
                "k9_within_a_process_nothing_is_kept_for_those_to_come",
            ],
        )],
    ),
    (
        "K10 connections come back; there are none within a process",
        &[("broker/tests.rs", &["k10_a_lost_connection_is_made_again_and_groups_stay"])],
    ),
    (
        "K11 draining",
        &[(
            "broker/tests.rs",
            &[
                "k11_draining_finishes_what_runs_and_gives_back_what_waits",
                "k11_a_process_that_stops_gives_what_it_has_to_others",
                "k11_within_a_process_draining_finishes_what_runs_and_loses_nothing",
            ],
        )],
    ),
    (
        "K12 names; environments share no server",
        &[(
            "broker/tests.rs",
            &["k12_names_are_checked_and_patterns_refused_where_there_are_none"],
        )],
    ),
    (
        "K13 what cannot be decoded",
        &[("broker/tests.rs", &["k13_what_cannot_be_decoded_goes_to_the_dead_letters"])],
    ),
    (
        "K14 counts",
        &[
            ("broker/tests.rs", &["k14_every_copy_is_accounted_for_on_both_sides"]),
            ("broker/memory/tests.rs", &["every_copy_is_accounted_for"]),
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

/// Fails unless every test that a table names is in the file that it names.
fn assert_there(table: &[Held]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (what, files) in table {
        for (file, tests) in *files {
            let base =
                if file.starts_with("tests/") { root.to_owned() } else { root.join("micro/src") };
            let text = fs::read_to_string(base.join(file)).unwrap();
            for test in *tests {
                // A test of its own, or a case of a table.
                let named = [format!("fn {test}("), format!("    {test}:")];
                assert!(named.iter().any(|name| text.contains(name)), "{what}: {file} {test}");
            }
        }
    }
}

#[test]
fn every_fault_and_limit_of_the_port_is_held_by_tests_that_exist() {
    let ids = (40..54).map(|n| format!("F{n} ")).chain((1..17).map(|n| format!("L{n} ")));
    for id in ids {
        assert!(HELD.iter().any(|held| held.0.starts_with(&id)), "nothing holds {id}");
    }
    assert_there(HELD);
}

#[test]
fn every_rule_is_held_by_a_test_of_its_name() {
    let rules = [("R", 18), ("K", 14), ("St", 7), ("Cf", 5)];
    let ids = rules.into_iter().flat_map(|(kind, last)| (1..=last).map(move |n| (kind, n)));
    for (kind, n) in ids {
        let (id, own) = (format!("{kind}{n} "), format!("{}{n}_", kind.to_ascii_lowercase()));
        let rule = RULES.iter().find(|rule| rule.0.starts_with(&id));
        let Some((what, files)) = rule else { panic!("nothing holds {id}") };
        let mut tests = files.iter().flat_map(|(_, tests)| tests.iter());
        assert!(tests.any(|test| test.starts_with(&own)), "{what}");
    }
    assert_there(RULES);
}

/// The constant that says how old what a registry tells may be, in milliseconds.
fn propagation(file: &str, name: &str) -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("micro/src/registry").join(file)).unwrap();
    let value = text.split(&format!("const {name}: Duration = Duration::from_")).nth(1);
    let value = value.unwrap_or_else(|| panic!("{file} has no {name}")).split(')').next().unwrap();
    let (unit, number) = value.split_once('(').unwrap();
    let number: u64 = number.parse().unwrap();
    if unit == "secs" { number * 1000 } else { number }
}

#[test]
fn r9_the_readme_says_how_old_what_a_registry_tells_may_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for (name, file, constant) in [
        ("consul", "consul/mod.rs", "PROPAGATION"),
        ("dns", "dns.rs", "REFRESH_MAX"),
        ("etcd", "etcd/mod.rs", "PROPAGATION"),
        ("file", "file.rs", "PROPAGATION"),
        ("gossip", "gossip/mod.rs", "PROPAGATION"),
        ("kubernetes", "kubernetes/mod.rs", "PROPAGATION"),
        ("mdns", "mdns/mod.rs", "PROPAGATION"),
        ("nats", "nats/mod.rs", "PROPAGATION"),
        ("nats-broadcast", "nats_broadcast/mod.rs", "PROPAGATION"),
        ("redis", "redis/mod.rs", "PROPAGATION"),
        ("zookeeper", "zookeeper/mod.rs", "PROPAGATION"),
    ] {
        let millis = propagation(file, constant);
        let age = if millis % 1000 == 0 {
            format!("`{name}` {} s", millis / 1000)
        } else {
            format!("`{name}` {millis} ms")
        };
        assert!(readme.contains(&age), "the README does not say {age}");
    }
}
