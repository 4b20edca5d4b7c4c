//! RFC 9113, sections 6.5 and 6.9: settings, and the windows of flow control.

use super::*;

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

cases! {
    s6_5_an_answer_with_a_payload_ends_the_connection_deviates:
        [frame(SETTINGS, ACK, 0, &[0; 6])] => Want::Plainly(FRAME_SIZE_ERROR);
    s6_5_settings_on_a_stream_end_the_connection:
        [frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])] => Want::Goaway(PROTOCOL_ERROR);
    s6_5_settings_of_another_length_end_the_connection_deviates:
        [frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0])] => Want::Plainly(FRAME_SIZE_ERROR);
    s6_5_2_push_is_on_or_off: [setting(ENABLE_PUSH, 2)] => Want::Goaway(PROTOCOL_ERROR);
    s6_5_2_a_window_beyond_the_greatest_ends_the_connection_deviates:
        [setting(INITIAL_WINDOW_SIZE, 0x8000_0000)] => Want::Plainly(FLOW_CONTROL_ERROR);
    s6_5_2_a_frame_size_below_the_least_ends_the_connection:
        [setting(MAX_FRAME_SIZE, 16_383)] => Want::Goaway(PROTOCOL_ERROR);
    s6_5_2_a_frame_size_beyond_the_greatest_ends_the_connection:
        [setting(MAX_FRAME_SIZE, 16_777_216)] => Want::Goaway(PROTOCOL_ERROR);
    s6_5_2_an_unknown_setting_is_passed_over: [setting(0xff, 1), call(1)] => Want::Served;
    s6_9_an_empty_window_for_the_connection_ends_it:
        [window_update(0, 0)] => Want::Goaway(PROTOCOL_ERROR);
    s6_9_an_empty_window_for_a_stream_is_refused:
        [hang(1), window_update(1, 0)] => Want::Either(PROTOCOL_ERROR);
    s6_9_a_window_of_another_length_ends_the_connection_deviates:
        [frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])] => Want::Plainly(FRAME_SIZE_ERROR);
    s6_9_1_a_window_of_the_connection_beyond_the_greatest_ends_it:
        [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)]
            => Want::Goaway(FLOW_CONTROL_ERROR);
    s6_9_1_a_window_of_a_stream_beyond_the_greatest_ends_the_stream:
        [hang(1), window_update(1, 0x7fff_ffff)] => Want::Reset(FLOW_CONTROL_ERROR);
    s6_9_2_settings_that_overflow_a_window_end_the_connection:
        [hang(1), window_update(1, 0x7fff_0000), setting(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]
            => Want::Goaway(FLOW_CONTROL_ERROR);
    s6_9_data_beyond_the_window_of_a_stream_is_refused:
        // A handler whose answers are not taken reads no further.
        [
            setting(INITIAL_WINDOW_SIZE, 0),
            doubling(1),
            frame(DATA, 0, 1, &b"1\n".repeat(8192)).repeat(60),
        ] => Want::Either(FLOW_CONTROL_ERROR);
}

/// A call whose handler reads as its answers are taken.
fn doubling(stream: u32) -> Vec<u8> {
    let path = literal(":path", "/sample/Sample.Double");
    let head = [&[0x83, 0x86][..], &path, &literal(":authority", "localhost")].concat();
    frame(HEADERS, END_HEADERS, stream, &head)
}

#[tokio::test(start_paused = true)]
async fn s6_5_3_settings_are_answered_in_their_order() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    let before = talk.heard.count(SETTINGS, ACK);
    for n in 1..4 {
        talk.send(&setting(INITIAL_WINDOW_SIZE, 1000 * n)).await;
        talk.settle().await;
    }
    assert_eq!(talk.heard.count(SETTINGS, ACK), before + 3);
}

#[tokio::test(start_paused = true)]
async fn s6_5_3_of_several_values_the_last_one_holds() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    let both = [0, 4, 0, 0, 0, 100, 0, 4, 0, 0, 0, 1];
    talk.send(&frame(SETTINGS, 0, 0, &both)).await;
    talk.send(&call(1)).await;
    talk.settle().await;
    assert_eq!((talk.heard.status(1), talk.heard.data(1)), (Some(200), 1));
}

#[tokio::test(start_paused = true)]
async fn s6_9_1_a_response_waits_for_the_window_and_goes_on_with_it() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    talk.send(&setting(INITIAL_WINDOW_SIZE, 0)).await;
    talk.send(&call(1)).await;
    talk.settle().await;
    assert_eq!((talk.heard.status(1), talk.heard.data(1)), (Some(200), 0));
    talk.send(&window_update(1, 2)).await;
    talk.settle().await;
    assert_eq!(talk.heard.data(1), 2);
    // A window may become negative, and is then made up for first.
    talk.send(&setting(INITIAL_WINDOW_SIZE, 1)).await;
    talk.settle().await;
    assert_eq!(talk.heard.data(1), 3);
    assert_eq!(talk.heard.goaway(), None);
}

#[tokio::test(start_paused = true)]
async fn s6_9_2_a_window_that_shrank_below_nothing_is_made_up_for_first() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    talk.send(&setting(INITIAL_WINDOW_SIZE, 2)).await;
    talk.send(&call(1)).await;
    talk.settle().await;
    assert_eq!(talk.heard.data(1), 2);
    talk.send(&setting(INITIAL_WINDOW_SIZE, 0)).await;
    talk.send(&window_update(1, 2)).await;
    talk.settle().await;
    assert_eq!(talk.heard.data(1), 2, "the window is at nothing");
    talk.send(&window_update(1, 1)).await;
    talk.settle().await;
    assert_eq!(talk.heard.data(1), 3);
}
