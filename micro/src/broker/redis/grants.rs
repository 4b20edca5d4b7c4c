//! How much a process may publish to a topic before it looks again whether there is room.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;

/// The part of what is free that one process takes at once: so many processes together never take
/// more than there is.
const SHARE: usize = 16;

/// How long what was seen counts.
const FRESH: Duration = Duration::from_secs(1);

/// Topics that are remembered: 10,000. When there are more, all are looked at again.
const TOPICS_MAX: usize = 10_000;

/// Messages that may be published unseen, by topic.
#[derive(Debug, Default)]
pub(super) struct Grants {
    topics: Mutex<HashMap<String, (usize, Instant)>>,
}

impl Grants {
    /// Takes one; `false` if the publisher has to look.
    pub(super) fn take(&self, topic: &str) -> bool {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((left, until)) = topics.get_mut(topic) else { return false };
        if *left == 0 || clock::now() >= *until {
            return false;
        }
        *left -= 1;
        true
    }

    /// Notes how many a topic has room for.
    pub(super) fn give(&self, topic: &str, room: usize) {
        let until = clock::after(clock::now(), FRESH);
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.len() >= TOPICS_MAX && !topics.contains_key(topic) {
            topics.clear();
        }
        topics.insert(topic.to_owned(), (room / SHARE, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_of_the_room_is_taken_while_it_is_fresh() {
        let grants = Grants::default();
        assert!(!grants.take("a"));
        grants.give("a", 3 * SHARE);
        assert!(grants.take("a") && grants.take("a") && !grants.take("b"));
        clock::sleep(FRESH).await;
        assert!(!grants.take("a"), "what was seen is old");
        grants.give("a", SHARE - 1);
        assert!(!grants.take("a"), "near the end each publisher looks");
    }

    /// At the limit, above it and far above it.
    #[tokio::test]
    async fn topics_are_bounded() {
        let grants = Grants::default();
        for count in [TOPICS_MAX, TOPICS_MAX + 1, TOPICS_MAX * 10] {
            (0..count).for_each(|n| grants.give(&n.to_string(), SHARE));
            assert!(grants.topics.lock().unwrap().len() <= TOPICS_MAX);
        }
    }
}
