//! Where topics live on the server: names of streams, subjects and consumers.

use crate::broker::dead_letter::DEAD_SUFFIX;
use crate::broker::message::Message;
use crate::broker::nats::wire;

/// What says of a dead letter which message it was.
const DEAD_ID: &str = "micro-dead-id";

/// The name of a consumer shows so much of its queue's.
const QUEUE_SHOWN_MAX: usize = 40;

/// The streams of one broker: one for events, and one for dead letters, which are kept although
/// nobody has asked for them yet.
///
/// A topic is a subject below the name of its stream. A dead letter has a subject of its own, which
/// ends in the id of its message, so that it is found.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) events: String,
    pub(super) dead: String,
}

impl Places {
    pub(super) fn new(stream: &str) -> Self {
        Self { events: stream.to_owned(), dead: format!("{stream}-dead") }
    }

    /// Returns the subject that a message is published to.
    pub(super) fn subject(&self, message: &Message) -> String {
        match message.topic.strip_suffix(DEAD_SUFFIX) {
            Some(topic) => {
                let id = message.metadata.get(DEAD_ID).unwrap_or(&message.id);
                self.dead_letter(topic, id)
            }
            None => format!("{}.{}", self.events, message.topic),
        }
    }

    /// Returns the subject of the dead letter of a message.
    pub(super) fn dead_letter(&self, topic: &str, id: &str) -> String {
        format!("{}.{topic}.{}", self.dead, wire::word(id))
    }

    /// Returns the stream of a topic or pattern, and the subjects that it covers there.
    pub(super) fn of(&self, pattern: &str) -> (&str, String) {
        match pattern.strip_suffix(DEAD_SUFFIX) {
            Some(pattern) => (&self.dead, format!("{}.{pattern}.*", self.dead)),
            None => (&self.events, format!("{}.{pattern}", self.events)),
        }
    }

    /// Returns the topic of a subject; `None` for one that is not below a stream.
    pub(super) fn topic(&self, subject: &str) -> Option<String> {
        let below = |stream: &str| subject.strip_prefix(stream)?.strip_prefix('.');
        if let Some(topic) = below(&self.events) {
            return Some(topic.to_owned());
        }
        let (topic, _id) = below(&self.dead)?.rsplit_once('.')?;
        Some(format!("{topic}{DEAD_SUFFIX}"))
    }
}

/// Returns the name of the consumer of a queue, which all its members share.
pub(super) fn consumer(pattern: &str, queue: &str) -> String {
    let shown: String = queue.chars().take(QUEUE_SHOWN_MAX).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let shown: String = shown.chars().map(plain).collect();
    format!("{shown}-{:016x}", fnv([pattern.as_bytes(), &[0], queue.as_bytes()].concat()))
}

/// FNV-1a of 64 bits: the same in every version of every process.
fn fnv(bytes: Vec<u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::content_type::ContentType;
    use bytes::Bytes;

    #[test]
    fn a_topic_is_found_by_its_subject() {
        let places = Places::new("shop");
        for topic in ["orders", "orders.created", "orders.created.dead"] {
            let message = Message::new(topic, ContentType::Json, Bytes::new());
            let subject = places.subject(&message);
            assert_eq!(places.topic(&subject).as_deref(), Some(topic), "{subject}");
        }
        assert_eq!(places.topic("shopping.orders"), None);
    }

    #[test]
    fn a_dead_letter_is_found_by_the_id_of_its_message() {
        let places = Places::new("shop");
        let mut dead = Message::new("orders.dead", ContentType::Json, Bytes::new());
        dead.metadata.insert(DEAD_ID, "a.b").unwrap();
        assert_eq!(places.subject(&dead), "shop-dead.orders.a=2Eb");
        assert_eq!(places.dead_letter("orders", "a.b"), "shop-dead.orders.a=2Eb");
    }

    #[test]
    fn patterns_stay_within_their_stream() {
        let places = Places::new("shop");
        assert_eq!(places.of("a.*"), ("shop", "shop.a.*".into()));
        assert_eq!(places.of(">"), ("shop", "shop.>".into()));
        assert_eq!(places.of("a.*.dead"), ("shop-dead", "shop-dead.a.*.*".into()));
    }

    #[test]
    fn each_queue_of_each_topic_has_a_consumer() {
        let names = [consumer("a.b", "q"), consumer("a.c", "q"), consumer("a.b", "q2")];
        assert_eq!(consumer("a.b", "q"), names[0]);
        assert!(names[0] != names[1] && names[0] != names[2], "{names:?}");
        let name = consumer("a.>", "a queue. of \u{e4} very long name, longer than anyone reads");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(name.len() < 64 && name.chars().all(plain), "{name}");
    }
}
