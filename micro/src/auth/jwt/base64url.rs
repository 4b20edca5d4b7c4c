//! Base64 with the alphabet of URLs and without padding, in its one canonical form.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes bytes.
pub(in crate::auth) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        // One byte takes two characters, two take three, three take four.
        for n in 0..=u32::try_from(chunk.len()).unwrap_or_default() {
            let index = usize::try_from(group >> (18 - 6 * n) & 63).unwrap_or_default();
            out.extend(ALPHABET.get(index).map(|byte| char::from(*byte)));
        }
    }
    out
}

/// Reads text; `None` for any other character, padding, an impossible length, or bits that no
/// encoder leaves set.
pub(in crate::auth) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.chunks(4) {
        let mut group = 0_u32;
        for byte in chunk {
            group = group << 6 | value(*byte)?;
        }
        let missing = u32::try_from(4 - chunk.len()).ok()?;
        group <<= 6 * missing;
        let [_, bytes @ ..] = group.to_be_bytes();
        let (kept, left) = match missing {
            0 => (3, 0),
            1 => (2, group & 0xff),
            2 => (1, group & 0xffff),
            _ => return None,
        };
        if left != 0 {
            return None;
        }
        out.extend(bytes.into_iter().take(kept));
    }
    Some(out)
}

fn value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("\u{3ff}", "z78"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        for text in ["Zh", "Zm9", "Zg==", "Z", "Zm9vY", "Zm+v", "Zm/v", "Zm9v\n", " Zg", "Zm\u{e4}"]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else_reads_the_same(bytes: Vec<u8>, other: String) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(text.as_bytes()), Some(bytes.clone()));
            if let Some(read) = decode(other.as_bytes()) {
                prop_assert_eq!(encode(&read), other);
            }
        }
    }
}
