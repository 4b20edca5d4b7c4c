//! The messages that a connection has brought and that nsqd waits for.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frame::MessageId;

/// The messages that a connection has brought and that nsqd waits for, until they are taken.
///
/// Limit: that of what one connection may bring before it is not trusted any more.
#[derive(Debug)]
pub(super) struct Unsettled(Mutex<Option<HashSet<MessageId>>>);

impl Default for Unsettled {
    fn default() -> Self {
        Self(Mutex::new(Some(HashSet::new())))
    }
}

impl Unsettled {
    /// Puts down a message that came.
    pub(super) fn insert(&self, id: MessageId) {
        if let Some(ids) = self.lock().as_mut() {
            ids.insert(id);
        }
    }

    /// Crosses out a message and says so by `tell`, in one step; does nothing once they are taken.
    pub(super) fn settle(&self, id: MessageId, tell: impl FnOnce()) {
        if let Some(ids) = self.lock().as_mut() {
            ids.remove(&id);
            tell();
        }
    }

    /// Takes those that are left; nothing is settled after that.
    pub(super) fn take(&self) -> HashSet<MessageId> {
        self.lock().take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashSet<MessageId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_settled_by_nobody_else() {
        let ids: Vec<_> = (0..3).map(MessageId::of).collect();
        let (unsettled, mut told) = (Unsettled::default(), 0);
        ids.iter().for_each(|id| unsettled.insert(*id));
        unsettled.settle(ids[1], || told += 1);
        assert_eq!(unsettled.take(), HashSet::from([ids[0], ids[2]]));
        unsettled.settle(ids[0], || told += 1);
        unsettled.insert(ids[0]);
        assert_eq!((told, unsettled.take().len()), (1, 0));
    }
}
