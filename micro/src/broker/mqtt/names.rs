//! What topics, patterns and groups are called on the server.
//!
//! The words of a topic are levels: `orders.created` is `orders/created`, as devices name theirs,
//! so that a pattern means to the server what it means here. Words hold neither dots nor slashes,
//! so that each way is exact.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule};

use crate::broker::topic::{matches, validate_topic};

/// The first level of what members of a group give back; no word of a topic has a `=`.
const RETURNS: &str = "micro=return";

/// What one subscription asks the server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The topic or pattern.
    pub(super) pattern: String,
    /// The filters to subscribe to.
    pub(super) filters: Vec<String>,
    /// Where members of the group give back what they did not settle; `None` without a group.
    pub(super) returns: Option<String>,
}

impl Names {
    pub(super) fn new(pattern: &str, queue: Option<&str>) -> Self {
        let filter = pattern.replace('.', "/").replace('*', "+").replace('>', "#");
        let Some(queue) = queue.map(word) else {
            return Self { pattern: pattern.to_owned(), filters: vec![filter], returns: None };
        };
        let returns = format!("{RETURNS}/{queue}/{}", word(pattern));
        let filters = vec![format!("$share/{queue}/{filter}"), format!("$share/{queue}/{returns}")];
        Self { pattern: pattern.to_owned(), filters, returns: Some(returns) }
    }

    /// Returns the filters as the server is asked for them.
    pub(super) fn wanted(&self) -> Vec<Filter> {
        let filter = |name: &String| Filter {
            path: name.clone(),
            qos: QoS::AtLeastOnce,
            // What the server keeps of a topic is of another moment.
            retain_forward_rule: RetainForwardRule::Never,
            ..Filter::default()
        };
        self.filters.iter().map(filter).collect()
    }

    /// Returns the topic that a name on the server stands for, if the subscription is meant to get
    /// it: the server's wildcards cover more than ours.
    pub(super) fn topic(&self, name: &str) -> Option<String> {
        let topic = topic(name)?;
        matches(&self.pattern, &topic).then_some(topic)
    }
}

/// Returns the name of a topic on the server.
pub(super) fn name(topic: &str) -> String {
    topic.replace('.', "/")
}

fn topic(name: &str) -> Option<String> {
    if name.contains('.') {
        return None;
    }
    let topic = name.replace('/', ".");
    validate_topic(&topic).is_ok().then_some(topic)
}

/// Returns a text without what has a meaning in filters and client ids.
pub(super) fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                word.push(char::from(byte));
            }
            other => word.push_str(&format!("={other:02X}")),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_levels_and_wildcards_those_of_the_server() {
        for (pattern, filter) in [
            ("orders.created", "orders/created"),
            ("*", "+"),
            ("a.*.c", "a/+/c"),
            ("a.>", "a/#"),
            (">", "#"),
        ] {
            assert_eq!(Names::new(pattern, None).filters, [filter]);
        }
        assert_eq!(name("orders.created.dead"), "orders/created/dead");
    }

    #[test]
    fn a_subscription_gets_what_its_pattern_covers_and_nothing_internal() {
        for (pattern, name, covered) in [
            ("a.b", "a/b", true),
            ("a.>", "a/b/c", true),
            ("a.>", "a", false),
            ("a.*", "a/dead", false),
            ("*.dead", "a/dead", true),
            (">", "micro=return/q/a", false),
            (">", "a.b", false),
            (">", "a b", false),
            (">", "a//b", false),
            (">", "/a", false),
        ] {
            assert_eq!(Names::new(pattern, None).topic(name).is_some(), covered, "{name}");
        }
    }

    #[test]
    fn groups_of_any_name_share_and_give_back_apart() {
        let names = Names::new("a.*", Some("x/+#"));
        let returns = "micro=return/x=2F=2B=23/a.=2A".to_owned();
        assert_eq!(
            names.filters,
            ["$share/x=2F=2B=23/a/+", &format!("$share/x=2F=2B=23/{returns}")]
        );
        assert_eq!(names.returns, Some(returns));
        assert_ne!(names.returns, Names::new("a.b", Some("x/+#")).returns);
    }
}
