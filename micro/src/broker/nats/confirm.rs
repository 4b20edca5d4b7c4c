//! Confirmation of what has no answer: one question for all that was sent before it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::core::shutdown::{Shutdown, TaskTracker};

use super::ANSWER_PATIENCE;
use super::replies::Replies;

/// Tells publishers that the server has what they sent.
///
/// While one question is under way those who come meanwhile wait for the next, together: many
/// publishers cost little more than one.
#[derive(Debug)]
pub(super) struct Confirm {
    replies: Arc<Replies>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whoever waits, and the connection by which it sent. Limit: as many as publish at a time.
    list: Mutex<Vec<(u64, oneshot::Sender<bool>)>>,
    wanted: Notify,
}

impl Confirm {
    pub(super) fn new(replies: &Arc<Replies>, tasks: &TaskTracker, life: &Shutdown) -> Self {
        let waiting = Arc::<Waiting>::default();
        let asking = ask(Arc::clone(replies), Arc::clone(&waiting), life.clone());
        tasks.spawn("broker.nats.confirm", asking);
        Self { replies: Arc::clone(replies), waiting }
    }

    /// Returns the number of the connection, to be asked for before anything is sent.
    pub(super) fn session(&self) -> u64 {
        self.replies.session()
    }

    /// Waits until the server has all that was sent since `session` was asked for; `false` if
    /// nobody knows. Cancel safe.
    pub(super) async fn confirmed(&self, session: u64) -> bool {
        let (sender, answer) = oneshot::channel();
        self.waiting.list.lock().unwrap_or_else(PoisonError::into_inner).push((session, sender));
        self.waiting.wanted.notify_one();
        answer.await.unwrap_or(false)
    }
}

async fn ask(replies: Arc<Replies>, waiting: Arc<Waiting>, life: Shutdown) {
    loop {
        // Cancel safety: a notification that is lost belongs to publishers that are failed below.
        tokio::select! {
            biased;
            () = life.closed() => break,
            () = waiting.wanted.notified() => {}
        }
        let list = std::mem::take(&mut *waiting.lock());
        if list.is_empty() {
            continue;
        }
        let session = replies.session();
        let is_there = replies.echo(session, ANSWER_PATIENCE).await.is_ok();
        for (sent_by, waits) in list {
            // Whoever waited may have left.
            let _left = waits.send(is_there && sent_by == session).is_err();
        }
    }
    waiting.lock().clear();
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, oneshot::Sender<bool>)>> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
