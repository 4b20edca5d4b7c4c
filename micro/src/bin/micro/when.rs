//! Times and durations as people read them.

use std::time::Duration;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Writes microseconds since 1970-01-01 UTC as `2026-11-23T10:20:30.123Z`.
pub(crate) fn time(micros: u64) -> String {
    let (seconds, millis) = (micros / 1_000_000, micros / 1000 % 1000);
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Returns the date of a day since 1970-01-01: years begin in March here, so that the day that is
/// not in each of them is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Writes a duration with the unit that fits it.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.as_micros() {
        0..1000 => format!("{}us", duration.as_micros()),
        1000..1_000_000 => format!("{:.1}ms", duration.as_secs_f64() * 1000.0),
        _ if seconds < 60 => format!("{:.1}s", duration.as_secs_f64()),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < DAY_SECONDS => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / DAY_SECONDS, seconds / 3600 % 24),
    }
}

/// Writes a number of bytes with the unit that fits it.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_164_799, "2024-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(seconds * 1_000_000), expected);
        }
        assert_eq!(time(1_234), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn durations_and_sizes_have_fitting_units() {
        let span = |millis| span(Duration::from_millis(millis));
        assert_eq!([span(0), span(5), span(1500)], ["0us", "5.0ms", "1.5s"]);
        assert_eq!([span(61_000), span(3_660_000), span(90_000_000)], ["1m01s", "1h01m", "1d01h"]);
        assert_eq!([bytes(5), bytes(2048), bytes(3 << 20)], ["5 B", "2 KiB", "3 MiB"]);
    }
}
