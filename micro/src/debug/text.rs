//! Text from anywhere, made fit for logs and terminals.

/// Returns `text` without characters that act on a terminal or reorder a line, cut to `max` bytes.
///
/// Control characters and those that change the direction of text are written as escapes; a cut
/// is shown by three dots within `max`.
pub(super) fn plain(text: &str, max: usize) -> String {
    if text.len() <= max && !text.chars().any(acts) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let before = out.len();
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max {
            out.truncate(before);
            cut(&mut out, max);
            break;
        }
    }
    out
}

/// Tells characters that do something instead of showing something.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cuts text, which keeps its line breaks, to `max` bytes.
pub(super) fn shortened(mut text: String, max: usize) -> String {
    if text.len() > max {
        cut(&mut text, max);
    }
    text
}

fn cut(text: &mut String, max: usize) {
    const MARK: &str = "...";
    let room = max.saturating_sub(MARK.len());
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    if max >= MARK.len() {
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F49: nothing that a peer sends moves the cursor of whoever reads the log.
    #[test]
    fn f49_what_acts_on_a_terminal_is_written_as_text() {
        assert_eq!(plain("a\u{1b}[31mb\nc\r", 100), "a\\u{1b}[31mb\\nc\\r");
        assert_eq!(plain("x\u{202e}y\u{9b}", 100), "x\\u{202e}y\\u{9b}");
        assert_eq!(plain("tea \u{2615}", 100), "tea \u{2615}");
    }

    #[test]
    fn the_limit_holds_at_it_above_it_and_far_above_it() {
        assert_eq!(plain(&"x".repeat(10), 10), "x".repeat(10));
        assert_eq!(plain(&"x".repeat(11), 10), "xxxxxxx...");
        for length in [11, 100] {
            for text in ["x", "\u{e9}", "\u{1b}"] {
                let out = plain(&text.repeat(length), 10);
                assert!(out.len() <= 10 && out.ends_with("..."), "{out}");
            }
        }
        assert_eq!(shortened("a\n\u{e9}\u{e9}\u{e9}".to_owned(), 7), "a\n\u{e9}...");
    }
}
