//! Telling messages that came before.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;

/// Remembers the ids of messages, so many and so long, for a handler that must not act twice.
///
/// It is of one process: members of a group in other processes do not share it, and a restart
/// forgets. Where acting twice does harm, keep the ids with the effect, in one transaction.
///
/// ```
/// use std::time::Duration;
///
/// use micro::broker::Dedupe;
///
/// # async fn charge() -> micro::Result<()> { Ok(()) }
/// # async fn handle(dedupe: &Dedupe, id: &str) -> micro::Result<()> {
/// let Some(first) = dedupe.first(id)? else { return Ok(()) };
/// charge().await?;
/// first.done();
/// # Ok(())
/// # }
/// ```
pub struct Dedupe {
    ids_max: usize,
    window: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ids: HashMap<String, Known>,
    order: VecDeque<(Instant, u64, String)>,
    claims: u64,
}

/// What is known of an id.
struct Known {
    /// The number of the claim, so that one which fell out of the window changes no later one.
    claim: u64,
    is_done: bool,
}

/// The right to act on a message that nobody acted on before.
///
/// Dropped without [`done`](Self::done), because the handler failed, was cut or panicked, it
/// forgets the message: the next delivery acts.
#[must_use = "dropping it forgets the message"]
pub struct First<'a> {
    dedupe: &'a Dedupe,
    id: &'a str,
    claim: u64,
}

impl Dedupe {
    /// Remembers at most `ids_max` ids, the latest, each for `window` at most.
    ///
    /// Choose both large enough for all deliveries that may be handled at a time.
    pub fn new(ids_max: usize, window: Duration) -> Self {
        Self { ids_max, window, seen: Mutex::default() }
    }

    /// Claims an id before acting; `None` if somebody has acted on it.
    ///
    /// # Errors
    ///
    /// A 423, which is worth a retry, while another delivery of the message is being handled: it
    /// may fail yet, and then this one has to act.
    pub fn first<'a>(&'a self, id: &'a str) -> Result<Option<First<'a>>> {
        let now = clock::now();
        let mut seen = self.lock();
        seen.forget_old(|at, count| {
            now.saturating_duration_since(at) >= self.window || count > self.ids_max
        });
        match seen.ids.get(id) {
            Some(known) if known.is_done => return Ok(None),
            Some(_) => {
                let text = format!("another delivery of message {id} is being handled");
                return Err(Error::aborted("micro.broker", text));
            }
            None => {}
        }
        seen.claims = seen.claims.wrapping_add(1);
        let claim = seen.claims;
        seen.ids.insert(id.into(), Known { claim, is_done: false });
        seen.order.push_back((now, claim, id.into()));
        seen.forget_old(|_, count| count > self.ids_max);
        Ok(Some(First { dedupe: self, id, claim }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl First<'_> {
    /// States that the message was acted on: later deliveries of it are told so.
    pub fn done(self) {
        if let Some(known) = self.dedupe.lock().ids.get_mut(self.id)
            && known.claim == self.claim
        {
            known.is_done = true;
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        let mut seen = self.dedupe.lock();
        let is_mine = |known: &Known| known.claim == self.claim && !known.is_done;
        if seen.ids.get(self.id).is_some_and(is_mine) {
            seen.ids.remove(self.id);
            seen.order.retain(|(_, claim, _)| *claim != self.claim);
        }
    }
}

impl Seen {
    fn forget_old(&mut self, is_old: impl Fn(Instant, usize) -> bool) {
        while self.order.front().is_some_and(|(at, ..)| is_old(*at, self.order.len())) {
            let Some((_, claim, id)) = self.order.pop_front() else { return };
            if self.ids.get(&id).is_some_and(|known| known.claim == claim) {
                self.ids.remove(&id);
            }
        }
    }
}

impl fmt::Debug for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("First").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Dedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedupe").field("ids_max", &self.ids_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use std::sync::Arc;

    use super::*;
    use crate::broker::{Ack, Delivery, Handler, Message, deliver};
    use crate::core::content_type::ContentType;

    /// Acts on a message, if it is the first time.
    fn acts(dedupe: &Dedupe, id: &str) -> bool {
        let first = dedupe.first(id).expect("nobody handles it");
        first.map(First::done).is_some()
    }

    /// F39, K7.
    #[tokio::test(start_paused = true)]
    async fn an_id_is_first_once_within_the_window() {
        let dedupe = Dedupe::new(100, Duration::from_secs(60));
        assert!(acts(&dedupe, "a") && !acts(&dedupe, "a") && acts(&dedupe, "b"));
        clock::sleep(Duration::from_secs(60)).await;
        assert!(acts(&dedupe, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_keeps_the_latest() {
        let dedupe = Dedupe::new(10, Duration::from_secs(60));
        for n in 0..100 {
            assert!(acts(&dedupe, &n.to_string()));
        }
        assert!((90..100).all(|n| !acts(&dedupe, &n.to_string())));
        assert!(acts(&dedupe, "0"));
        let seen = dedupe.lock();
        assert_eq!((seen.ids.len(), seen.order.len()), (10, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_not_done_is_first_again() {
        let dedupe = Dedupe::new(10, Duration::from_secs(60));
        drop(dedupe.first("a").expect("free").expect("first"));
        assert!(dedupe.lock().order.is_empty());
        assert!(acts(&dedupe, "a") && !acts(&dedupe, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_being_handled_is_neither_first_nor_done() {
        let dedupe = Dedupe::new(10, Duration::from_secs(60));
        let first = dedupe.first("a").expect("free").expect("first");
        let error = dedupe.first("a").expect_err("being handled");
        assert!(matches!(Ack::from_error(&error), Ack::Retry { .. }), "{error}");
        first.done();
        assert!(dedupe.first("a").expect("done").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_fell_out_of_the_window_changes_no_later_one() {
        let dedupe = Dedupe::new(10, Duration::from_secs(60));
        let slow = dedupe.first("a").expect("free").expect("first");
        clock::sleep(Duration::from_secs(60)).await;
        assert!(acts(&dedupe, "a"));
        drop(slow);
        assert!(!acts(&dedupe, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_is_cut_leaves_the_message_to_the_next_delivery() {
        let dedupe = Arc::new(Dedupe::new(10, Duration::from_secs(600)));
        let handler: Handler = Arc::new(move |delivery| {
            let dedupe = Arc::clone(&dedupe);
            Box::pin(async move {
                let Ok(Some(first)) = dedupe.first(&delivery.message.id) else { return Ack::Ack };
                clock::sleep(Duration::from_secs(if delivery.attempt == 1 { 31 } else { 1 })).await;
                first.done();
                Ack::reject("handled")
            })
        });
        let message = Arc::new(Message::new("a", ContentType::Json, Bytes::new()));
        let mut outcomes = Vec::new();
        for attempt in 1..=3 {
            let delivery = Delivery::new(Arc::clone(&message), attempt);
            outcomes.push(deliver(&handler, delivery, Duration::from_secs(30)).await);
        }
        assert_eq!(outcomes, [Ack::RETRY, Ack::reject("handled"), Ack::Ack]);
    }
}
