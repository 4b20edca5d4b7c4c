//! Finds what somebody meant to type.

/// Names longer than this are not compared: the work grows with the square of the length.
const NAME_CHARS_MAX: usize = 64;

/// Returns the candidate that is few edits away from `name`, if there is one.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name: Vec<char> = name.chars().collect();
    if name.len() > NAME_CHARS_MAX {
        return None;
    }
    let allowed = (name.len() / 3).max(1);
    let scored = candidates.into_iter().map(|other| (distance(&name, other), other));
    scored.filter(|(edits, _)| *edits <= allowed).min().map(|(_, other)| other)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours between two names.
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().take(NAME_CHARS_MAX).collect();
    // Rows of the table for the beginnings of `left`: the one before the last, the last.
    let mut older: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, l) in left.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, r) in right.iter().enumerate() {
            let at =
                |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut edits = at(&row, column) + usize::from(l != r);
            edits = edits.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let before = |chars: &[char], index: usize| {
                index.checked_sub(1).and_then(|index| chars.get(index)).copied()
            };
            if before(left, line) == Some(*r) && before(&right, column) == Some(*l) {
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
        let names = ["registry", "registry_address", "server_address"];
        assert_eq!(nearest("regsitry", names), Some("registry"));
        assert_eq!(nearest("server_adress", names), Some("server_address"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
    }

    #[test]
    fn distance_counts_edits() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("kitten"), "sitting"), 3);
        assert_eq!(distance(&chars("onec"), "once"), 1);
        assert_eq!(distance(&chars(""), "abc"), 3);
        assert_eq!(distance(&chars("abc"), "abc"), 0);
    }
}
