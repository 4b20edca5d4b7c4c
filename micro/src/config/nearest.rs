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

/// Counts the insertions, deletions and replacements between two names.
fn distance(left: &[char], right: &str) -> usize {
    // The row of the table for the characters of `left` seen so far.
    let right: Vec<char> = right.chars().take(NAME_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, l) in left.iter().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(before);
        for (above, r) in row.iter().skip(1).zip(&right) {
            let edits = (diagonal + usize::from(l != r)).min(above + 1).min(before + 1);
            (diagonal, before) = (*above, edits);
            next.push(edits);
        }
        row = next;
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
        assert_eq!(distance(&chars(""), "abc"), 3);
        assert_eq!(distance(&chars("abc"), "abc"), 0);
    }
}
