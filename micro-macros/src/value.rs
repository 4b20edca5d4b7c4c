//! The values arguments may have: durations, versions, names.

use std::time::Duration;

/// Reads "500ms", "2s", "1m" or sums such as "1m30s"; `None` if it is anything else or zero.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total = total.checked_add(of_unit(number.parse().ok()?, unit)?)?;
        rest = tail;
    }
    // Nanoseconds in 64 bits carry it into the descriptor.
    let carried = u64::try_from(total.as_nanos()).is_ok();
    (!total.is_zero() && carried).then_some(total)
}

fn of_unit(number: u64, unit: &str) -> Option<Duration> {
    match unit {
        "ns" => Some(Duration::from_nanos(number)),
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// Checks a semantic version.
///
/// # Errors
///
/// The reason, in words that follow "must be semver: ".
pub(crate) fn semver(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the string is empty".to_owned());
    }
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    };
    let mut parts = core.split('.');
    let mut before = "";
    for name in ["major", "minor", "patch"] {
        let Some(part) = parts.next() else {
            return Err(format!("unexpected end after {before}"));
        };
        number(name, part)?;
        before = name;
    }
    if parts.next().is_some() {
        return Err("unexpected `.` after patch".to_owned());
    }
    identifiers("pre-release", pre)?;
    numbers(pre)?;
    identifiers("build", build)
}

fn number(name: &str, part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err(format!("{name} is empty"));
    }
    if !part.chars().all(|letter| letter.is_ascii_digit()) {
        return Err(format!("{name} `{part}` is not a number"));
    }
    if part.len() > 1 && part.starts_with('0') {
        return Err(format!("{name} `{part}` has a leading zero"));
    }
    part.parse::<u64>().map(drop).map_err(|_overflow| format!("{name} `{part}` is too large"))
}

fn identifiers(name: &str, part: Option<&str>) -> Result<(), String> {
    let Some(part) = part else { return Ok(()) };
    let sound = |one: &str| {
        !one.is_empty() && one.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    if part.split('.').all(sound) { Ok(()) } else { Err(format!("bad {name} `{part}`")) }
}

/// Numbers have an order before a release; behind `+` nothing has.
fn numbers(pre: Option<&str>) -> Result<(), String> {
    let digits = |one: &&str| one.chars().all(|letter| letter.is_ascii_digit());
    let zero = |one: &&str| one.len() > 1 && one.starts_with('0');
    let parts = pre.into_iter().flat_map(|pre| pre.split('.'));
    match parts.filter(digits).find(zero) {
        Some(part) => Err(format!("pre-release `{part}` has a leading zero")),
        None => Ok(()),
    }
}

/// The longest topic a broker takes.
const TOPIC_BYTES_MAX: usize = 249;

/// Tells whether this is a topic, or a pattern: `*` for one word, `>` for all further ones.
pub(crate) fn is_topic(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let word = |word: &str| word == "*" || (!word.is_empty() && word.chars().all(plain));
    let head = match text.rsplit_once('.') {
        Some((head, ">")) => head,
        None if text == ">" => "*",
        _ => text,
    };
    text.len() <= TOPIC_BYTES_MAX && head.split('.').all(word)
}

/// Tells whether a valid topic is a pattern.
pub(crate) fn is_pattern(topic: &str) -> bool {
    topic.contains(['*', '>'])
}

#[cfg(test)]
mod tests {
    use super::duration;
    use super::is_topic;
    use super::semver;
    use std::time::Duration;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Some(Duration::from_secs(7200)));
        for bad in ["", "5", "s", "0s", "5 parsecs", "-1s", "1.5s", "99999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn topics_are_words_and_patterns_stand_for_whole_words() {
        for good in ["made", "orders.made", "a-b._c", "audit.*", "*.made", "audit.>", ">"] {
            assert!(is_topic(good), "{good}");
        }
        let long = "a".repeat(250);
        for bad in ["", ".", "a..b", "a b", "a.", "au*", ">.a", "a.>b", long.as_str()] {
            assert!(!is_topic(bad), "{bad}");
        }
    }

    #[test]
    fn versions_say_what_is_wrong() {
        for good in ["1.2.3", "0.1.0-rc.1", "1.0.0+build.7", "1.0.0-0.0a.10+01"] {
            assert_eq!(semver(good), Ok(()));
        }
        for (bad, reason) in [
            ("", "the string is empty"),
            ("1", "unexpected end after major"),
            ("1.4", "unexpected end after minor"),
            ("1.4.x", "patch `x` is not a number"),
            ("1..3", "minor is empty"),
            ("01.4.0", "major `01` has a leading zero"),
            ("1.4.0.2", "unexpected `.` after patch"),
            ("1.4.0-", "bad pre-release ``"),
            ("1.4.0-01", "pre-release `01` has a leading zero"),
            ("1.4.0-rc.007", "pre-release `007` has a leading zero"),
            ("1.4.0+a..b", "bad build `a..b`"),
            ("99999999999999999999.0.0", "major `99999999999999999999` is too large"),
        ] {
            assert_eq!(semver(bad), Err(reason.to_owned()), "{bad}");
        }
    }
}
