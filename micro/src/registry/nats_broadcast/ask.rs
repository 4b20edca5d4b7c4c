//! Questions to whoever serves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::message::{Action, Message, QUERY, read_answer};
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::driver::{Feed, Link};
use crate::registry::check::ERROR_ID;
use crate::registry::record::Record;

/// How long answers are waited for at least.
const ANSWER_WAIT: Duration = Duration::from_millis(100);

/// Silence after an answer that ends the waiting.
const SETTLE: Duration = Duration::from_millis(50);

/// How long answers are waited for at most.
const ANSWERS_WAIT_MAX: Duration = Duration::from_secs(1);

/// A node, by its service and its id.
pub(super) type NodeKey = (String, String);

/// The answers to a question, as they come.
pub(super) struct Answers {
    feed: Feed,
    service: Option<String>,
    /// The connection that the question went out on.
    session: u64,
    /// When the waiting ends if nothing comes, and when it ends whatever comes.
    until: (Instant, Instant),
    /// Records that are taken yet.
    room: usize,
}

/// Asks who serves a service, or anything.
pub(super) async fn ask(shared: &Shared, service: Option<&str>) -> Result<Answers> {
    shared.nats.connected().await?;
    let session = shared.nats.sessions().borrow().number;
    let named = service.map(|name| Record { name: name.to_owned(), ..Record::default() });
    let action = if service.is_some() { Action::Get } else { Action::List };
    let question = Message::write(action, named.as_ref())?;
    let feed = shared.nats.ask(QUERY, question).await?;
    let now = clock::now();
    let until = (clock::after(now, ANSWER_WAIT), clock::after(now, ANSWERS_WAIT_MAX));
    let nodes = shared.limits.nodes_per_service_max;
    let room = match service {
        Some(_) => nodes,
        None => nodes.saturating_mul(shared.limits.services_max),
    };
    Ok(Answers { feed, service: service.map(str::to_owned), session, until, room })
}

impl Answers {
    /// Waits for the next answer; `None` when there are no more. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Vec<Record>> {
        let (quiet, end) = self.until;
        let message = clock::timeout_at(quiet.min(end), self.feed.next()).await.ok()??;
        // Nobody serves anything: the server says so.
        if message.is_unheard {
            return None;
        }
        self.until.0 = quiet.max(clock::after(clock::now(), SETTLE));
        let mut records = read_answer(&message.body);
        records.retain(|r| self.service.as_ref().is_none_or(|service| r.name == *service));
        records.truncate(self.room);
        self.room -= records.len();
        Some(records)
    }

    /// Checks that the answers came by the connection that the question went out on.
    pub(super) fn check(&self, shared: &Shared) -> Result<()> {
        let session = shared.nats.sessions().borrow().number;
        if shared.nats.is_up() && session == self.session {
            return Ok(());
        }
        let detail = "the connection to nats was lost while others answered";
        Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe))
    }
}

/// Asks, and collects what is answered; of two nodes with one id the last one counts.
pub(super) async fn ask_all(
    shared: &Shared,
    service: Option<&str>,
) -> Result<BTreeMap<NodeKey, Record>> {
    let mut answers = ask(shared, service).await?;
    let mut found = BTreeMap::new();
    while let Some(records) = answers.next().await {
        for record in records {
            if let Some(key) = node_key(&record) {
                found.insert(key, record);
            }
        }
    }
    answers.check(shared)?;
    Ok(found)
}

/// Returns the key of the only node of a record.
pub(super) fn node_key(record: &Record) -> Option<NodeKey> {
    record.nodes.first().map(|node| (record.name.clone(), node.id.clone()))
}
