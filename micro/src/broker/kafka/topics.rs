//! Topics: that they are there before something is published to them or read from them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaRespErr;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};

use super::client::{Shared, end_elsewhere, log};
use super::{ID, failure};

/// How long one answer of a server may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// How long until a topic that was made is looked at again.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The topics that are known to be there.
pub(super) struct Topics {
    /// More topics are a 429.
    most: usize,
    known: Mutex<HashSet<String>>,
    /// One is looked at or made at a time.
    making: tokio::sync::Mutex<()>,
}

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
        Self { most, known: Mutex::default(), making: tokio::sync::Mutex::default() }
    }

    /// Sees to it that a topic is there.
    ///
    /// # Errors
    /// 503, safe to repeat, if it is not by the deadline; what the servers refuse for good.
    pub(super) async fn ensure(
        &self,
        shared: &Arc<Shared>,
        topic: &str,
        deadline: Instant,
    ) -> Result<()> {
        if self.known().contains(topic) {
            return Ok(());
        }
        let late = || {
            let text = format!("the topic {topic} is not there in time");
            Error::unavailable(ID, text).with_retry(Retry::Safe)
        };
        let Ok(_turn) = clock::timeout_at(deadline, self.making.lock()).await else {
            return Err(late());
        };
        if self.known().contains(topic) {
            return Ok(());
        }
        if self.known().len() >= self.most {
            let text =
                format!("topic {topic}: the topics of a broker are limited to {}", self.most);
            return Err(Error::too_many_requests(ID, text));
        }
        let made = clock::timeout_at(deadline, make_sure(shared, topic)).await;
        made.map_err(|_elapsed| late())??;
        self.known().insert(topic.to_owned());
        Ok(())
    }

    /// Forgets a topic that is gone.
    pub(super) fn forget(&self, topic: &str) {
        self.known().remove(topic);
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
