//! The client that publishes, and what is known of the servers.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    ThreadedProducer,
};
use tokio::sync::{oneshot, watch};

use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::Limits;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::driver::{Link, Server};

use super::ID;
use super::config::KafkaConfig;
use super::failure;
use super::settings::Settings;

/// How long one question whether the servers are there may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// The topic that such a question names: all topics of a cluster are a long answer. It need not be
/// there, and is not made.
const PROBE_TOPIC: &str = "micro-probe";

/// The first and the longest pause between such questions.
const PROBE_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

pub(super) type Producer = ThreadedProducer<Watching>;

/// The client of a process for the servers of one cluster, which several brokers may share.
///
/// It connects by itself and tries on for as long as it is held.
pub struct KafkaClient {
    pub(super) shared: Arc<Shared>,
    server: Server,
    life: Shutdown,
}

/// What outlives the handle for as long as something is under way.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) config: KafkaConfig,
    health: watch::Sender<Health>,
    producer: RwLock<Option<Producer>>,
}

/// What the last signs of the servers were.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Up,
    /// With the reason, if the servers refuse the user.
    Down(Option<String>),
    /// The client has given up its order of messages and is to be replaced.
    Fatal,
}

impl KafkaClient {
    /// Makes a client, without I/O; its tasks belong to `tasks`.
    ///
    /// # Errors
    /// 412 for settings that no server takes, or that the library refuses.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn open(
        server: &Server,
        config: KafkaConfig,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        config.check()?;
        let settings = Settings::new(server, &config, limits);
        let health = watch::Sender::new(Health::Down(None));
        let shared = Shared { settings, config, health, producer: RwLock::new(None) };
        shared.renew()?;
        let (shared, life) = (Arc::new(shared), Shutdown::new());
        // Not awaited: it ends with the handle.
        tasks.spawn("broker.kafka.client", keep(Arc::downgrade(&shared), life.clone())).detach();
        Ok(Self { shared, server: server.clone(), life })
    }
}

impl Shared {
    /// Makes the producer, anew if there is one.
    fn renew(&self) -> Result<()> {
        let made = Producer::from_config_and_context(&self.settings.producer(), self.watching());
        let made = made.map_err(|error| {
            Error::precondition_failed(ID, format!("cannot make a client: {error}"))
        })?;
        let mut producer = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        let old = producer.replace(made);
        drop(producer);
        if let Some(old) = old {
            end_elsewhere(old);
        }
        Ok(())
    }

    /// Returns the producer, for a thread that may wait: it may be the last to hold it.
    pub(super) fn producer(&self) -> Option<Producer> {
        self.read().clone()
    }

    /// Hands a message to the producer; what comes of it is told later.
    pub(super) fn send(
        &self,
        topic: &str,
        key: Option<&str>,
        value: &[u8],
    ) -> Result<oneshot::Receiver<KafkaResult<()>>> {
        let what = || format!("publish to {topic}");
        let (told, outcome) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(topic, Box::new(told)).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        let producer = self.read();
        let Some(producer) = &*producer else {
            return Err(Error::unavailable(ID, what()).with_retry(Retry::Safe));
        };
        match producer.send(record) {
            Ok(()) => Ok(outcome),
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                    self.health.send_replace(Health::Fatal);
                }
                Err(failure::before(&what(), &error))
            }
        }
    }

    /// Waits until the servers are there.
    ///
    /// # Errors
    /// 503, safe to repeat, if they are not by the deadline; `what` says what was asked for.
    pub(super) async fn up(&self, what: &str, deadline: Instant) -> Result<()> {
        let mut health = self.health.subscribe();
        let up = health.wait_for(|health| *health == Health::Up);
        if let Ok(Ok(_)) = clock::timeout_at(deadline, up).await {
            return Ok(());
        }
        let text = match &*self.health.borrow() {
            Health::Down(Some(reason)) => {
                format!(
                    "{what}: the servers refuse the user: {reason}; check the user and password"
                )
            }
            _ => format!("{what}: no server answers"),
        };
        Err(Error::unavailable(ID, text).with_retry(Retry::Safe))
    }

    /// Notes that something went unanswered.
    pub(super) fn doubt(&self) {
        set_down(&self.health);
    }

    /// Returns what hears of the servers for another client.
    pub(super) fn watching(&self) -> Watching {
        Watching(self.health.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Producer>> {
        self.producer.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the servers while they are away, and replaces a client that has failed for good.
async fn keep(shared: Weak<Shared>, life: Shutdown) {
    let mut backoff = Backoff::new(PROBE_PAUSE.0, PROBE_PAUSE.1);
    // Progress: each turn waits for a change of health, asks, or pauses; the end of the client
    // ends it.
    loop {
        let Some(mut health) = shared.upgrade().map(|shared| shared.health.subscribe()) else {
            return;
        };
        let current = health.borrow_and_update().clone();
        let step = async {
            match current {
                Health::Up => {
                    backoff.reset();
                    let _gone = health.changed().await.is_err();
                }
                Health::Down(_) => {
                    if !ask(&shared).await {
                        clock::sleep(backoff.next_delay()).await;
                    }
                }
                Health::Fatal => {
                    replace(&shared);
                    clock::sleep(backoff.next_delay()).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = life.closed() => return,
            () = step => {}
        }
    }
}

/// Asks the servers who they are, in a thread that may wait.
async fn ask(shared: &Weak<Shared>) -> bool {
    let Some(shared) = shared.upgrade() else { return false };
    let asked = tokio::task::spawn_blocking(move || {
        let Some(producer) = shared.producer() else { return false };
        // That there is no such topic, or that it is not for this user, is an answer.
        let is_up = producer.client().fetch_metadata(Some(PROBE_TOPIC), PROBE_PATIENCE).is_ok();
        if is_up {
            shared.health.send_if_modified(|health| {
                let was_down = matches!(health, Health::Down(_));
                if was_down {
                    *health = Health::Up;
                }
                was_down
            });
        }
        is_up
    });
    asked.await.unwrap_or_default()
}

fn replace(shared: &Weak<Shared>) {
    let Some(shared) = shared.upgrade() else { return };
    match shared.renew() {
        Ok(()) => {
            tracing::warn!("the client of kafka had failed for good and is replaced");
            shared.health.send_replace(Health::Down(None));
        }
        Err(error) => tracing::error!(%error, "the client of kafka has failed for good"),
    }
}

fn set_down(health: &watch::Sender<Health>) {
    health.send_if_modified(|health| {
        let was_up = *health == Health::Up;
        if was_up {
            *health = Health::Down(None);
        }
        was_up
    });
}

/// Tells whether a failure is that the servers refuse the user.
fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::UnsupportedSASLMechanism
        )
    )
}

/// Drops what may take its time to end in a thread of its own.
pub(super) fn end_elsewhere<T: Send + 'static>(ending: T) {
    let thread = std::thread::Builder::new().name("kafka-end".to_owned());
    if let Err(error) = thread.spawn(move || drop(ending)) {
        tracing::warn!(%error, "no thread to end a client of kafka in: it ended in its place");
    }
}

impl Link for KafkaClient {
    fn vendor(&self) -> &'static str {
        "kafka"
    }

    fn is_up(&self) -> bool {
        *self.shared.health.borrow() == Health::Up
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        self.life.close();
        let mut producer = self.shared.producer.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = producer.take() {
            end_elsewhere(producer);
        }
    }
}

impl fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaClient")
            .field("server", &self.server)
            .field("health", &*self.shared.health.borrow())
            .finish_non_exhaustive()
    }
}

/// Hears of the servers, and tells what came of a producer's messages.
pub(super) struct Watching(watch::Sender<Health>);

impl Watching {
    /// Notes that the servers refuse the user, if this failure says so.
    pub(super) fn note_refusal(&self, error: &KafkaError, reason: &str) {
        if !is_refusal(error) {
            return;
        }
        let is_first = self.0.send_if_modified(|health| {
            let was_unknown = matches!(health, Health::Up | Health::Down(None));
            if was_unknown {
                *health = Health::Down(Some(reason.to_owned()));
            }
            was_unknown
        });
        // Each connection that is tried is refused: once is enough.
        if is_first {
            tracing::warn!(reason, "kafka refuses the user");
        }
    }
}

impl ClientContext for Watching {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => {
                tracing::error!(reason, "the client of kafka fails for good");
                self.0.send_replace(Health::Fatal);
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => set_down(&self.0),
            _ => {
                self.note_refusal(&error, reason);
                tracing::debug!(%error, reason, "kafka");
            }
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Watching {
    type DeliveryOpaque = Box<oneshot::Sender<KafkaResult<()>>>;

    fn delivery(&self, outcome: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
        let outcome = match outcome {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever published may have gone.
        let _unheard = told.send(outcome).is_err();
    }
}

/// Writes what the library logs.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "librdkafka: {text}");
        }
        // A server that is away is said by whoever asks for it.
        _ => tracing::debug!(facility, "librdkafka: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_who_is_refused_is_named_until_the_servers_answer() {
        let (config, health) = (KafkaConfig::default(), watch::Sender::new(Health::Down(None)));
        let settings = Settings::new(&Server::new("127.0.0.1", 1), &config, &Limits::DEFAULT);
        let shared = Shared { settings, config, health, producer: RwLock::new(None) };
        let up = || shared.up("publish to t", clock::now());
        let away = up().await.unwrap_err();
        assert!(away.detail().ends_with("no server answers"), "{away}");
        shared.health.send_replace(Health::Up);
        let watching = shared.watching();
        watching.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "gone");
        up().await.unwrap();
        watching.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "no such user");
        watching.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "all are down");
        let refused = up().await.unwrap_err();
        assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe));
        assert!(refused.detail().contains("refuse the user: no such user"), "{refused}");
        shared.health.send_replace(Health::Up);
        shared.doubt();
        let away = up().await.unwrap_err();
        assert!(away.detail().ends_with("no server answers"), "{away}");
    }
}
