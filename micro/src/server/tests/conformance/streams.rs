//! RFC 9113, section 5: the states of streams, their numbers, their errors.

use super::*;

/// A stream that the server has answered to the end.
fn done() -> Vec<u8> {
    call(1)
}

cases! {
    s5_1_data_on_an_idle_stream_ends_the_connection: [body(1)] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_a_window_for_an_idle_stream_ends_the_connection:
        [window_update(1, 100)] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_a_continuation_of_an_idle_stream_ends_the_connection:
        [frame(CONTINUATION, END_HEADERS, 1, &head(b""))] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_a_priority_for_an_idle_stream_is_passed_over:
        [frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]), call(1)] => Want::Served;
    s5_1_data_after_the_end_of_a_request_is_refused_deviates:
        [hang(1), body(1)] => Want::Plainly(STREAM_CLOSED);
    s5_1_a_head_after_the_end_of_a_request_is_refused_deviates:
        [hang(1), open(1)] => Want::Reset(PROTOCOL_ERROR);
    s5_1_a_window_after_the_end_of_a_request_is_taken:
        [hang(1), window_update(1, 100)] => Want::Nothing;
    s5_1_a_continuation_after_the_end_of_a_request_ends_the_connection:
        [hang(1), frame(CONTINUATION, END_HEADERS, 1, &head(b""))] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_a_reset_after_the_end_of_a_request_is_taken: [hang(1), reset(1, CANCEL)] => Want::Nothing;
    s5_1_data_on_a_stream_that_was_reset_is_refused:
        [open(1), reset(1, CANCEL), body(1)] => Want::Either(STREAM_CLOSED);
    s5_1_a_head_on_a_stream_that_was_reset_is_refused_deviates:
        [open(1), reset(1, CANCEL), open(1)] => Want::Plainly(STREAM_CLOSED);
    s5_1_a_continuation_of_a_stream_that_was_reset_ends_the_connection:
        [open(1), reset(1, CANCEL), frame(CONTINUATION, END_HEADERS, 1, &head(b""))]
            => Want::Goaway(PROTOCOL_ERROR);
    s5_1_data_on_a_stream_that_is_over_is_refused:
        [done(), body(1)] => Want::Either(STREAM_CLOSED);
    s5_1_a_head_on_a_stream_that_is_over_is_refused_deviates:
        [done(), open(1)] => Want::Plainly(STREAM_CLOSED);
    s5_1_a_continuation_of_a_stream_that_is_over_ends_the_connection:
        [done(), frame(CONTINUATION, END_HEADERS, 1, &head(b""))] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_a_window_for_a_stream_that_is_over_is_passed_over:
        [done(), window_update(1, 100)] => Want::Served;
    s5_1_a_priority_for_a_stream_that_is_over_is_passed_over:
        [done(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])] => Want::Served;
    s5_1_a_reset_of_a_stream_that_is_over_is_passed_over: [done(), reset(1, CANCEL)] => Want::Served;
    s5_1_1_a_stream_of_an_even_number_ends_the_connection: [open(2)] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_1_a_stream_of_a_smaller_number_is_refused:
        [hang(5), open(3)] => Want::Goaway(PROTOCOL_ERROR);
    s5_1_1_numbers_may_be_left_out: [call(1), call(9), call(77)] => Want::Served;
    s5_1_1_the_greatest_number_is_taken: [call(1), call(0x7fff_ffff)] => Want::Served;
    s5_3_a_stream_that_depends_on_itself_is_answered_or_reset:
        [
            frame(
                HEADERS,
                END_HEADERS | PRIORITIZED,
                1,
                &[&[0, 0, 0, 1, 255], &head(b"")[..]].concat(),
            ),
        ] => Want::Either(PROTOCOL_ERROR);
}

#[tokio::test(start_paused = true)]
async fn s5_4_1_the_connection_ends_after_its_error() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    talk.send(&window_update(0, 0)).await;
    talk.send(&call(1)).await;
    talk.settle().await;
    assert_eq!((talk.heard.goaway(), talk.heard.closed), (Some(PROTOCOL_ERROR), true));
    assert_eq!(talk.heard.status(1), None, "nothing is served after it");
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn s5_4_2_a_stream_error_concerns_that_stream_alone() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    talk.send(&hang(1)).await;
    talk.settle().await;
    talk.send(&window_update(1, 0x7fff_ffff)).await;
    talk.settle().await;
    assert_eq!(talk.heard.reset(1), Some(FLOW_CONTROL_ERROR));
    assert_eq!((rig.started(), rig.dropped()), (1, 1), "its handler is dropped");
    talk.send(&call(3)).await;
    talk.settle().await;
    assert_eq!((talk.heard.goaway(), talk.heard.status(3)), (None, Some(200)));
}
