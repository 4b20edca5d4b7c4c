//! Confirmation of what has no answer: one question for all that was sent before it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::core::clock;
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

/// Whoever waits, and the connection by which it sent. Limit: as many as publish at a time.
type List = Vec<(u64, oneshot::Sender<bool>)>;

#[derive(Debug)]
struct Waiting {
    /// `None` when nobody asks for them any more.
    list: Mutex<Option<List>>,
    wanted: Notify,
}

/// Fails those who wait, and those who come later, when the task that asks ends, however it does.
#[derive(Debug)]
struct Asking(Arc<Waiting>);

impl Drop for Asking {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Confirm {
    pub(super) fn new(replies: &Arc<Replies>, tasks: &TaskTracker, life: &Shutdown) -> Self {
        let list = Mutex::new(Some(List::new()));
        let waiting = Arc::new(Waiting { list, wanted: Notify::new() });
        let asking = ask(Arc::clone(replies), Asking(Arc::clone(&waiting)), life.clone());
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
        match &mut *self.waiting.lock() {
            Some(list) => list.push((session, sender)),
            None => return false,
        }
        self.waiting.wanted.notify_one();
        // The question that is under way, and the one for this.
        let answered = clock::timeout(ANSWER_PATIENCE * 2, answer).await;
        matches!(answered, Ok(Ok(true)))
    }
}

async fn ask(replies: Arc<Replies>, asking: Asking, life: Shutdown) {
    let waiting = &asking.0;
    loop {
        // Cancel safety: a notification that is lost belongs to publishers that are failed below.
        tokio::select! {
            biased;
            () = life.closed() => break,
            () = waiting.wanted.notified() => {}
        }
        let list = waiting.lock().as_mut().map(std::mem::take).unwrap_or_default();
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
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<List>> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
