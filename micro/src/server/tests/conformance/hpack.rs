//! RFC 7541: how heads are compressed.

use super::*;

fn only(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

cases! {
    h2_3_3_an_index_beyond_the_tables_ends_the_connection_deviates:
        [only(&head(&[0xc6]))] => Want::Plainly(COMPRESSION_ERROR);
    h2_3_3_a_name_by_an_index_beyond_the_tables_ends_the_connection_deviates:
        [only(&head(&[0x7f, 0x10, 1, b'x']))] => Want::Plainly(COMPRESSION_ERROR);
    h4_2_a_table_size_after_fields_ends_the_connection_deviates:
        [only(&head(&[0x21]))] => Want::Plainly(COMPRESSION_ERROR);
    h5_1_an_integer_without_end_ends_the_connection_deviates:
        [only(&head(&[&[0xff][..], &[0x80; 20]].concat()))] => Want::Plainly(COMPRESSION_ERROR);
    h5_1_an_integer_beyond_32_bits_ends_the_connection_deviates:
        [only(&head(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]))] => Want::Plainly(COMPRESSION_ERROR);
    h5_2_huffman_padding_of_more_than_7_bits_ends_the_connection_deviates:
        [only(&head(&[0, 1, b'a', 0x82, 0xf1, 0xff, 0xff]))] => Want::Plainly(COMPRESSION_ERROR);
    h5_2_huffman_padding_of_zeros_ends_the_connection_deviates:
        [only(&head(&[0, 1, b'a', 0x81, 0x18]))] => Want::Plainly(COMPRESSION_ERROR);
    h5_2_the_end_of_string_symbol_ends_the_connection_deviates:
        [only(&head(&[0, 1, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]))] => Want::Plainly(COMPRESSION_ERROR);
    h5_2_a_string_longer_than_the_block_ends_the_connection_deviates:
        [only(&head(&[0, 0x7e, b'a']))] => Want::Plainly(COMPRESSION_ERROR);
    h6_1_index_0_ends_the_connection_deviates: [only(&head(&[0x80]))] => Want::Plainly(COMPRESSION_ERROR);
    h6_2_a_field_that_is_kept_is_found_again:
        [call_with(1, &[0x40, 1, b'a', 1, b'b']), call_with(3, &[0xbe])] => Want::Served;
    h6_2_a_field_that_is_never_kept_is_taken: [call_with(1, &[0x10, 1, b'a', 1, b'b'])] => Want::Served;
    h6_2_what_was_not_kept_is_not_found_deviates:
        [call_with(1, &[0x10, 1, b'a', 1, b'b']), call_with(3, &[0xbe])]
            => Want::Plainly(COMPRESSION_ERROR);
    h6_3_a_table_size_beyond_the_setting_ends_the_connection_deviates:
        [only(&[&[0x3f, 0xff, 0xff, 0x7f][..], &head(b"")].concat())]
            => Want::Plainly(COMPRESSION_ERROR);
    h6_3_a_smaller_table_forgets_deviates:
        [
            call_with(1, &[0x40, 1, b'a', 1, b'b']),
            only3(&[&[0x20][..], &head(&[0xbe])].concat()),
        ] => Want::Plainly(COMPRESSION_ERROR);
}

fn only3(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 3, block)
}

#[tokio::test(start_paused = true)]
async fn f41_a_bomb_of_references_is_refused_before_it_is_unpacked() {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    // One field of 4,000 bytes is kept, then named again and again: a byte for each 4,000.
    let value = vec![b'v'; 4000];
    let kept = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &value].concat();
    talk.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&kept))).await;
    talk.settle().await;
    assert_eq!(talk.heard.goaway(), None);
    for (n, references) in [(3, 10), (5, 1000), (7, 10_000)] {
        let block = head(&vec![0xbe; references]);
        talk.send(&frame(HEADERS, END_HEADERS | END_STREAM, n, &block)).await;
        talk.settle().await;
        // Request header fields too large, a reset, or the end of the connection; never a call.
        assert_ne!(talk.heard.status(n), Some(200), "{references}");
        let refused = talk.heard.closed || talk.heard.frames.iter().any(|frame| frame.2 == n);
        assert!(refused, "{references}");
    }
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
}
