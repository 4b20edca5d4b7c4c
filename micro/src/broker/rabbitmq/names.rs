//! Names on the server: exchanges, queues and the keys that bind them.

use lapin::types::ShortString;

use crate::broker::dead_letter::is_dead;
use crate::core::error::Error;
use crate::core::error::Result;

use super::ERROR_ID;

/// Bytes that the protocol has room for in a name.
const NAME_BYTES_MAX: usize = 255;

/// The queue of a topic's dead letters that keeps them until somebody subscribes with it.
pub(super) const DEAD_QUEUE: &str = "dead";

/// The exchanges of a broker.
///
/// Dead letters have one of their own: a pattern that does not end in `.dead` covers none of them,
/// which no key of a topic exchange could say.
#[derive(Clone, Debug)]
pub(super) struct Exchanges {
    pub(super) alive: ShortString,
    pub(super) dead: ShortString,
}

impl Exchanges {
    pub(super) fn new(name: &str) -> Result<Self> {
        if name.is_empty() || name.starts_with("amq.") {
            let text = "an exchange has a name that does not start with `amq.`";
            return Err(Error::precondition_failed(ERROR_ID, text));
        }
        Ok(Self {
            alive: short("exchange", name)?,
            dead: short("exchange", format!("{name}.dead"))?,
        })
    }

    /// Returns the exchange of a topic, or of a pattern.
    pub(super) fn of(&self, topic: &str) -> ShortString {
        if is_dead(topic) { self.dead.clone() } else { self.alive.clone() }
    }
}

/// Returns the name of the queue of a group.
///
/// # Errors
/// 400 when it is longer than the protocol allows.
pub(super) fn group(topic: &str, queue: &str) -> Result<ShortString> {
    short("topic and queue", format!("{topic}:{queue}")).map_err(|error| {
        Error::bad_request(ERROR_ID, format!("subscribe to {topic}: {}", error.detail()))
    })
}

/// Returns the key that binds a queue to a topic or pattern: `>` stands for one word or more, and
/// `#` for any number of words.
///
/// # Errors
/// None for a valid topic or pattern.
pub(super) fn key(topic: &str) -> Result<ShortString> {
    match topic.strip_suffix('>') {
        Some(head) => short("topic", format!("{head}*.#")),
        None => short("topic", topic),
    }
}

/// Returns a text as the protocol takes it.
///
/// # Errors
/// 400 when it is too long.
pub(super) fn short(what: &str, text: impl Into<String>) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_long| {
        Error::bad_request(ERROR_ID, format!("{what}: a name has at most {NAME_BYTES_MAX} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_bound_by_a_key_that_covers_the_same() {
        for (topic, wanted) in [
            ("orders.created", "orders.created"),
            ("orders.*", "orders.*"),
            ("orders.>", "orders.*.#"),
            (">", "*.#"),
            ("*.dead", "*.dead"),
        ] {
            assert_eq!(key(topic).unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn dead_letters_have_an_exchange_of_their_own() {
        let exchanges = Exchanges::new("shop").unwrap();
        for (topic, wanted) in
            [("a.b", "shop"), ("a.>", "shop"), ("a.dead", "shop.dead"), ("*.dead", "shop.dead")]
        {
            assert_eq!(exchanges.of(topic).as_str(), wanted);
        }
        for bad in ["", "amq.topic", &"x".repeat(251)] {
            assert!(Exchanges::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_group_is_bounded() {
        let topic = "x".repeat(249);
        assert!(group(&topic, "12345").is_ok());
        for queue in ["123456", &"q".repeat(60)] {
            assert_eq!(group(&topic, queue).unwrap_err().code(), 400);
        }
    }
}
