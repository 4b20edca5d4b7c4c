//! The W3C `baggage` header as persistent metadata.

use crate::core::limits::TraceLimits;
use crate::core::metadata::Metadata;

/// Reads a header; members past the limits, and those that are no metadata, are left out.
pub(in crate::server) fn read(header: &str, limits: &TraceLimits, into: &mut Metadata) {
    let mut bytes = 0;
    for member in header.split(',').take(limits.baggage_members_max) {
        bytes += member.len();
        if bytes > limits.baggage_bytes_max {
            break;
        }
        // Properties after `;` say how to treat the member; none are known.
        let pair = member.split(';').next().unwrap_or_default();
        if let Some((key, value)) = pair.split_once('=')
            && let Some(value) = percent_decoded(value.trim())
        {
            // What metadata does not take is dropped, as the recommendation allows.
            let _taken = into.insert(key.trim(), value);
        }
    }
}

/// Undoes percent-encoding; `None` when it is broken or not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let number = digit()? * 16 + digit()?;
        out.push(u8::try_from(number).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(header: &str) -> Vec<(String, String)> {
        let mut metadata = Metadata::new();
        read(header, &TraceLimits::default(), &mut metadata);
        metadata.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn members_become_pairs() {
        let expected =
            [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x y,\u{e9}".to_owned())];
        assert_eq!(pairs("a=1;prop=2, b = x%20y%2C%C3%A9 "), expected);
    }

    #[test]
    fn broken_members_are_left_out() {
        assert_eq!(pairs("a, =1, b=%zz, c=%4, d=%ff, e=%0a, , f=2"), [("f".into(), "2".into())]);
    }

    #[test]
    fn members_past_the_limits_are_left_out() {
        let max = TraceLimits::default().baggage_members_max;
        for count in [max, max + 1, max * 10] {
            let many = (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
            assert_eq!(pairs(&many).len(), max, "{count}");
        }
        let limits = TraceLimits { baggage_bytes_max: 100, ..TraceLimits::default() };
        for (bytes, members) in [(100, 2), (101, 1), (1000, 1)] {
            let header = format!("a=1,b={}", "x".repeat(bytes - 5));
            let mut metadata = Metadata::new();
            read(&header, &limits, &mut metadata);
            assert_eq!(metadata.iter().count(), members, "{bytes}");
        }
    }
}
