//! Persistent metadata as the W3C `baggage` header.

use std::fmt::Write;

use crate::core::metadata::Metadata;

/// Writes metadata as one header: values percent-encoded where the recommendation asks for it.
pub(super) fn written(metadata: &Metadata) -> String {
    let mut out = String::new();
    for (key, value) in metadata {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(key);
        out.push('=');
        for byte in value.bytes() {
            if is_plain(byte) {
                out.push(char::from(byte));
            } else {
                // Writing into a string cannot fail.
                let _written = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_where_they_must_be() {
        let mut metadata = Metadata::new();
        for (key, value) in [("a", "1"), ("b", "x y,z;\"\\%"), ("c", "\u{e9}="), ("d", "")] {
            metadata.insert(key, value).unwrap();
        }
        assert_eq!(written(&metadata), "a=1,b=x%20y%2Cz%3B%22%5C%25,c=%C3%A9=,d=");
    }
}
