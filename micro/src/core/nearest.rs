//! Finds what somebody meant to type.

/// Names longer than this are not compared: the work grows with the square of the length.
const NAME_CHARS_MAX: usize = 128;

/// Names that are compared for one suggestion, so that wrong names stay cheap.
const CANDIDATES_MAX: usize = 256;

/// Returns the candidate that is most like `name`, if one is like it at all.
///
/// Like means that at most a third of the characters differ, whatever their case.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = chars(name)?;
    let allowed = (name.len() / 3).max(1);
    let scored = candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter_map(|other| Some((distance(&name, &chars(other)?), other)));
    scored.filter(|(edits, _)| *edits <= allowed).min().map(|(_, other)| other)
}

/// Returns the characters to compare; none for a name that is too long.
fn chars(name: &str) -> Option<Vec<char>> {
    let chars: Vec<char> = name.chars().take(NAME_CHARS_MAX + 1).collect();
    (chars.len() <= NAME_CHARS_MAX).then_some(chars)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours between two names.
fn distance(left: &[char], right: &[char]) -> usize {
    // Rows of the table for the beginnings of `left`: the one before the last, the last.
    let mut older: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, l) in left.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, r) in right.iter().enumerate() {
            let at =
                |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut edits = at(&row, column) + usize::from(!l.eq_ignore_ascii_case(r));
            edits = edits.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let before = |chars: &[char], index: usize, other: &char| {
                let before = index.checked_sub(1).and_then(|index| chars.get(index));
                before.is_some_and(|before| before.eq_ignore_ascii_case(other))
            };
            if before(left, line, r) && before(right, column, l) {
                edits = edits.min(at(&older, column.saturating_sub(1)) + 1);
            }
            next.push(edits);
        }
        older = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_noise_does_not() {
        let names = ["registry", "registry_address", "server_address", "shop/Orders.Read"];
        assert_eq!(nearest("regsitry", names), Some("registry"));
        assert_eq!(nearest("server_adress", names), Some("server_address"));
        assert_eq!(nearest("shop/order.read", names), Some("shop/Orders.Read"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn names_are_compared_up_to_their_limits() {
        let long = |chars: usize| "x".repeat(chars);
        let (fits, over) = (long(NAME_CHARS_MAX), long(NAME_CHARS_MAX + 1));
        assert_eq!(nearest(&fits, [fits.as_str()]), Some(fits.as_str()));
        assert_eq!(nearest(&fits, [over.as_str()]), None);
        for chars in [NAME_CHARS_MAX + 1, 10 * NAME_CHARS_MAX] {
            assert_eq!(nearest(&long(chars), [long(chars).as_str()]), None);
        }
        let among = |others: usize| {
            nearest("registry", std::iter::repeat_n("other", others).chain(["registry"]))
        };
        assert_eq!(among(CANDIDATES_MAX - 1), Some("registry"));
        assert_eq!((among(CANDIDATES_MAX), among(10 * CANDIDATES_MAX)), (None, None));
    }

    #[test]
    fn distance_counts_edits() {
        let edits = |left, right| distance(&chars(left).unwrap(), &chars(right).unwrap());
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("onec", "once", 1),
            ("Ab", "aB", 0),
        ] {
            assert_eq!(edits(left, right), expected, "{left} {right}");
        }
    }
}
