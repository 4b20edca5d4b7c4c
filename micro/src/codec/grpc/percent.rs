//! The percent-encoding of `grpc-message`.

use std::fmt::Write;

/// Encodes text: what is not printable ASCII, and `%`, as `%XX`.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Decodes text; what is not well formed stays as it is, as gRPC asks for.
pub(super) fn decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.split_at_checked(2).filter(|_| byte == b'%');
        match digits.and_then(|(digits, after)| Some((hex(digits)?, after))) {
            Some((decoded, after)) => {
                out.push(decoded);
                rest = after;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let mut number = 0;
    for digit in digits {
        number = number * 16 + char::from(*digit).to_digit(16)?;
    }
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_headers_cannot_carry_is_escaped() {
        for (plain, encoded) in [
            ("no order 7", "no order 7"),
            ("100%", "100%25"),
            ("a\r\nb", "a%0D%0Ab"),
            ("gr\u{fc}n", "gr%C3%BCn"),
            ("\u{7f}", "%7F"),
        ] {
            assert_eq!(encode(plain), encoded);
            assert_eq!(decode(encoded.as_bytes()), plain);
        }
    }

    #[test]
    fn what_is_not_well_formed_stays() {
        for text in ["%", "%4", "%zz", "100% sure", "%%"] {
            assert_eq!(decode(text.as_bytes()), text);
        }
        assert_eq!(decode(b"%41%4a%4A"), "AJJ");
        assert_eq!(decode(b"%FF"), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn text_survives_a_round_trip(text in ".{0,60}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(decode(encoded.as_bytes()), text);
        }
    }
}
