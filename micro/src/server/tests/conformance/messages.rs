//! RFC 9113, section 8: what makes a request malformed.

use super::*;

/// The end of a head, with a body to come.
fn head_of(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

fn path() -> Vec<u8> {
    literal(":path", "/sample/Sample.Echo")
}

fn authority() -> Vec<u8> {
    literal(":authority", "localhost")
}

/// A call with a content length, and bodies.
fn sized(length: &str, bodies: &[Vec<u8>]) -> Vec<u8> {
    let length = literal("content-length", length);
    [frame(HEADERS, END_HEADERS, 1, &head(&length)), bodies.concat()].concat()
}

fn trailers(flags: u8, fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, fields)
}

cases! {
    s8_1_a_second_head_that_ends_nothing_is_refused:
        [open(1), trailers(0, &literal("a", "b"))] => Want::Either(PROTOCOL_ERROR);
    s8_1_trailers_are_taken:
        [open(1), frame(DATA, 0, 1, b"\"x\""), trailers(END_STREAM, &literal("a", "b"))]
            => Want::Served;
    s8_1_pseudo_fields_in_trailers_are_dropped_deviates:
        [open(1), frame(DATA, 0, 1, b"\"x\""), trailers(END_STREAM, &literal(":path", "/"))]
            => Want::Served;
    s8_2_1_names_in_upper_case_are_refused:
        [call_with(1, &literal("X-Test", "ok"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_1_names_with_spaces_are_refused:
        [call_with(1, &literal("x test", "ok"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_1_empty_names_are_refused: [call_with(1, &literal("", "ok"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_1_values_with_line_ends_are_refused:
        [call_with(1, &literal("a", "b\r\nc: d"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_1_values_with_zeros_are_refused:
        [call_with(1, &literal("a", "b\0c"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_2_connection_is_refused:
        [call_with(1, &literal("connection", "keep-alive"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_2_keep_alive_is_refused:
        [call_with(1, &literal("keep-alive", "1"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_2_proxy_connection_is_refused:
        [call_with(1, &literal("proxy-connection", "close"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_2_transfer_encoding_is_refused:
        [call_with(1, &literal("transfer-encoding", "chunked"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_2_upgrade_is_refused: [call_with(1, &literal("upgrade", "h2c"))] => Want::Either(PROTOCOL_ERROR);
    s8_2_2_te_may_say_trailers: [call_with(1, &literal("te", "trailers"))] => Want::Served;
    s8_2_2_te_may_say_nothing_else:
        [call_with(1, &literal("te", "trailers, deflate"))] => Want::Either(PROTOCOL_ERROR);
    s8_3_an_unknown_pseudo_field_is_refused:
        [head_of(&[&[0x83, 0x86][..], &path(), &authority(), &literal(":test", "ok")].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_the_pseudo_field_of_responses_is_refused:
        [head_of(&[&[0x83, 0x86, 0x88][..], &path(), &authority()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_a_pseudo_field_after_others_is_refused:
        [head_of(&[&[0x83, 0x86][..], &authority(), &literal("a", "b"), &path()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_a_request_without_a_method_is_refused:
        [head_of(&[&[0x86][..], &path(), &authority()].concat())] => Want::Either(PROTOCOL_ERROR);
    s8_3_1_a_request_without_a_scheme_is_refused:
        [head_of(&[&[0x83][..], &path(), &authority()].concat())] => Want::Either(PROTOCOL_ERROR);
    s8_3_1_a_request_without_a_path_is_refused:
        [head_of(&[&[0x83, 0x86][..], &authority()].concat())] => Want::Either(PROTOCOL_ERROR);
    s8_3_1_an_empty_path_is_refused:
        [head_of(&[&[0x83, 0x86][..], &literal(":path", ""), &authority()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_two_methods_are_refused:
        [head_of(&[&[0x83, 0x83, 0x86][..], &path(), &authority()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_two_schemes_are_refused:
        [head_of(&[&[0x83, 0x86, 0x86][..], &path(), &authority()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_two_paths_are_refused:
        [head_of(&[&[0x83, 0x86][..], &path(), &path(), &authority()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_two_authorities_are_refused:
        [head_of(&[&[0x83, 0x86][..], &path(), &authority(), &authority()].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_an_authority_that_is_none_is_refused:
        [head_of(&[&[0x83, 0x86][..], &path(), &literal(":authority", "a b")].concat())]
            => Want::Either(PROTOCOL_ERROR);
    s8_3_1_a_host_that_differs_from_the_authority_is_refused:
        [call_with(1, &literal("host", "127.0.0.1"))] => Want::Bad;
    s8_3_1_a_host_that_is_the_authority_is_taken:
        [call_with(1, &literal("host", "localhost"))] => Want::Served;
    s8_1_1_a_content_length_that_fits_is_taken: [sized("3", &[body(1)])] => Want::Served;
    s8_1_1_a_content_length_beyond_the_body_is_refused:
        [sized("4", &[body(1)])] => Want::Either(PROTOCOL_ERROR);
    s8_1_1_a_content_length_below_the_body_is_refused:
        [sized("2", &[body(1)])] => Want::Either(PROTOCOL_ERROR);
    s8_1_1_a_content_length_is_that_of_all_data:
        [sized("4", &[frame(DATA, 0, 1, b"1"), frame(DATA, END_STREAM, 1, b"1")])]
            => Want::Either(PROTOCOL_ERROR);
    s8_1_1_a_content_length_that_is_no_number_is_refused:
        [sized("x", &[body(1)])] => Want::Either(PROTOCOL_ERROR);
    s8_1_1_content_lengths_that_differ_are_refused:
        [
            frame(
                HEADERS,
                END_HEADERS,
                1,
                &head(&[literal("content-length", "3"), literal("content-length", "4")].concat()),
            ),
            body(1),
        ] => Want::Either(PROTOCOL_ERROR);
}
