//! The lines of keys in formats whose parsers do not tell them.
//!
//! A name that looks like a key on just one line of the section it is in is there. Where that is
//! not certain, no line is told, and that of the section stands in.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};

/// Tables within tables that are looked into.
const DEPTH_MAX: usize = 16;

/// Where each name looks like a key.
type Index<'a> = BTreeMap<&'a str, Vec<usize>>;

/// Finds the lines of keys that are certain.
pub(super) fn find(text: &str, value: &Value) -> BTreeMap<String, usize> {
    let index = index(text);
    let mut found = BTreeMap::new();
    if let Value::Object(table) = value {
        let all = 1..text.lines().count() + 1;
        within(&index, table, ("", 0), &all, &mut found);
    }
    found
}

fn within(
    index: &Index<'_>,
    table: &Map<String, Value>,
    (above, depth): (&str, usize),
    range: &Range<usize>,
    found: &mut BTreeMap<String, usize>,
) {
    let line_of = |name: &str| {
        let mut lines = index.get(name)?.iter().filter(|line| range.contains(line));
        let first = lines.next()?;
        lines.next().is_none().then_some(*first)
    };
    let lines: Vec<_> = table.keys().map(|name| line_of(name)).collect();
    for ((name, value), line) in table.iter().zip(&lines) {
        let Some(line) = *line else { continue };
        let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if let Value::Object(inner) = value
            && depth < DEPTH_MAX
        {
            let next = lines.iter().flatten().copied().filter(|other| *other > line).min();
            within(index, inner, (&key, depth + 1), &(line..next.unwrap_or(range.end)), found);
        }
        found.insert(key, line);
    }
}

/// Finds words before `:`, `=`, `{` or `"`, within `[ ]`, and after `<`.
fn index(text: &str) -> Index<'_> {
    let mut index: Index<'_> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with(['#', ';']) || code.starts_with("//") {
            continue;
        }
        let is_header = code.starts_with('[');
        let mut rest = code;
        while let Some(start) = rest.find(is_word) {
            let (before, tail) = rest.split_at(start);
            let (word, tail) = tail.split_at(tail.find(|c| !is_word(c)).unwrap_or(tail.len()));
            let follows = tail.trim_start_matches(['"', '\'', ' ']);
            let is_key = follows.starts_with([':', '=', '{'])
                || (is_header && follows.starts_with([']', '.']))
                || tail.starts_with('.')
                || before.ends_with('<')
                || (before.trim().is_empty() && tail.starts_with(" \""));
            let lines = index.entry(word).or_default();
            if is_key && lines.last() != Some(&(number + 1)) {
                lines.push(number + 1);
            }
            rest = tail;
        }
    }
    index
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}
