//! Names within names.

/// Returns a name without colons and without what a pattern reads otherwise.
pub(super) fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '%' | ':' | '*' | '?' | '[' | ']' | '\\' | '^' | ' ' | '\n' => {
                text.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

/// Undoes [`escaped`]; `None` for what it never makes.
pub(super) fn plain(text: &str) -> Option<String> {
    let (mut name, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before);
        let (digits, after) = after.split_at_checked(2)?;
        name.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_and_holds_no_colon_between() {
        for name in ["a", "a:b", "50%~x@y", "%3A", "No.de \\ \u{1f980}:/%2f", "*[a]?", "", "^"] {
            let text = escaped(name);
            assert!(!text.contains([':', '*', ' ', '\\']), "{text}");
            assert_eq!(plain(&text).as_deref(), Some(name));
        }
        assert_eq!(plain("%"), None);
        assert_eq!(plain("%x"), None);
    }
}
