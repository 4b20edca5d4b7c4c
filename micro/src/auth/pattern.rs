//! Endpoints and paths that end in a wildcard, and paths in one form.

use crate::auth::ERROR_ID;
use crate::core::error::Error;
use crate::core::error::Result;

/// Returns whether a text is a pattern: `*`, or text with a `*` at most as its last segment.
pub(super) fn is_pattern(text: &str) -> bool {
    let head = text.strip_suffix('*').unwrap_or(text);
    let ends_a_segment = head.len() == text.len() || head.is_empty() || head.ends_with(['.', '/']);
    // A path is compared in one form, so a pattern in another would match nothing.
    let in_form = !head.starts_with('/') || normalised(head).is_ok_and(|path| path == head);
    ends_a_segment && !head.contains('*') && in_form
}

/// Returns whether a pattern covers a text.
pub(super) fn covers(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(head) => text.starts_with(head),
        None => pattern == text,
    }
}

/// Returns a path in the one form that rules are compared with: percent signs resolved, no empty
/// segments, no `.` and `..`.
///
/// # Errors
/// 400 for a path that routers may read in more than one way: an escaped slash or backslash, a
/// control character, a broken escape, or a way out of the root.
pub(crate) fn normalised(path: &str) -> Result<String> {
    let decoded = decoded(path).ok_or_else(ambiguous)?;
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or_else(ambiguous)?),
            segment => segments.push(segment),
        }
    }
    let is_folder = decoded.ends_with('/') && !segments.is_empty();
    let end = if is_folder { "/" } else { "" };
    Ok(format!("/{}{end}", segments.join("/")))
}

/// Resolves percent signs; `None` where a slash, a backslash or a control character comes out.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut out = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                let byte = u8::try_from(high * 16 + low).ok()?;
                if matches!(byte, b'/' | b'\\' | b'%') {
                    return None;
                }
                byte
            }
            b'\\' => return None,
            byte => byte,
        };
        if byte.is_ascii_control() {
            return None;
        }
        out.push(byte);
    }
    String::from_utf8(out).ok()
}

fn ambiguous() -> Error {
    Error::bad_request(ERROR_ID, "the path can be read in more than one way")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_only_at_the_end_of_a_segment() {
        for (text, is) in [
            ("*", true),
            ("Orders.*", true),
            ("/admin/*", true),
            ("Orders.Read", true),
            ("Orders*", false),
            ("*.Read", false),
            ("/a/*/b", false),
            ("**", false),
            ("/a//b", false),
            ("/a/../b", false),
            ("/%61dmin/*", false),
        ] {
            assert_eq!(is_pattern(text), is, "{text}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_and_not_what_stands_before_it() {
        for (pattern, text, covered) in [
            ("*", "", true),
            ("/admin/*", "/admin/", true),
            ("/admin/*", "/admin/a/b", true),
            ("/admin/*", "/admin", false),
            ("/admin/*", "/administrator", false),
            ("Orders.*", "Orders.Read", true),
            ("Orders.*", "orders.Read", false),
            ("Orders.Read", "Orders.ReadAll", false),
        ] {
            assert_eq!(covers(pattern, text), covered, "{pattern} {text}");
        }
    }

    #[test]
    fn one_place_has_one_path() {
        for (path, form) in [
            ("/admin/x", Some("/admin/x")),
            ("//admin///x", Some("/admin/x")),
            ("/%61dmin/x", Some("/admin/x")),
            ("/public/../admin/x", Some("/admin/x")),
            ("/public/%2e%2e/admin/x", Some("/admin/x")),
            ("/./admin/./x/", Some("/admin/x/")),
            ("/", Some("/")),
            ("", Some("/")),
            ("/..", None),
            ("/admin%2fx", None),
            ("/admin%5cx", None),
            ("/admin\\x", None),
            ("/%2561dmin", None),
            ("/a%00", None),
            ("/a%zz", None),
            ("/a%2", None),
            ("/a%ff", None),
        ] {
            assert_eq!(normalised(path).ok().as_deref(), form, "{path}");
        }
    }
}
