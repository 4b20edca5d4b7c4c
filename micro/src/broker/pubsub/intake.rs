//! Taking messages: so many as the handlers have time for, by one request at a time.
//!
//! Each is a question that the servers leave open until there are messages. A stream would bring
//! them with less delay under load, but its flow is set when it is opened and counts messages that
//! wait for another delivery, so that a few that fail would hold up all others, or a process would
//! take what others of its group have time for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Error;

use super::came::Came;
use super::desk::Verdict;
use super::member::Subscribed;

/// The first and the longest pause before messages are asked for again after that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The pause after an answer without messages, which a server gives late, but might give at once.
const EMPTY_PAUSE: Duration = Duration::from_millis(50);

/// Takes messages until draining begins.
pub(super) async fn fetch(to: &Subscribed, queue: mpsc::Sender<Came>) {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    // Progress: each turn waits for room, for messages, or for the end of a pause.
    loop {
        // Cancel safety: what the servers send to a question that is dropped comes again.
        let asked = tokio::select! {
            biased;
            () = to.life.draining() => return,
            asked = ask(to) => asked,
        };
        let error = match asked {
            Ok(taken) if taken.is_empty() => {
                // Cancel safety: both arms only wait.
                tokio::select! {
                    biased;
                    () = to.life.draining() => return,
                    () = clock::sleep(EMPTY_PAUSE) => continue,
                }
            }
            Ok(taken) => {
                backoff.reset();
                hand_over(to, taken, &queue).await;
                continue;
            }
            Err(error) => error,
        };
        // Cancel safety: making again what is there changes nothing.
        tokio::select! {
            biased;
            () = to.life.draining() => return,
            () = mend(to, &error, &mut backoff) => {}
        }
    }
}

/// Asks for what there is room for.
async fn ask(to: &Subscribed) -> Result<Vec<(Came, String)>, Error> {
    let wanted = to.held.wanted().await;
    match to.link.pull(to.number, &to.subscription, wanted).await {
        Ok(answer) => Ok(answer.received_messages.into_iter().map(Came::new).collect()),
        Err(error) => {
            if error.code() == 413 {
                to.held.too_long(wanted);
            }
            Err(error)
        }
    }
}

async fn hand_over(to: &Subscribed, taken: Vec<(Came, String)>, queue: &mpsc::Sender<Came>) {
    for (came, ack_id) in taken {
        if !to.held.insert(&came.id, ack_id, came.bytes()) {
            continue;
        }
        // There is room unless the servers send more than they are asked for.
        if let Err(
            mpsc::error::TrySendError::Full(came) | mpsc::error::TrySendError::Closed(came),
        ) = queue.try_send(came)
        {
            to.settle(&came.id, Verdict::Again(0)).await;
        }
    }
}

/// Makes again what is missing, and waits.
async fn mend(to: &Subscribed, error: &Error, backoff: &mut Backoff) {
    let (topic, subscription) = (&to.topic, &to.subscription);
    match error.code() {
        404 => match to.place().await {
            // It may be gone again at once.
            Ok(()) => {
                tracing::warn!(topic, subscription, "subscription was gone and is made again");
            }
            Err(error) => tracing::warn!(topic, %error, "cannot subscribe yet, will try on"),
        },
        413 => return,
        _ => tracing::debug!(topic, %error, "cannot take messages yet, will try on"),
    }
    clock::sleep(backoff.next_delay()).await;
}

/// Hands each message to a handler when one is free, and gives back what has none once draining
/// began.
pub(super) async fn dispatch(to: &Arc<Subscribed>, mut queue: mpsc::Receiver<Came>) {
    while let Some(came) = queue.recv().await {
        // Cancel safety: both arms only wait.
        let free = tokio::select! {
            biased;
            () = to.life.draining() => None,
            free = Arc::clone(&to.free).acquire_owned() => free.ok(),
        };
        match free {
            Some(free) => {
                let handling = came.handle(Arc::clone(to), free);
                to.tasks.spawn("broker.pubsub.handler", handling).detach();
            }
            None => to.settle(&came.id, Verdict::Again(0)).await,
        }
    }
}
