//! Who is to look for messages: the members of a process by the ids of their groups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::driver::postgres::{Database, Hear};

use super::statements::CHANNEL;

/// Ids of groups in one signal, of which the server takes 8,000 bytes.
const IDS_PER_SIGNAL: usize = 300;

/// The members of groups, by the ids of both.
type Groups = HashMap<i64, Vec<(u64, Arc<Notify>)>>;

/// What wakes the members of the groups.
#[derive(Default)]
pub(super) struct Wakes {
    groups: Mutex<Groups>,
}

impl Wakes {
    pub(super) fn add(&self, group: i64, member: u64, wake: &Arc<Notify>) {
        self.lock().entry(group).or_default().push((member, Arc::clone(wake)));
    }

    pub(super) fn remove(&self, group: i64, member: u64) {
        let mut groups = self.lock();
        if let Some(members) = groups.get_mut(&group) {
            members.retain(|(id, _)| *id != member);
            if members.is_empty() {
                groups.remove(&group);
            }
        }
    }

    /// Wakes the members of groups, here at once and elsewhere by a signal.
    pub(super) fn tell_all(&self, database: &Database, groups: &[i64]) {
        for group in groups {
            self.wake(*group);
        }
        for some in groups.chunks(IDS_PER_SIGNAL) {
            let ids: Vec<String> = some.iter().map(i64::to_string).collect();
            database.signal(CHANNEL, ids.join(","));
        }
    }

    fn wake(&self, group: i64) {
        for (_, wake) in self.lock().get(&group).into_iter().flatten() {
            wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hear for Wakes {
    fn hear(&self, channel: &str, payload: Option<&str>) {
        match payload {
            None => {
                for (_, wake) in self.lock().values().flatten() {
                    wake.notify_one();
                }
            }
            Some(ids) if channel == CHANNEL => {
                for group in ids.split(',').filter_map(|id| id.parse().ok()) {
                    self.wake(group);
                }
            }
            Some(_) => {}
        }
    }
}
