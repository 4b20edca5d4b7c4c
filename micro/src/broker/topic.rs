//! Names of topics, and patterns over them.

use std::fmt;
use std::marker::PhantomData;

use crate::core::error::Error;
use crate::core::error::Result;

use super::dead_letter::DEAD_SUFFIX;
use super::dead_letter::is_dead;

/// Bytes of a topic: 244, so that the topic of its dead letters fits too. More is a 400.
pub const TOPIC_BYTES_MAX: usize = PATTERN_BYTES_MAX - DEAD_SUFFIX.len();

/// Bytes of a pattern, or of the topic of dead letters: 249, the least among the backends. More is
/// a 400.
const PATTERN_BYTES_MAX: usize = 249;

/// The name of a topic with the type of its events, to be shared by publishers and subscribers.
///
/// ```
/// use micro::broker::Topic;
///
/// struct Order;
/// pub const CREATED: Topic<Order> = Topic::new("orders.created");
/// assert_eq!(CREATED.name(), "orders.created");
/// ```
pub struct Topic<T> {
    name: &'static str,
    event: PhantomData<fn() -> T>,
}

impl<T> Topic<T> {
    /// Names a topic. The name is checked when it is used: see [`validate_topic`].
    pub const fn new(name: &'static str) -> Self {
        Self { name, event: PhantomData }
    }

    /// Returns the name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Topic<T> {}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}

/// Checks a topic to publish to: words of letters, digits, `-` and `_`, with dots between them, at
/// most [`TOPIC_BYTES_MAX`] bytes in all, not counting a `.dead` at the end.
///
/// # Errors
///
/// Anything else is a 400.
pub fn validate_topic(name: &str) -> Result<()> {
    let alive = name.strip_suffix(DEAD_SUFFIX).unwrap_or(name);
    if alive.len() > TOPIC_BYTES_MAX {
        return Err(invalid("a topic", name, "it is longer than 244 bytes"));
    }
    if !name.split('.').all(is_word) {
        return Err(invalid("a topic", name, "words of A-Z a-z 0-9 - _ with dots between"));
    }
    Ok(())
}

/// Checks what to subscribe to, and returns whether it is a pattern.
///
/// A pattern is a topic in which `*` stands for one word, or whose last word is `>` and stands for
/// one or more.
///
/// # Errors
///
/// What is neither a topic nor a pattern is a 400.
pub fn validate_pattern(pattern: &str) -> Result<bool> {
    if !pattern.contains(['*', '>']) {
        return validate_topic(pattern).map(|()| false);
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(invalid("a pattern", pattern, "it is longer than 249 bytes"));
    }
    let head = pattern.strip_suffix(">").map_or(pattern, |head| head.trim_end_matches('.'));
    let bare = pattern == ">";
    let dotted = pattern.strip_suffix('>').is_none_or(|head| head.ends_with('.') || bare);
    let words = head.split('.').all(|word| word == "*" || is_word(word));
    if !dotted || !(words || bare) || pattern.contains("..") {
        return Err(invalid("a pattern", pattern, "`*` is a whole word, `>` the whole last word"));
    }
    Ok(true)
}

/// Returns whether a topic or pattern covers a topic; both have to be valid.
///
/// Dead letters are covered only by a pattern that itself ends in `.dead`, so that a subscription
/// to everything never gets its own failures back.
pub fn matches(pattern: &str, topic: &str) -> bool {
    if !pattern.contains(['*', '>']) {
        return pattern == topic;
    }
    if is_dead(topic) && !is_dead(pattern) {
        return false;
    }
    let mut words = topic.split('.');
    for wanted in pattern.split('.') {
        match (wanted, words.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

fn is_word(word: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !word.is_empty() && word.bytes().all(is_plain)
}

fn invalid(what: &str, name: &str, rule: &str) -> Error {
    Error::bad_request("micro.broker", format!("{name:?} is not {what}: {rule}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// K12.
    #[test]
    fn topics_are_words_with_dots_between() {
        for name in ["a", "orders.created", "A-1.b_2.C", &"x".repeat(TOPIC_BYTES_MAX)] {
            assert!(validate_topic(name).is_ok(), "{name}");
        }
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        for name in ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a/b", "a.*", ">", "\u{fc}", &long]
        {
            assert_eq!(validate_topic(name).expect_err(name).code(), 400, "{name:?}");
        }
    }

    #[test]
    fn every_topic_has_room_for_its_dead_letters() {
        let longest = "x".repeat(TOPIC_BYTES_MAX);
        assert!(validate_topic(&longest).is_ok());
        assert!(validate_topic(&format!("{longest}{DEAD_SUFFIX}")).is_ok());
        assert!(validate_topic(&format!("{longest}x{DEAD_SUFFIX}")).is_err());
    }

    #[test]
    fn patterns_have_whole_words_for_wildcards() {
        for pattern in ["*", ">", "a.*", "*.b", "a.>", "a.*.c.>", "*.*", "*.dead"] {
            assert!(validate_pattern(pattern).expect(pattern), "{pattern}");
        }
        assert!(!validate_pattern("orders.created").expect("a topic"));
        let long = format!("{}.*", "x".repeat(PATTERN_BYTES_MAX));
        for pattern in ["a*", "*a", "a>", ">.a", "a.>.b", "a..>", ".>", "a.*.", "**", ">>", &long] {
            assert_eq!(validate_pattern(pattern).expect_err(pattern).code(), 400, "{pattern:?}");
        }
    }

    #[test]
    fn patterns_cover_what_they_say() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c.d", true),
            (">", "a", true),
            ("*.*.c", "a.b.c", true),
            ("a.>", "a.b.dead", false),
            (">", "a.dead", false),
            ("*.dead", "a.dead", true),
            ("a.dead", "a.dead", true),
        ];
        for (pattern, topic, covered) in cases {
            assert_eq!(matches(pattern, topic), covered, "{pattern} {topic}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in ".{0,300}", other in ".{0,20}") {
            let _judged = (validate_topic(&text), validate_pattern(&text), matches(&text, &other));
        }

        #[test]
        fn a_topic_is_covered_when_any_of_its_words_is_a_wildcard(
            words in prop::collection::vec("[a-z]{1,4}", 1..6), place in any::<prop::sample::Index>(),
        ) {
            let topic = words.join(".");
            prop_assume!(!is_dead(&topic));
            let mut pattern = words.clone();
            pattern[place.index(words.len())] = "*".into();
            let pattern = pattern.join(".");
            prop_assert!(validate_pattern(&pattern).is_ok());
            prop_assert!(matches(&pattern, &topic));
        }
    }
}
