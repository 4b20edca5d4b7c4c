//! Faults of the port and limits, and their tests.

use crate::Held;

pub(crate) const HELD: &[Held] = &[
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
    (
        "F45 compressed bombs",
        &[
            ("server/tests/compression.rs", &["a_bomb_costs_no_more_than_a_message"]),
            ("server/http/coding/unpack.rs", &["a_bomb_is_refused_while_it_is_read"]),
            ("codec/grpc/gzip.rs", &["a_bomb_is_refused_early"]),
            ("registry/packed.rs", &["what_was_packed_comes_back_up_to_the_limit"]),
            ("registry/mdns/txt.rs", &["hostile_texts_are_refused"]),
        ],
    ),
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
            ("core/limits.rs", &["shares_are_at_most_the_whole"]),
            ("server/tests/ends.rs", &["a_connection_grows_old_only_so_far"]),
            ("server/http/connection.rs", &["l15_ages_spread_as_far_as_the_jitter_and_no_further"]),
            ("transport/native/tests/hostile.rs", &["an_old_connection_says_goaway_then_ends"]),
            (
                "transport/native/keeper.rs",
                &["l15_ages_spread_as_far_as_the_jitter_and_no_further"],
            ),
        ],
    ),
    (
        "L16 deadlines",
        &[(
            "server/tests/calls.rs",
            &["the_deadline_is_the_least_of_callers_endpoints_and_processs"],
        )],
    ),
    (
        "L17 dialing a node",
        &[("client/tests/dials.rs", &["callers_share_one_dial_and_its_failure_and_go_elsewhere"])],
    ),
    (
        "L18 retries, their budget and the pauses between them",
        &[
            (
                "client/tests/retries.rs",
                &[
                    "a_call_is_repeated_twice_unless_told_otherwise",
                    "r15_an_overload_is_multiplied_by_no_more_than_the_budget",
                    "a_node_asks_for_a_pause_up_to_the_limit",
                ],
            ),
            (
                "core/budget.rs",
                &["the_limits_of_retries_allow_a_fifth_of_the_calls_and_ten_a_second_besides"],
            ),
            ("core/backoff.rs", &["pauses_stay_within_the_limits_of_retries"]),
        ],
    ),
    (
        "L19 nesting and elements of a message, keys that come twice",
        &[
            (
                "codec/depth/tests.rs",
                &[
                    "msgpack_arrays_stop_at_the_limit",
                    "json_stops_at_the_limit",
                    "elements_stop_at_the_limit",
                ],
            ),
            ("codec/tests.rs", &["a_field_that_comes_twice_is_refused"]),
        ],
    ),
    (
        "L20 what compressed bytes become",
        &[
            ("server/http/coding/unpack.rs", &["a_bomb_is_refused_while_it_is_read"]),
            ("codec/grpc/gzip.rs", &["a_message_inflates_to_its_limit_and_no_further"]),
        ],
    ),
    (
        "L21 bytes that wait to be written, writes without progress",
        &[
            (
                "transport/native/tests/hostile.rs",
                &["a_client_that_never_reads_holds_little_and_is_closed"],
            ),
            (
                "transport/native/tests/hostile_server.rs",
                &["a_server_that_reads_nothing_makes_callers_wait_then_fails_them"],
            ),
            (
                "server/tests/floods.rs",
                &["f09_a_peer_that_reads_nothing_is_closed_however_it_asks"],
            ),
        ],
    ),
    (
        "L22 subscriptions, topics, and what waits for a subscription",
        &[(
            "broker/memory/tests/room.rs",
            &[
                "limits_hold_at_the_limit_and_one_more",
                "what_waits_is_bounded_at_the_limit_above_it_and_far_above_it",
            ],
        )],
    ),
    (
        "L23 messages in hand, their time and their deliveries",
        &[
            (
                "broker/memory/tests/room.rs",
                &["a_subscription_has_as_many_messages_in_hand_as_it_may"],
            ),
            ("broker/delivery.rs", &["a_handler_that_hangs_is_dropped_and_retried"]),
            (
                "broker/tests/mod.rs",
                &["k4_what_takes_its_receivers_down_is_given_up_and_can_be_replayed"],
            ),
            ("testkit/broker/settling.rs", &["given_up_messages_go_to_the_dead_letters"]),
        ],
    ),
    (
        "L24 bytes and claims of a token, keys of a set",
        &[
            ("auth/jwt/tests/tokens.rs", &["l24_long_and_deep_tokens_are_refused"]),
            (
                "auth/jwt/tests/algorithms.rs",
                &["a04_no_shared_secret_and_no_short_key_is_ever_a_key"],
            ),
        ],
    ),
    (
        "L25 nodes, services and metadata of a registry, lives of records",
        &[
            ("registry/memory.rs", &["nodes_and_services_are_limited"]),
            ("registry/file.rs", &["services_and_nodes_are_limited"]),
            ("registry/lease/tests.rs", &["the_limits_that_are_given_hold"]),
        ],
    ),
    (
        "L26 keys, values, pages and lives of records, what a store holds",
        &[
            ("store/key.rs", &["l26_keys_and_names_are_as_long_as_they_may_be"]),
            ("store/file/layout.rs", &["what_is_kept_in_memory_of_a_file_is_bounded"]),
            (
                "store/memory.rs",
                &["records_and_bytes_are_bounded_at_the_limit_above_it_and_far_above_it"],
            ),
            ("testkit/store/basics.rs", &["what_cannot_be_kept_is_refused"]),
            ("testkit/store/lists.rs", &["pages_cover_everything_once"]),
        ],
    ),
    (
        "L27 a document of settings",
        &[("config/file/mod.rs", &["l27_a_document_is_as_long_as_it_may_be"])],
    ),
    (
        "L28 the phases of a stop",
        &[
            (
                "../tests/stop.rs",
                &[
                    "a_stop_ends_in_time_whatever_hooks_and_calls_do",
                    "a_stop_ends_in_time_whatever_the_last_hooks_do",
                    "l28_a_stop_serves_on_for_its_lame_duck_and_no_longer",
                    "l28_calls_and_their_tasks_have_their_time_to_drain_and_no_more",
                    "l28_the_last_hooks_have_their_time_to_close_and_no_more",
                ],
            ),
            ("service/stop.rs", &["l28_tasks_that_do_not_end_are_waited_for_and_then_left"]),
        ],
    ),
    (
        "L29 questions about the inside, profiles",
        &[
            (
                "debug/monitor.rs",
                &[
                    "l29_questions_at_the_limit_are_answered_and_further_ones_refused",
                    "l29_l30_questions_and_traces_have_their_number_a_second",
                ],
            ),
            ("server/tests/inside.rs", &["l29_numbers_are_read_at_a_pace"]),
            ("debug/profile.rs", &["l29_profiles_are_as_long_and_as_fine_as_they_may_be"]),
            ("debug/sampler.rs", &["l29_the_rarest_stacks_are_left_out_for_want_of_room"]),
            ("debug/tasks.rs", &["l29_a_dump_tells_of_as_many_tasks_as_it_may"]),
        ],
    ),
    (
        "L30 baggage, labels of metrics",
        &[
            ("server/http/baggage.rs", &["members_past_the_limits_are_left_out"]),
            ("debug/monitor.rs", &["l30_endpoints_past_the_limit_of_labels_are_counted_as_other"]),
            ("debug/otlp/post.rs", &["a_try_has_its_time_and_no_more"]),
        ],
    ),
];
