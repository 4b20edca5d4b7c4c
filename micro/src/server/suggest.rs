//! What somebody who asked for a name that does not exist may have meant.

/// Bytes of a name that are compared; longer ones get no suggestion.
const NAME_BYTES_MAX: usize = 128;

/// Names that are compared for one suggestion, so that wrong names stay cheap.
const CANDIDATES_MAX: usize = 256;

/// Returns the candidate that is most like `asked`, if one is like it at all.
///
/// Like means that at most a third of the letters differ, whatever their case.
pub(super) fn nearest<'a>(
    asked: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    if asked.len() > NAME_BYTES_MAX {
        return None;
    }
    let tolerated = (asked.len() / 3).max(1);
    candidates
        .filter(|candidate| candidate.len() <= NAME_BYTES_MAX)
        .take(CANDIDATES_MAX)
        .map(|candidate| (distance(asked, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts the bytes to insert, remove or replace to turn `a` into `b`, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = *above;
            left = replaced.min(diagonal + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("Ab", "aB", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_alike_is_suggested() {
        let names = ["greeter/Greeter.Hello", "greeter/Greeter.Bye", "shop/Orders.Read"];
        let nearest = |asked| nearest(asked, names.iter().copied());
        assert_eq!(nearest("greeter/greeter.hello"), Some("greeter/Greeter.Hello"));
        assert_eq!(nearest("greeter/Greeter.Helo"), Some("greeter/Greeter.Hello"));
        assert_eq!(nearest("shop/Order.Read"), Some("shop/Orders.Read"));
        assert_eq!(nearest("nothing/like.it"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"x".repeat(10_000)), None);
    }
}
