//! The header `grpc-timeout`: at most eight digits and a unit.

use std::time::Duration;

use crate::core::error::{Error, Result};

/// Digits that the number may have.
const DIGITS_MAX: usize = 8;

/// The units from the finest to the coarsest, with their nanoseconds.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];

/// Reads a timeout.
///
/// # Errors
/// 400 when it is not well formed.
pub(crate) fn parse(text: &str) -> Result<Duration> {
    read(text).ok_or_else(|| {
        let text = text.escape_debug();
        let detail = format!("`grpc-timeout: {text}` is no timeout; write `500m` or `2S`");
        Error::bad_request("micro.grpc", detail)
    })
}

fn read(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    let nanos = UNITS.iter().find(|known| known.0 == unit)?.1;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    // Eight digits of hours fit into the nanoseconds of a u128 by far.
    let nanos = digits.parse::<u128>().ok()?.checked_mul(nanos)?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// Writes a timeout in the finest unit that has room for it; what is lost makes it longer, so that
/// the caller is the first to give up.
pub(crate) fn written(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    let most = 10u128.pow(8) - 1;
    for (unit, size) in UNITS {
        let number = nanos.div_ceil(size);
        if number <= most {
            return format!("{number}{unit}");
        }
    }
    format!("{most}H")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_read_and_nothing_else() {
        for (text, expected) in [
            ("1n", Some(Duration::from_nanos(1))),
            ("20u", Some(Duration::from_micros(20))),
            ("300m", Some(Duration::from_millis(300))),
            ("4S", Some(Duration::from_secs(4))),
            ("5M", Some(Duration::from_secs(300))),
            ("6H", Some(Duration::from_secs(6 * 3600))),
            ("0S", Some(Duration::ZERO)),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_nanos(u64::MAX))),
            ("100000000n", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("1 S", None),
            ("+1S", None),
            ("-1S", None),
            ("1.5S", None),
            ("1S ", None),
            ("1\u{b5}", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_timeout_is_written_in_the_finest_unit_with_room() {
        for (timeout, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_millis(1), "1000000n"),
            (Duration::from_secs(1), "1000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::from_secs(10_000_000), "10000000S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(written(timeout), text);
        }
    }

    proptest! {
        #[test]
        fn a_timeout_is_never_written_shorter(nanos in any::<u64>()) {
            let timeout = Duration::from_nanos(nanos);
            let read = parse(&written(timeout)).unwrap();
            prop_assert!(read >= timeout);
            prop_assert!(read.saturating_sub(timeout) <= timeout / 1_000_000);
        }
    }
}
