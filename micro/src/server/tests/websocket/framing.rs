//! The frames of RFC 6455, case by case; numbers are those of the Autobahn test suite.
//!
//! Each case is sent at once and, unless it is long, byte by byte. An empty text is the end of the
//! requests here, so that cases with one end in a goodbye.

use super::*;

/// What a case is answered by.
#[derive(Clone, Debug)]
enum Expected {
    Said(Seen),
    /// The connection is failed: by a code of the standard for what is wrong.
    Failed(u16),
}

use Expected::{Failed, Said};

/// Cases up to this length are sent byte by byte as well.
const BYTEWISE_MAX: usize = 600;

async fn check(frames: &[Vec<u8>], expected: &[Expected]) {
    let sent = frames.concat();
    let ways: &[usize] = if sent.len() <= BYTEWISE_MAX { &[usize::MAX, 1] } else { &[usize::MAX] };
    for part in ways {
        // Raw bytes travel in any format: text as JSON, and binary as MessagePack.
        let binary = expected.iter().any(|one| matches!(one, Said(Seen::Binary(_))));
        let headers = if binary { "sec-websocket-protocol: micro.msgpack\r\n" } else { "" };
        let rig = Rig::talking();
        let mut client = rig.open("/talk/Talk.Echo", headers).await.unwrap();
        let writing = async {
            for bytes in sent.chunks(*part) {
                // Who is given up cannot write to the end.
                if client.stream.write_all(bytes).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        // Long cases are written while the answers are read: pipes are short.
        if sent.len() <= BYTEWISE_MAX {
            writing.await;
        } else {
            let _written = clock::timeout(Duration::from_millis(1), writing).await;
        }
        for one in expected {
            match one {
                Said(seen) => assert_eq!(client.next().await, *seen, "in parts of {part}"),
                Failed(code) => {
                    assert_eq!(client.next().await, closed(*code), "in parts of {part}");
                    assert_eq!(client.next().await, Seen::Gone);
                }
            }
        }
        drop(client);
        rig.until_quiet().await;
    }
}

/// Sends a long message and reads it back at the same time.
async fn check_long(frames: Vec<Vec<u8>>, expected: Seen) {
    let binary = matches!(expected, Seen::Binary(_));
    let headers = if binary { "sec-websocket-protocol: micro.msgpack\r\n" } else { "" };
    let rig = Rig::talking();
    let client = rig.open("/talk/Talk.Echo", headers).await.unwrap();
    let (reader, mut writer) = tokio::io::split(client.stream);
    let mut reader = Client { stream: tokio::io::join(reader, tokio::io::sink()) };
    let writing = async {
        for frame in frames {
            writer.write_all(&frame).await.unwrap();
        }
    };
    let (seen, ()) = tokio::join!(reader.next(), writing);
    assert!(seen == expected, "it came back otherwise");
}

macro_rules! cases {
    ($($name:ident: [$($sent:expr),*] => [$($expected:expr),*];)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            check(&[$($sent),*], &[$($expected),*]).await;
        }
    )*};
}

fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PING, payload)
}

fn pong(payload: &[u8]) -> Expected {
    Said(Seen::Pong(payload.to_vec()))
}

fn heard(text: &str) -> Expected {
    Said(says(text))
}

/// The answer to a goodbye.
fn bye(code: u16) -> Expected {
    Said(closed(code))
}

fn reserved(bits: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | bits << 4 | opcode, payload)
}

cases! {
    case_1_1_1_an_empty_text_is_the_end: [text("")] => [bye(1000)];
    case_1_1_2_a_text_of_125: [text(&"*".repeat(125))] => [heard(&"*".repeat(125))];
    case_1_1_3_a_text_of_126: [text(&"*".repeat(126))] => [heard(&"*".repeat(126))];
    case_1_1_4_a_text_of_127: [text(&"*".repeat(127))] => [heard(&"*".repeat(127))];
    case_1_1_5_a_text_of_128: [text(&"*".repeat(128))] => [heard(&"*".repeat(128))];
    case_1_2_1_an_empty_binary: [frame(FIN | BINARY, b"")] => [Said(Seen::Binary(vec![]))];
    case_1_2_2_a_binary_of_125: [frame(FIN | BINARY, &[254; 125])] => [Said(Seen::Binary(vec![254; 125]))];
    case_1_2_3_a_binary_of_126: [frame(FIN | BINARY, &[254; 126])] => [Said(Seen::Binary(vec![254; 126]))];
    case_1_2_4_a_binary_of_127: [frame(FIN | BINARY, &[254; 127])] => [Said(Seen::Binary(vec![254; 127]))];
    case_1_2_5_a_binary_of_128: [frame(FIN | BINARY, &[254; 128])] => [Said(Seen::Binary(vec![254; 128]))];

    case_2_1_a_ping_without_payload: [ping(b"")] => [pong(b"")];
    case_2_2_a_ping_with_text: [ping(b"Hello, world!")] => [pong(b"Hello, world!")];
    case_2_3_a_ping_with_bytes: [ping(&[0, 255, 254, 253, 252, 0])] => [pong(&[0, 255, 254, 253, 252, 0])];
    case_2_4_a_ping_of_125: [ping(&[254; 125])] => [pong(&[254; 125])];
    case_2_5_a_ping_of_126_fails: [ping(&[254; 126])] => [Failed(1002)];
    case_2_7_a_pong_that_nobody_asked_for: [frame(FIN | PONG, b""), text("a")] => [heard("a")];
    case_2_8_such_a_pong_with_payload: [frame(FIN | PONG, b"x"), text("a")] => [heard("a")];
    case_2_9_such_a_pong_and_a_ping: [frame(FIN | PONG, b"x"), ping(b"y")] => [pong(b"y")];

    case_3_1_reserved_bit_3: [reserved(1, TEXT, b"Hello")] => [Failed(1002)];
    case_3_2_reserved_bit_2_after_a_text: [text("Hello"), reserved(2, TEXT, b"Hello"), ping(b"")] => [heard("Hello"), Failed(1002)];
    case_3_3_reserved_bits_2_and_3: [text("Hello"), reserved(3, TEXT, b"Hello"), ping(b"")] => [heard("Hello"), Failed(1002)];
    case_3_4_reserved_bit_1: [text("Hello"), reserved(4, TEXT, b"Hello"), ping(b"")] => [heard("Hello"), Failed(1002)];
    case_3_5_reserved_bits_of_a_binary: [reserved(5, BINARY, &[0, 255])] => [Failed(1002)];
    case_3_6_reserved_bits_of_a_ping: [reserved(6, PING, b"Hello")] => [Failed(1002)];
    case_3_7_reserved_bits_of_a_close: [reserved(7, CLOSE, &[3, 232])] => [Failed(1002)];

    case_4_1_1_opcode_3: [frame(FIN | 3, b"")] => [Failed(1002)];
    case_4_1_2_opcode_4_with_payload: [frame(FIN | 4, b"x")] => [Failed(1002)];
    case_4_1_3_opcode_5_after_a_text: [text("a"), frame(FIN | 5, b""), ping(b"")] => [heard("a"), Failed(1002)];
    case_4_1_4_opcode_6_with_payload_after_a_text: [text("a"), frame(FIN | 6, b"x"), ping(b"")] => [heard("a"), Failed(1002)];
    case_4_1_5_opcode_7_with_payload_after_a_text: [text("a"), frame(FIN | 7, b"x"), ping(b"")] => [heard("a"), Failed(1002)];
    case_4_2_1_opcode_11: [frame(FIN | 11, b"")] => [Failed(1002)];
    case_4_2_2_opcode_12_with_payload: [frame(FIN | 12, b"x")] => [Failed(1002)];
    case_4_2_3_opcode_13_after_a_text: [text("a"), frame(FIN | 13, b""), ping(b"")] => [heard("a"), Failed(1002)];
    case_4_2_4_opcode_14_with_payload_after_a_text: [text("a"), frame(FIN | 14, b"x"), ping(b"")] => [heard("a"), Failed(1002)];
    case_4_2_5_opcode_15_with_payload_after_a_text: [text("a"), frame(FIN | 15, b"x"), ping(b"")] => [heard("a"), Failed(1002)];

    case_5_1_a_ping_in_two_fragments: [frame(PING, b"a"), frame(FIN, b"b")] => [Failed(1002)];
    case_5_2_a_pong_in_two_fragments: [frame(PONG, b"a"), frame(FIN, b"b")] => [Failed(1002)];
    case_5_3_a_text_in_two_fragments: [frame(TEXT, b"frag1"), frame(FIN, b"frag2")] => [heard("frag1frag2")];
    case_5_6_a_ping_between_fragments: [frame(TEXT, b"1"), ping(b"p"), frame(FIN, b"2")] => [pong(b"p"), heard("12")];
    case_5_9_a_continuation_of_nothing: [frame(FIN, b"none"), text("a")] => [Failed(1002)];
    case_5_12_an_open_continuation_of_nothing: [frame(0, b"none"), text("a")] => [Failed(1002)];
    case_5_15_a_continuation_after_the_end: [frame(TEXT, b"1"), frame(FIN, b"2"), frame(0, b"3"), text("4")] => [heard("12"), Failed(1002)];
    case_5_16_a_continuation_first: [frame(0, b"1"), frame(TEXT, b"2"), frame(FIN, b"3")] => [Failed(1002)];
    case_5_17_a_final_continuation_first: [frame(FIN, b"1"), frame(TEXT, b"2"), frame(FIN, b"3")] => [Failed(1002)];
    case_5_18_a_text_within_a_text: [frame(TEXT, b"1"), frame(FIN | TEXT, b"2")] => [Failed(1002)];
    case_5_19_pings_between_many_fragments: [
        frame(TEXT, b"1"), frame(0, b"2"), ping(b"p"), frame(0, b"3"), frame(0, b"4"), ping(b"q"), frame(FIN, b"5")
    ] => [pong(b"p"), pong(b"q"), heard("12345")];

    case_6_1_1_an_empty_text: [text("")] => [bye(1000)];
    case_6_1_2_three_empty_fragments: [frame(TEXT, b""), frame(0, b""), frame(FIN, b"")] => [bye(1000)];
    case_6_1_3_content_between_empty_fragments: [frame(TEXT, b""), frame(0, b"middle"), frame(FIN, b"")] => [heard("middle")];
    case_6_2_1_valid_text: [text("Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!")] => [heard("Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!")];
    case_6_2_3_fragments_within_a_character: [frame(TEXT, b"\xce"), frame(0, b"\xba\xe1\xbd"), frame(0, b"\xb9"), frame(FIN, b"\xcf\x83")] => [heard("\u{3ba}\u{1f79}\u{3c3}")];
    case_6_3_1_invalid_text: [frame(FIN | TEXT, b"\xce\xba\xed\xa0\x80edited")] => [Failed(1007)];
    case_6_3_2_invalid_text_in_fragments: [frame(TEXT, b"\xce\xba"), frame(0, b"\xed\xa0"), frame(FIN, b"\x80")] => [Failed(1007)];
    case_6_4_1_invalid_text_fails_before_its_end: [frame(TEXT, b"\xce\xba"), frame(0, b"\xf4\x90\x80\x80")] => [Failed(1007)];
    case_6_6_1_a_character_that_is_cut: [frame(FIN | TEXT, b"\xce")] => [Failed(1007)];
    case_6_6_2_a_whole_character: [frame(FIN | TEXT, b"\xce\xba")] => [heard("\u{3ba}")];
    case_6_7_1_the_first_character: [text("\0")] => [heard("\0")];
    case_6_7_4_the_first_of_four_bytes: [text("\u{10000}")] => [heard("\u{10000}")];
    case_6_8_1_a_sequence_of_five: [frame(FIN | TEXT, b"\xf8\x88\x80\x80\x80")] => [Failed(1007)];
    case_6_9_4_the_last_character: [text("\u{10ffff}")] => [heard("\u{10ffff}")];
    case_6_10_1_beyond_the_last: [frame(FIN | TEXT, b"\xf7\xbf\xbf\xbf")] => [Failed(1007)];
    case_6_11_1_before_the_surrogates: [text("\u{d7ff}")] => [heard("\u{d7ff}")];
    case_6_11_2_after_the_surrogates: [text("\u{e000}")] => [heard("\u{e000}")];
    case_6_11_5_the_first_beyond: [frame(FIN | TEXT, b"\xf4\x90\x80\x80")] => [Failed(1007)];
    case_6_12_1_a_lonely_continuation: [frame(FIN | TEXT, b"\x80")] => [Failed(1007)];
    case_6_12_2_the_last_continuation: [frame(FIN | TEXT, b"\xbf")] => [Failed(1007)];
    case_6_13_1_lonely_starts: [frame(FIN | TEXT, b"\xc0 \xc1 \xc2 ")] => [Failed(1007)];
    case_6_14_1_an_incomplete_end: [frame(FIN | TEXT, b"\xe0\x80")] => [Failed(1007)];
    case_6_16_1_impossible_bytes: [frame(FIN | TEXT, b"\xfe")] => [Failed(1007)];
    case_6_16_2_more_impossible_bytes: [frame(FIN | TEXT, b"\xff")] => [Failed(1007)];
    case_6_17_1_an_overlong_slash: [frame(FIN | TEXT, b"\xc0\xaf")] => [Failed(1007)];
    case_6_18_1_an_overlong_maximum: [frame(FIN | TEXT, b"\xc1\xbf")] => [Failed(1007)];
    case_6_19_1_an_overlong_zero: [frame(FIN | TEXT, b"\xc0\x80")] => [Failed(1007)];
    case_6_20_1_a_surrogate: [frame(FIN | TEXT, b"\xed\xa0\x80")] => [Failed(1007)];
    case_6_21_1_paired_surrogates: [frame(FIN | TEXT, b"\xed\xa0\x80\xed\xb0\x80")] => [Failed(1007)];
    case_6_22_1_noncharacters_are_valid: [text("\u{fffe}\u{ffff}\u{1fffe}")] => [heard("\u{fffe}\u{ffff}\u{1fffe}")];

    case_7_1_1_a_text_and_a_goodbye: [text("Hello"), closing(1000)] => [heard("Hello"), bye(1000), Said(Seen::Gone)];
    case_7_1_2_two_goodbyes: [closing(1000), closing(1000)] => [bye(1000), Said(Seen::Gone)];
    case_7_1_3_a_ping_after_the_goodbye: [closing(1000), ping(b"")] => [bye(1000), Said(Seen::Gone)];
    case_7_1_4_a_text_after_the_goodbye: [closing(1000), text("late")] => [bye(1000), Said(Seen::Gone)];
    case_7_1_5_a_goodbye_within_a_text: [frame(TEXT, b"1"), closing(1000), frame(FIN, b"2")] => [bye(1000), Said(Seen::Gone)];
    case_7_3_1_a_goodbye_without_a_code: [frame(FIN | CLOSE, b"")] => [bye(1005), Said(Seen::Gone)];
    case_7_3_2_half_a_code: [frame(FIN | CLOSE, b"x")] => [Failed(1002)];
    case_7_3_4_a_code_and_a_reason: [frame(FIN | CLOSE, b"\x03\xe8why")] => [Said(Seen::Closed(1000, "why".to_owned()))];
    case_7_3_5_the_longest_reason: [frame(FIN | CLOSE, &[&[3, 232], &[b'*'; 123][..]].concat())] => [Said(Seen::Closed(1000, "*".repeat(123)))];
    case_7_3_6_a_reason_that_is_too_long: [frame(FIN | CLOSE, &[&[3, 232], &[b'*'; 124][..]].concat())] => [Failed(1002)];
    case_7_5_1_a_reason_that_is_no_text: [frame(FIN | CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")] => [Failed(1007)];

    case_a_frame_without_a_mask_fails: [[head(FIN | TEXT, 1, 0), b"a".to_vec()].concat()] => [Failed(1002)];
}

#[tokio::test(start_paused = true)]
async fn case_2_10_ten_pings_in_a_row() {
    let rig = Rig::talking();
    let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
    for n in 0..10_u8 {
        client.send(&ping(&[n])).await;
        assert_eq!(client.next().await, Seen::Pong(vec![n]));
    }
}

#[tokio::test(start_paused = true)]
async fn case_7_7_valid_close_codes_come_back() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        check(&[closing(code)], &[bye(code), Said(Seen::Gone)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn case_7_9_invalid_close_codes_are_a_breach() {
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let rig = Rig::talking();
        let mut client = rig.open("/talk/Talk.Echo", "").await.unwrap();
        client.send(&closing(code)).await;
        let seen = client.next().await;
        assert!(matches!(seen, Seen::Closed(1002, _)), "{code}: {seen:?}");
        assert_eq!(client.next().await, Seen::Gone, "{code}");
    }
}

macro_rules! long {
    ($($name:ident: $opcode:expr, $length:expr, in $part:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let payload = vec![b'*'; $length];
            let parts: Vec<_> = payload.chunks($part).collect();
            let last = parts.len() - 1;
            let frames = parts.iter().enumerate().map(|(at, part)| {
                let opcode = if at == 0 { $opcode } else { 0 };
                frame(opcode | if at == last { FIN } else { 0 }, part)
            });
            let expected = match $opcode {
                TEXT => Seen::Text("*".repeat($length)),
                _ => Seen::Binary(payload.clone()),
            };
            check_long(frames.collect(), expected).await;
        }
    )*};
}

long! {
    case_1_1_6_a_text_of_65535: TEXT, 65_535, in usize::MAX;
    case_1_1_7_a_text_of_65536: TEXT, 65_536, in usize::MAX;
    case_1_2_6_a_binary_of_65535: BINARY, 65_535, in usize::MAX;
    case_1_2_7_a_binary_of_65536: BINARY, 65_536, in usize::MAX;
    case_9_1_2_a_text_of_256_kib: TEXT, 256 * 1024, in usize::MAX;
    case_9_1_4_a_text_of_4_mib: TEXT, 4 * 1024 * 1024, in usize::MAX;
    case_9_2_4_a_binary_of_4_mib: BINARY, 4 * 1024 * 1024, in usize::MAX;
    case_9_3_1_a_text_of_1_mib_in_fragments_of_64: TEXT, 1024 * 1024, in 64;
    case_9_3_5_a_text_of_4_mib_in_fragments_of_16_kib: TEXT, 4 * 1024 * 1024, in 16 * 1024;
    case_9_4_5_a_binary_of_4_mib_in_fragments_of_16_kib: BINARY, 4 * 1024 * 1024, in 16 * 1024;
    case_10_1_1_a_text_of_65536_in_fragments_of_1300: TEXT, 65_536, in 1300;
}

#[tokio::test(start_paused = true)]
async fn no_extension_is_agreed_on() {
    let rig = Rig::talking();
    let offered = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
    let response = Client::over(rig.dial(), "/talk/Talk.Echo", offered).await.unwrap().1;
    assert!(!response.to_lowercase().contains("extensions"), "{response}");
}
