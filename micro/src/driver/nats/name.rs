//! Names as parts of the keys of a bucket, which allow few characters.
//!
//! A letter or digit stands for itself, but for `z`; any other byte is one of `-`, `=`, `_` and `z`
//! and its two digits in hexadecimal: `a/b` is `a-2fb`. Which of the four it is keeps the order, so
//! that names and what they are encoded as sort alike, and begin alike.

/// Encodes a name.
pub(crate) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        let escape = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'y' => {
                encoded.push(char::from(byte));
                continue;
            }
            0..b'0' => '-',
            b':'..=b'@' => '=',
            b'['..=b'`' => '_',
            b'z'..=u8::MAX => 'z',
        };
        encoded.push(escape);
        for digit in [byte >> 4, byte & 0xf] {
            encoded.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    encoded
}

/// Reads a name; `None` if it is not one that [`encode`] wrote.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let (mut name, mut rest) = (Vec::with_capacity(encoded.len()), encoded.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if !matches!(first, b'-' | b'=' | b'_' | b'z') {
            name.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    let name = String::from_utf8(name).ok()?;
    // Whatever could be written in several ways is one name only.
    (encode(&name) == encoded).then_some(name)
}

/// Tells whether a text can be a key as it is.
pub(crate) fn is_key(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_' | '=');
    !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_by_people() {
        for (name, encoded) in
            [("shop", "shop"), ("a/b", "a-2fb"), ("A.b_c", "A-2eb_5fc"), ("zoo", "z7aoo"), ("", "")]
        {
            assert_eq!(encode(name), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(name));
        }
        for broken in ["-", "z7", "-2g", "-41", "z+a", "zff", "a b"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_key_has_parts_of_few_characters() {
        for (text, is) in [
            ("shop.json", true),
            ("a/b-c_d=e", true),
            ("", false),
            ("a..b", false),
            (".a", false),
            ("a.", false),
            ("a*", false),
            ("a b", false),
        ] {
            assert_eq!(is_key(text), is, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back_and_sorts_alike(a in "\\PC{0,8}", b in "\\PC{0,8}") {
            let (x, y) = (encode(&a), encode(&b));
            prop_assert_eq!(decode(&x), Some(a.clone()));
            prop_assert!(x.is_empty() || is_key(&x));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(a.starts_with(&b), x.starts_with(&y));
        }
    }
}
