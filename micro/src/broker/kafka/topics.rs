//! Topics: that they are there before something is published to them or read from them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Semaphore;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};

use super::client::{Shared, end_elsewhere, log};
use super::{ID, failure};

/// How long one answer of a server may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// How long until a topic that was made is looked at again.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Topics that are looked at or made at a time: each takes a thread while it waits for the servers.
const MAKING_MAX: usize = 16;

/// The topics that are known to be there.
pub(super) struct Topics {
    /// More topics are a 429.
    most: usize,
    names: Mutex<Names>,
    threads: Semaphore,
}

#[derive(Default)]
struct Names {
    known: HashSet<String>,
    /// Those that are looked at or made, each by one at a time, as long as anybody waits for it.
    making: HashMap<String, Weak<Turn>>,
}

type Turn = tokio::sync::Mutex<()>;

/// What the servers say of a topic.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    There,
    /// It is being made, or its partitions have no leaders at the moment.
    NotYet,
    Missing,
}

impl Topics {
    pub(super) fn new(most: usize) -> Self {
        Self { most, names: Mutex::default(), threads: Semaphore::new(MAKING_MAX) }
    }

    /// Sees to it that a topic is there.
    ///
    /// # Errors
    /// 503, safe to repeat, if it is not by the deadline; 429 for a topic too many; what the servers
    /// refuse for good.
    pub(super) async fn ensure(
        &self,
        shared: &Arc<Shared>,
        topic: &str,
        deadline: Instant,
    ) -> Result<()> {
        let Some(turn) = self.turn(topic)? else { return Ok(()) };
        let late = || {
            let text = format!("the topic {topic} is not there in time");
            Error::unavailable(ID, text).with_retry(Retry::Safe)
        };
        let Ok(_turn) = clock::timeout_at(deadline, turn.lock()).await else {
            return Err(late());
        };
        if self.lock().known.contains(topic) {
            return Ok(());
        }
        let making = async {
            // Never closed.
            let _thread = self.threads.acquire().await.ok();
            make_sure(shared, topic).await
        };
        let made = clock::timeout_at(deadline, making).await;
        made.map_err(|_elapsed| late())??;
        self.is_there(topic);
        Ok(())
    }

    /// Returns whose turn it is to see to a topic; `None` if it is known to be there.
    fn turn(&self, topic: &str) -> Result<Option<Arc<Turn>>> {
        let mut names = self.lock();
        if names.known.contains(topic) {
            return Ok(None);
        }
        if let Some(turn) = names.making.get(topic).and_then(Weak::upgrade) {
            return Ok(Some(turn));
        }
        names.making.retain(|_, turn| turn.strong_count() > 0);
        if names.known.len() + names.making.len() >= self.most {
            let text =
                format!("topic {topic}: the topics of a broker are limited to {}", self.most);
            return Err(Error::too_many_requests(ID, text));
        }
        let turn = Arc::new(Turn::default());
        names.making.insert(topic.to_owned(), Arc::downgrade(&turn));
        Ok(Some(turn))
    }

    fn is_there(&self, topic: &str) {
        let mut names = self.lock();
        names.making.remove(topic);
        names.known.insert(topic.to_owned());
    }

    /// Forgets a topic that is gone.
    pub(super) fn forget(&self, topic: &str) {
        self.lock().known.remove(topic);
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a topic if it is missing, and waits until it is there. Dropping the future leaves open
/// whether it is made.
async fn make_sure(shared: &Arc<Shared>, topic: &str) -> Result<()> {
    let mut was_made = false;
    // Progress: each turn asks the servers; the caller has a deadline.
    loop {
        match elsewhere(shared, topic, look).await? {
            Found::There => return Ok(()),
            Found::Missing if !was_made => {
                elsewhere(shared, topic, make).await?;
                was_made = true;
            }
            Found::Missing | Found::NotYet => clock::sleep(LOOK_PAUSE).await,
        }
    }
}

/// Does something that waits for the servers in a thread that may.
async fn elsewhere<T: Send + 'static>(
    shared: &Arc<Shared>,
    topic: &str,
    what: fn(&Shared, &str) -> Result<T>,
) -> Result<T> {
    let (shared, topic) = (Arc::clone(shared), topic.to_owned());
    let done = tokio::task::spawn_blocking(move || what(&shared, &topic)).await;
    done.unwrap_or_else(|error| Err(Error::internal(ID, format!("a question ended: {error}"))))
}

fn look(shared: &Shared, topic: &str) -> Result<Found> {
    let what = || format!("look for the topic {topic}");
    let Some(producer) = shared.producer() else {
        return Err(Error::unavailable(ID, what()).with_retry(Retry::Safe));
    };
    let answer = producer.client().fetch_metadata(Some(topic), ANSWER_PATIENCE);
    let answer = answer.map_err(|error| failure::before(&what(), &error))?;
    let Some(found) = answer.topics().iter().find(|found| found.name() == topic) else {
        return Ok(Found::Missing);
    };
    match found.error() {
        None => {}
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        ) => return Ok(Found::Missing),
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => return Ok(Found::NotYet),
        Some(code) => {
            return Err(failure::before(&what(), &KafkaError::MetadataFetch(code.into())));
        }
    }
    let partitions = found.partitions();
    let all_led = partitions.iter().all(|partition| {
        partition.leader() >= 0 && !partition.error().is_some_and(|e| e.is_error())
    });
    Ok(if all_led && !partitions.is_empty() { Found::There } else { Found::NotYet })
}

/// Asks the servers to make a topic, or names it to them if they make topics only by themselves.
///
/// Whichever server answers is asked: it hands on to the one that decides, or, if it is of the older
/// kind that keeps to ZooKeeper, says that another one does, which then is.
fn make(shared: &Shared, topic: &str) -> Result<()> {
    let what = || format!("make the topic {topic}");
    let refused = |error: &KafkaError| failure::before(&what(), error);
    let maker = AdminClient::from_config_and_context(&shared.settings.maker(), Logging);
    let maker = Ending(Some(maker.map_err(|error| refused(&error))?));
    let Some(client) = &maker.0 else { return Ok(()) };
    let server = any_server(shared, topic).map_err(|error| refused(&error))?;
    let mut code = create(client, shared, topic, server);
    if code == Ok(Some(RDKafkaErrorCode::NotController)) {
        code = create(client, shared, topic, None);
    }
    match code.map_err(|error| refused(&error))? {
        None => {
            tracing::info!(topic, partitions = shared.config.partitions, "topic is made");
            Ok(())
        }
        Some(RDKafkaErrorCode::TopicAlreadyExists) => Ok(()),
        Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
            tracing::info!(topic, "the servers make topics only by themselves");
            let named = client.inner().fetch_metadata(Some(topic), ANSWER_PATIENCE);
            named.map(drop).map_err(|error| refused(&error))
        }
        Some(code) => Err(refused(&KafkaError::AdminOp(code))),
    }
}

/// Returns a server that answers.
fn any_server(shared: &Shared, topic: &str) -> KafkaResult<Option<i32>> {
    let Some(producer) = shared.producer() else { return Err(KafkaError::Canceled) };
    let answer = producer.client().fetch_metadata(Some(topic), ANSWER_PATIENCE)?;
    let known = answer.brokers().iter().map(|server| server.id());
    // The answer of an address whose number is not known yet is from number -1.
    let asked = std::iter::once(answer.orig_broker_id());
    Ok(asked.chain(known).find(|id| *id >= 0))
}

/// Asks a server to make a topic, by default the one that decides, and returns its refusal.
fn create(
    client: &AdminClient<Logging>,
    shared: &Shared,
    topic: &str,
    server: Option<i32>,
) -> KafkaResult<Option<RDKafkaErrorCode>> {
    let patience = Some(ANSWER_PATIENCE);
    let options = AdminOptions::new().request_timeout(patience).operation_timeout(patience);
    let replicas = shared.config.replicas.map_or(-1, i32::from);
    // -1 is what the servers are configured to.
    let replicas = TopicReplication::Fixed(replicas);
    let wanted = NewTopic::new(topic, shared.config.partitions.into(), replicas);
    let making = client.create_topics([&wanted], &options.broker_id(server));
    match tokio::runtime::Handle::current().block_on(making) {
        Ok(outcomes) => {
            Ok(outcomes.into_iter().find_map(|outcome| outcome.err().map(|(_, code)| code)))
        }
        Err(KafkaError::AdminOp(code)) => Ok(Some(code)),
        Err(error) => Err(error),
    }
}

/// A client that takes its time to end.
struct Ending(Option<AdminClient<Logging>>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            end_elsewhere(client);
        }
    }
}

struct Logging;

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the limit, one above it and ten times as many.
    #[test]
    fn topics_are_bounded_with_those_that_are_being_made() {
        let topics = Topics::new(4);
        for n in 0..3 {
            topics.is_there(&n.to_string());
        }
        assert!(topics.turn("2").unwrap().is_none(), "it is known");
        let making = topics.turn("new").unwrap().unwrap();
        for n in 4..40 {
            let refused = topics.turn(&n.to_string()).unwrap_err();
            assert_eq!(refused.code(), 429, "{refused}");
        }
        let same = topics.turn("new").unwrap().unwrap();
        assert!(Arc::ptr_eq(&making, &same), "a topic is made by one at a time");
        drop((making, same));
        assert!(topics.turn("other").unwrap().is_some(), "what is given up takes no place");
        topics.is_there("other");
        assert_eq!(topics.turn("new").unwrap_err().code(), 429);
        topics.forget("other");
        assert!(topics.turn("new").unwrap().is_some());
    }

    #[tokio::test]
    async fn a_topic_that_is_being_made_holds_up_no_other() {
        let topics = Topics::new(4);
        let one = topics.turn("one").unwrap().unwrap();
        let _turn = one.lock().await;
        let other = topics.turn("other").unwrap().unwrap();
        assert!(other.try_lock().is_ok());
    }
}
