//! Durations as people write them.

use std::time::Duration;

/// Reads a duration such as `500ms`, `5s`, `1m30s` or `2h`.
///
/// A number needs its unit: `ms`, `s`, `m` or `h`; parts add up. `0` alone is zero.
///
/// # Errors
/// A text for people that names what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let fail = || "expected a duration with its unit, such as `500ms`, `5s` or `1m30s`".to_owned();
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total: Option<Duration> = None;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let number: u64 = number.parse().ok().ok_or_else(fail)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            _ => return Err(fail()),
        };
        let part = number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(fail)?;
        total = Some(total.unwrap_or_default().checked_add(part).ok_or_else(fail)?);
        rest = tail;
    }
    total.ok_or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for (text, milliseconds) in
            [("500ms", 500), ("5s", 5000), ("1m30s", 90_000), ("2h", 7_200_000), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        for text in ["", "5", "s", "5 s", "-1s", "1.5s", "1d", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
