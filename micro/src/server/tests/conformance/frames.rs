//! RFC 9113, sections 3 and 4, and the frames of section 6 that are about streams.

use super::*;

/// A frame whose stream id has the reserved bit.
fn reserved(stream: u32) -> Vec<u8> {
    let mut frame = open(stream);
    frame[5] |= 0x80;
    frame
}

/// A payload with the length of its padding before it and `fill` bytes of padding after it.
fn padded(padding: u8, payload: &[u8], fill: usize) -> Vec<u8> {
    [&[padding][..], payload, &vec![0; fill]].concat()
}

cases! {
    s4_1_a_frame_of_an_unknown_kind_is_passed_over:
        [frame(0x16, 0, 0, b"12345678"), call(1)] => Want::Served;
    s4_1_flags_without_a_meaning_are_passed_over:
        [frame(PING, 0x16, 0, b"12345678"), call(1)] => Want::Served;
    s4_1_the_reserved_bit_of_a_stream_is_passed_over:
        [reserved(1), body(1)] => Want::Served;
    s4_2_a_data_frame_of_the_longest_length_is_taken:
        [open(1), frame(DATA, 0, 1, &[b' '; 16_384]), body(1)] => Want::Served;
    s4_2_a_data_frame_that_is_too_long_ends_the_connection:
        [open(1), frame(DATA, 0, 1, &[b' '; 16_385])] => Want::Either(FRAME_SIZE_ERROR);
    s4_2_a_headers_frame_that_is_too_long_ends_the_connection:
        [frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&vec![0; 16_385]))]
            => Want::Goaway(FRAME_SIZE_ERROR);
    s4_3_a_head_that_is_no_hpack_ends_the_connection_deviates:
        [frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40")] => Want::Plainly(COMPRESSION_ERROR);
    s4_3_a_priority_within_a_head_ends_the_connection:
        [
            frame(HEADERS, 0, 1, &head(b"")),
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]),
            frame(CONTINUATION, END_HEADERS, 1, &literal("a", "b")),
        ] => Want::Goaway(PROTOCOL_ERROR);
    s4_3_a_head_of_another_stream_within_a_head_ends_the_connection:
        [frame(HEADERS, 0, 1, &head(b"")), open(3)] => Want::Goaway(PROTOCOL_ERROR);
    s5_5_an_unknown_frame_within_a_head_ends_the_connection:
        [frame(HEADERS, 0, 1, &head(b"")), frame(0x16, 0, 1, b"x")] => Want::Goaway(PROTOCOL_ERROR);

    s6_1_data_on_stream_0_ends_the_connection:
        [frame(DATA, END_STREAM, 0, b"x")] => Want::Goaway(PROTOCOL_ERROR);
    s6_1_data_with_padding_is_taken:
        [open(1), frame(DATA, END_STREAM | PADDED, 1, &padded(6, b"\"x\"", 6))]
            => Want::Served;
    s6_1_padding_as_long_as_the_frame_ends_the_connection:
        [open(1), frame(DATA, END_STREAM | PADDED, 1, &padded(3, b"", 2))]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_1_padding_longer_than_the_frame_ends_the_connection:
        [open(1), frame(DATA, END_STREAM | PADDED, 1, &padded(255, b"\"x\"", 0))]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_2_a_head_on_stream_0_ends_the_connection: [open(0)] => Want::Goaway(PROTOCOL_ERROR);
    s6_2_a_head_with_padding_is_taken:
        [frame(HEADERS, END_HEADERS | PADDED, 1, &padded(9, &head(b""), 9)), body(1)]
            => Want::Served;
    s6_2_a_head_of_more_padding_than_bytes_ends_the_connection:
        [frame(HEADERS, END_HEADERS | PADDED, 1, &padded(200, &head(b""), 0))]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_2_a_head_with_a_priority_is_taken:
        [
            frame(HEADERS, END_HEADERS | PRIORITIZED, 1, &[&[0, 0, 0, 0, 255], &head(b"")[..]].concat()),
            body(1),
        ] => Want::Served;
    s6_3_a_priority_on_stream_0_ends_the_connection:
        [frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 255])] => Want::Goaway(PROTOCOL_ERROR);
    s6_3_a_priority_of_another_length_is_refused_deviates:
        [hang(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1])] => Want::Plainly(FRAME_SIZE_ERROR);
    s6_3_a_priority_is_passed_over:
        [frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), call(1)] => Want::Served;
    s6_4_a_reset_of_stream_0_ends_the_connection: [reset(0, CANCEL)] => Want::Goaway(PROTOCOL_ERROR);
    s6_4_a_reset_of_an_idle_stream_ends_the_connection:
        [reset(1, CANCEL)] => Want::Goaway(PROTOCOL_ERROR);
    s6_4_a_reset_of_another_length_ends_the_connection_deviates:
        [hang(1), frame(RST_STREAM, 0, 1, &[0, 0, 8])] => Want::Plainly(FRAME_SIZE_ERROR);
    s6_4_a_reset_for_an_unknown_reason_is_taken: [hang(1), reset(1, 0xff)] => Want::Nothing;

    s6_6_a_promise_of_a_client_ends_the_connection:
        [open(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &head(b"")[..]].concat())]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_7_a_ping_on_a_stream_ends_the_connection:
        [frame(PING, 0, 1, b"12345678")] => Want::Goaway(PROTOCOL_ERROR);
    s6_7_a_ping_of_another_length_ends_the_connection_deviates:
        [frame(PING, 0, 0, b"1234567")] => Want::Plainly(FRAME_SIZE_ERROR);
    s6_8_a_goaway_on_a_stream_ends_the_connection:
        [frame(GOAWAY, 0, 1, &[0; 8])] => Want::Goaway(PROTOCOL_ERROR);
    s6_8_a_goaway_that_is_too_short_ends_the_connection_deviates:
        [frame(GOAWAY, 0, 0, &[0; 7])] => Want::Plainly(FRAME_SIZE_ERROR);
    s7_a_goaway_for_an_unknown_reason_ends_the_connection_in_peace:
        [frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])] => Want::Closed;

    s6_10_continuations_join_their_head:
        [
            frame(HEADERS, 0, 1, &head(b"")),
            frame(CONTINUATION, 0, 1, &literal("a", "b")),
            frame(CONTINUATION, END_HEADERS, 1, &literal("c", "d")),
            body(1),
        ] => Want::Served;
    s6_10_a_continuation_on_stream_0_ends_the_connection:
        [frame(HEADERS, 0, 1, &head(b"")), frame(CONTINUATION, END_HEADERS, 0, b"")]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_10_a_continuation_of_another_stream_ends_the_connection:
        [frame(HEADERS, 0, 1, &head(b"")), frame(CONTINUATION, END_HEADERS, 3, b"")]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_10_a_continuation_of_a_complete_head_ends_the_connection:
        [open(1), frame(CONTINUATION, END_HEADERS, 1, &literal("a", "b"))]
            => Want::Goaway(PROTOCOL_ERROR);
    s6_10_a_continuation_after_the_last_one_ends_the_connection:
        [
            frame(HEADERS, 0, 1, &head(b"")),
            frame(CONTINUATION, END_HEADERS, 1, &literal("a", "b")),
            frame(CONTINUATION, END_HEADERS, 1, &literal("c", "d")),
        ] => Want::Goaway(PROTOCOL_ERROR);
    s6_10_a_continuation_after_data_ends_the_connection:
        [
            open(1),
            frame(DATA, 0, 1, b" "),
            frame(CONTINUATION, END_HEADERS, 1, &literal("a", "b")),
        ] => Want::Goaway(PROTOCOL_ERROR);
    s6_10_data_within_a_head_ends_the_connection:
        [frame(HEADERS, 0, 1, &head(b"")), body(1)] => Want::Goaway(PROTOCOL_ERROR);
}

#[tokio::test(start_paused = true)]
async fn s3_4_what_is_no_preface_ends_the_connection() {
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
        b"INVALID CONNECTION PREFACE\r\n\r\n",
    ] {
        let rig = Rig::plain();
        let mut pipe = rig.dial();
        let _closed = pipe.write_all(bytes).await;
        let mut all = Vec::new();
        let reading = async { while let Ok(1..) = pipe.read_buf(&mut all).await {} };
        assert!(clock::timeout(Duration::from_secs(6), reading).await.is_ok(), "{bytes:?}");
        assert!(!all.starts_with(b"\0\0"), "it speaks no HTTP/2: {all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s3_4_other_frames_before_the_settings_are_taken_deviates() {
    let rig = Rig::plain();
    let mut talk = Talk { pipe: rig.dial(), heard: Heard::default() };
    talk.send(&[PREFACE, &frame(PING, 0, 0, b"12345678"), &call(1)].concat()).await;
    talk.settle().await;
    assert_eq!((talk.heard.count(PING, ACK), talk.heard.status(1)), (1, Some(200)));
    assert_eq!(talk.heard.goaway(), None);
}

#[tokio::test(start_paused = true)]
async fn s6_7_a_ping_is_answered_with_its_bytes_and_an_answer_is_not() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    talk.send(&frame(PING, ACK, 0, b"12345678")).await;
    talk.settle().await;
    assert_eq!(talk.heard.count(PING, ACK), 0);
    talk.send(&frame(PING, 0, 0, b"abcdefgh")).await;
    talk.settle().await;
    let answers: Vec<_> =
        talk.heard.frames.iter().filter(|f| f.0 == PING && f.1 & ACK != 0).collect();
    assert_eq!((answers.len(), answers[0].3.as_slice()), (1, &b"abcdefgh"[..]));
}
