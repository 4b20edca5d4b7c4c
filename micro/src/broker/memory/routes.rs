//! Which groups get the messages of a topic.

use std::collections::HashMap;
use std::sync::Arc;

use crate::broker::topic::matches;

use super::group::Group;

/// The groups by topic; replaced as a whole when subscriptions come and go.
#[derive(Clone, Default)]
pub(super) struct Routes {
    topics: HashMap<String, Vec<Arc<Group>>>,
    patterns: Vec<Arc<Group>>,
}

impl Routes {
    /// Returns the groups that get a message of the topic, always in one order: publishers reserve
    /// room in it, and would wait for each other if their orders differed.
    pub(super) fn of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Arc<Group>> {
        let exact = self.topics.get(topic).map(Vec::as_slice).unwrap_or_default();
        exact.iter().chain(self.patterns.iter().filter(|group| matches(&group.pattern, topic)))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.topics.values().flatten().chain(&self.patterns)
    }

    /// Returns how many different topics and patterns there are.
    pub(super) fn topics(&self) -> usize {
        self.topics.len() + self.patterns.len()
    }

    pub(super) fn find(&self, pattern: &str, queue: &str) -> Option<&Arc<Group>> {
        self.all().find(|group| {
            group.pattern == pattern && group.queue.as_deref() == Some(queue) && group.is_open()
        })
    }

    pub(super) fn add(&mut self, group: Arc<Group>, is_pattern: bool) {
        if is_pattern {
            self.patterns.push(group);
        } else {
            self.topics.entry(group.pattern.clone()).or_default().push(group);
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.patterns.retain(|group| group.id != id);
        self.topics.retain(|_, groups| {
            groups.retain(|group| group.id != id);
            !groups.is_empty()
        });
    }
}
