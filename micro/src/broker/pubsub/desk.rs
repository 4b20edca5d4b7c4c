//! What becomes of deliveries, as the servers are told it: one request at a time, with all that was
//! said while the one before was under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::shutdown::Shutdown;

use super::calls::ACKNOWLEDGE;
use super::calls::MODIFY_ACK_DEADLINE;
use super::link::Link;
use super::messages::AcknowledgeRequest;
use super::messages::ModifyAckDeadlineRequest;
use super::messages::Nothing;

/// Words that wait to be told; whoever says more waits.
const WORDS_MAX: usize = 1024;

/// Deliveries in one request: the servers take 512 KiB, and what settles one has up to 500 bytes.
pub(super) const SETTLED_MAX: usize = 1000;

/// How long a word is told again that the servers did not hear: nearly as long as a message is lent.
const TELL_MAX: Duration = Duration::from_secs(15);

/// Pauses between such attempts.
const TELL_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What is to become of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done.
    Done,
    /// The message is to be delivered again after so many seconds.
    Again(i32),
}

type Word = (String, Verdict);

/// Where verdicts are said.
#[derive(Debug)]
pub(super) struct Desk(mpsc::Sender<Word>);

/// What tells them to the servers.
pub(super) struct Teller {
    pub(super) link: Arc<Link>,
    pub(super) subscription: String,
    pub(super) life: Shutdown,
    words: mpsc::Receiver<Word>,
}

impl Desk {
    pub(super) fn new(link: Arc<Link>, subscription: String, life: Shutdown) -> (Self, Teller) {
        let (sender, words) = mpsc::channel(WORDS_MAX);
        (Self(sender), Teller { link, subscription, life, words })
    }

    /// Says what is to become of a delivery.
    pub(super) async fn say(&self, ack_id: String, verdict: Verdict) {
        // Nobody listens once the subscription is over: the message comes again.
        let _over = self.0.send((ack_id, verdict)).await.is_err();
    }
}

impl Teller {
    /// Tells until everything is said, and that is told.
    pub(super) async fn run(mut self, mut said: oneshot::Receiver<()>) {
        let (mut words, mut is_all) = (Vec::new(), false);
        loop {
            // Cancel safety: words stay in the queue until they are returned.
            tokio::select! {
                biased;
                count = self.words.recv_many(&mut words, SETTLED_MAX) => if count == 0 { return },
                _ = &mut said, if !is_all => {
                    is_all = true;
                    self.words.close();
                    continue;
                }
            }
            for (verdict, ack_ids) in sorted(&mut words) {
                self.tell(verdict, ack_ids).await;
            }
        }
    }

    /// Tells one verdict, and again while the servers do not hear it.
    async fn tell(&self, verdict: Option<i32>, ack_ids: Vec<String>) {
        let until = clock::after(clock::now(), TELL_MAX);
        let mut backoff = Backoff::new(TELL_PAUSES.0, TELL_PAUSES.1);
        // Progress: each turn asks or waits, and time ends it.
        loop {
            let told = match verdict {
                None => acknowledge(&self.link, &self.subscription, ack_ids.clone()).await,
                Some(seconds) => {
                    lend(&self.link, &self.subscription, seconds, ack_ids.clone()).await
                }
            };
            let Err(error) = told else { return };
            let is_over = self.life.is_closed() || clock::now() >= until;
            if error.retry() == Retry::Never || is_over {
                let (subscription, count) = (&self.subscription, ack_ids.len());
                tracing::debug!(subscription, count, %error, "messages come again: not settled");
                return;
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }
}

/// Has messages belong to this process for so many seconds from now on; with none of them left they
/// are delivered again.
pub(super) async fn lend(
    link: &Link,
    subscription: &str,
    ack_deadline_seconds: i32,
    ack_ids: Vec<String>,
) -> Result<()> {
    let (name, subscription) = (subscription, subscription.to_owned());
    let question = ModifyAckDeadlineRequest { subscription, ack_deadline_seconds, ack_ids };
    link.ask(&MODIFY_ACK_DEADLINE, name, question).await.map(|Nothing {}| ())
}

async fn acknowledge(link: &Link, subscription: &str, ack_ids: Vec<String>) -> Result<()> {
    let (name, subscription) = (subscription, subscription.to_owned());
    let question = AcknowledgeRequest { subscription, ack_ids };
    link.ask(&ACKNOWLEDGE, name, question).await.map(|Nothing {}| ())
}

/// Sorts deliveries by what is to become of them; those that are done have no time.
fn sorted(words: &mut Vec<Word>) -> BTreeMap<Option<i32>, Vec<String>> {
    let mut sorted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (ack_id, verdict) in words.drain(..) {
        let verdict = match verdict {
            Verdict::Done => None,
            Verdict::Again(seconds) => Some(seconds),
        };
        sorted.entry(verdict).or_default().push(ack_id);
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_tells_what_is_alike() {
        let word = |id: &str, verdict| (id.to_owned(), verdict);
        let mut words = vec![
            word("a", Verdict::Done),
            word("b", Verdict::Again(0)),
            word("c", Verdict::Done),
            word("d", Verdict::Again(30)),
            word("e", Verdict::Again(0)),
        ];
        let sorted: Vec<_> = sorted(&mut words).into_iter().collect();
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let wanted =
            [(None, ids(&["a", "c"])), (Some(0), ids(&["b", "e"])), (Some(30), ids(&["d"]))];
        assert_eq!(sorted, wanted);
        assert!(words.is_empty());
    }
}
