//! The lines of the keys of a JSON document.

use std::collections::BTreeMap;

/// What is open around a place.
enum Open {
    /// An object; the key whose value is read, once it has one.
    Object(Option<String>),
    Array,
}

/// Finds the line of each key; the document is known to be well formed.
pub(super) fn find(text: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let (mut open, mut line): (Vec<Open>, usize) = (Vec::new(), 1);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (_, tail) = rest.split_at(c.len_utf8());
        rest = tail;
        match c {
            '\n' => line += 1,
            '{' => open.push(Open::Object(None)),
            '[' => open.push(Open::Array),
            '}' | ']' => drop(open.pop()),
            ',' => {
                if let Some(Open::Object(key)) = open.last_mut() {
                    *key = None;
                }
            }
            '"' => {
                let end = end_of_string(rest);
                let (string, tail) = rest.split_at(end);
                rest = tail.strip_prefix('"').unwrap_or(tail);
                if let Some(Open::Object(key @ None)) = open.last_mut() {
                    *key = serde_json::from_str(&format!("\"{string}\"")).ok();
                    note(&open, line, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// Notes where the key that was read last is; keys within a list are the list's.
fn note(open: &[Open], line: usize, found: &mut BTreeMap<String, usize>) {
    let mut path = Vec::new();
    for part in open {
        match part {
            Open::Object(Some(key)) => path.push(key.as_str()),
            _ => return,
        }
    }
    found.insert(path.join("."), line);
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(index, _)| index)
}
