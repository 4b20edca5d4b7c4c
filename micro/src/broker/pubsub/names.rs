//! Names on the servers, which are narrower than ours: 3 to 255 characters, a letter first, and not
//! `goog` at the beginning.
//!
//! `~` is in none of our topics: it sets apart what is put before or behind one.

use crate::core::error::Error;
use crate::core::error::Result;

use super::ERROR_ID;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 255;

/// What is put before a topic whose name the servers do not take as it is.
const ESCAPE: &str = "t~";

/// Bytes of its topic in the name of a subscription of its own; with what makes it its own, the name
/// stays within its limit.
const OWN_TOPIC_BYTES_MAX: usize = 200;

/// Names things of one project.
#[derive(Clone, Debug)]
pub(super) struct Names {
    project: String,
}

impl Names {
    /// # Errors
    /// 412 for what is no id of a project.
    pub(super) fn new(project: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        if project.is_empty() || project.len() > NAME_BYTES_MAX || !project.bytes().all(plain) {
            let text = format!("`{}` is no id of a project", project.escape_debug());
            return Err(Error::precondition_failed(ERROR_ID, text));
        }
        Ok(Self { project: project.to_owned() })
    }

    /// Returns the name of a valid topic.
    pub(super) fn topic(&self, topic: &str) -> String {
        format!("projects/{}/topics/{}", self.project, id(topic))
    }

    /// Returns the name of the subscription of a group.
    ///
    /// # Errors
    /// 400 when it is too long.
    pub(super) fn group(&self, topic: &str, queue: &str) -> Result<String> {
        let id = format!("{}~{}", id(topic), escaped(queue));
        if id.len() > NAME_BYTES_MAX {
            let text = format!(
                "subscribe to {topic}: topic and queue have {} bytes together, at most \
                 {NAME_BYTES_MAX}",
                id.len()
            );
            return Err(Error::bad_request(ERROR_ID, text));
        }
        Ok(self.subscription(&id))
    }

    /// Returns the name of a subscription that no other has.
    pub(super) fn own(&self, topic: &str) -> String {
        let id = id(topic);
        // Topics are of ASCII alone.
        let topic = id.get(..OWN_TOPIC_BYTES_MAX).unwrap_or(&id);
        self.subscription(&format!("{topic}~~{:032x}", fastrand::u128(..)))
    }

    fn subscription(&self, id: &str) -> String {
        format!("projects/{}/subscriptions/{id}", self.project)
    }
}

fn id(topic: &str) -> String {
    let is_reserved = topic.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("goog"));
    let is_plain = topic.starts_with(|c: char| c.is_ascii_alphabetic()) && topic.len() > 2;
    if is_plain && !is_reserved { topic.to_owned() } else { format!("{ESCAPE}{topic}") }
}

/// Returns a text of letters, digits, `-`, `.`, `_` and, for all else, `%` with two digits.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("shop-1").unwrap()
    }

    #[test]
    fn a_topic_that_the_servers_do_not_take_is_escaped() {
        for (topic, wanted) in [
            ("orders.created", "orders.created"),
            ("abc", "abc"),
            ("ab", "t~ab"),
            ("a", "t~a"),
            ("1st.order", "t~1st.order"),
            ("-x.y", "t~-x.y"),
            ("google.x", "t~google.x"),
            ("GOOG", "t~GOOG"),
        ] {
            assert_eq!(names().topic(topic), format!("projects/shop-1/topics/{wanted}"));
        }
        let longest = format!("1{}.dead", "x".repeat(243));
        assert!(id(&longest).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn no_two_groups_share_a_subscription() {
        let of = |topic: &str, queue: &str| names().group(topic, queue).unwrap();
        assert_eq!(of("a.b.c", "q"), "projects/shop-1/subscriptions/a.b.c~q");
        assert_eq!(of("a.b.c", "s\u{f6} ~"), "projects/shop-1/subscriptions/a.b.c~s%C3%B6%20%7E");
        assert_ne!(of("a.b", "c.d"), of("a.b.c", "d"));
        assert_ne!(of("t", "a"), of("a", "a"));
        let own = names().own("a.b.c");
        assert!(own.starts_with("projects/shop-1/subscriptions/a.b.c~~") && own.len() < 100);
        assert_ne!(own, names().own("a.b.c"));
        assert!(names().own(&"x".repeat(249)).rsplit('/').next().unwrap().len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn the_name_of_a_group_is_bounded() {
        let topic = "x".repeat(244);
        assert!(names().group(&topic, &"q".repeat(10)).is_ok());
        for queue in ["q".repeat(11), "q".repeat(100), "\u{f6}".repeat(2)] {
            assert_eq!(names().group(&topic, &queue).unwrap_err().code(), 400);
        }
    }

    #[test]
    fn what_is_no_project_is_refused() {
        for wrong in ["", "a/b", "a b", "\u{f6}", &"x".repeat(256)] {
            assert_eq!(Names::new(wrong).unwrap_err().code(), 412, "{wrong}");
        }
        assert!(Names::new("example.com:shop").is_ok());
    }
}
