//! What is asked of the server beside messages: streams and consumers.

use std::error::Error as StdError;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, ConsumerError, ConsumerErrorKind, DiscardPolicy, LastRawMessageErrorKind,
    RetentionPolicy, StorageType,
};

use crate::core::error::{Error, Result, Retry};
use crate::driver::Nats;

use super::options::JetStreamOptions;
use super::place::Places;

/// How long a stream remembers the ids of messages, so that one that is sent again is not taken
/// twice: far longer than a publisher tries.
const DUPLICATES_WINDOW: Duration = Duration::from_secs(120);

/// How long the messages of a subscription without a queue are kept for it while it is away.
pub(super) const AWAY_MAX: Duration = Duration::from_secs(300);

/// Messages that one group has and has not settled, as far as the server knows, those that wait for
/// another delivery among them. It is what holds deliveries up when the server is slow to take in
/// what was settled: more would be delivered again before that.
const UNSETTLED_MAX: i64 = 4096;

const ID: &str = "micro.broker";

/// A consumer: how the server knows a group, or a subscription without one.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) stream: String,
    pub(super) name: String,
    pub(super) filter: String,
    pub(super) ack_wait: Duration,
    /// Whether it is of one subscription, and ends with it.
    pub(super) is_own: bool,
}

/// Makes the streams that are not there.
pub(super) async fn make_streams(
    nats: &Nats,
    places: &Places,
    options: &JetStreamOptions,
) -> Result<()> {
    let events = Config {
        name: places.events.clone(),
        subjects: vec![format!("{}.>", places.events)],
        description: Some("events: kept until each group has handled them".to_owned()),
        // A publisher learns that there is no room, instead of a group losing what it has not seen.
        retention: RetentionPolicy::Interest,
        discard: DiscardPolicy::New,
        ..common(options)
    };
    let dead = Config {
        name: places.dead.clone(),
        subjects: vec![format!("{}.>", places.dead)],
        description: Some("dead letters".to_owned()),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        ..common(options)
    };
    for config in [events, dead] {
        let jetstream = nats.jetstream().await?;
        let name = config.name.clone();
        let made = jetstream.get_or_create_stream(config).await;
        made.map_err(|error| stream_error(&name, &error))?;
    }
    Ok(())
}

fn common(options: &JetStreamOptions) -> Config {
    Config {
        storage: StorageType::File,
        num_replicas: options.replicas,
        max_bytes: i64::try_from(options.bytes_max).unwrap_or(i64::MAX),
        max_age: options.age_max,
        duplicate_window: DUPLICATES_WINDOW.min(options.age_max),
        ..Config::default()
    }
}

/// Makes a consumer, or finds the one that is there; `after` is the last message that it is known
/// to have had, and without it the consumer begins with what is published from now on.
pub(super) async fn make_consumer(nats: &Nats, consumer: &Consumer, after: u64) -> Result<()> {
    let begin = match after {
        0 => DeliverPolicy::New,
        after => DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) },
    };
    let config = pull::Config {
        durable_name: Some(consumer.name.clone()),
        deliver_policy: begin,
        ack_policy: AckPolicy::Explicit,
        ack_wait: consumer.ack_wait,
        // Deliveries are counted here, where the dead letter is written.
        max_deliver: -1,
        max_ack_pending: UNSETTLED_MAX,
        filter_subject: consumer.filter.clone(),
        inactive_threshold: if consumer.is_own { AWAY_MAX } else { Duration::ZERO },
        ..pull::Config::default()
    };
    let jetstream = nats.jetstream().await?;
    let made = jetstream.create_consumer_on_stream(config, &consumer.stream).await;
    let Err(error) = made else { return Ok(()) };
    // One that was made otherwise stays as it is.
    let there = jetstream
        .get_consumer_from_stream::<pull::Config, _, _>(&consumer.name, &consumer.stream)
        .await;
    match there {
        Ok(_) => Ok(()),
        Err(_) => Err(consumer_error(consumer, &error)),
    }
}

/// Tells whether a consumer is there.
pub(super) async fn has_consumer(nats: &Nats, consumer: &Consumer) -> Result<bool> {
    let jetstream = nats.jetstream().await?;
    let there = jetstream
        .get_consumer_from_stream::<pull::Config, _, _>(&consumer.name, &consumer.stream)
        .await;
    match there {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(said) if said.code() == 404 => Ok(false),
            _ => Err(consumer_error(consumer, &error)),
        },
    }
}

/// Removes a consumer.
pub(super) async fn remove_consumer(nats: &Nats, consumer: &Consumer) -> Result<()> {
    let jetstream = nats.jetstream().await?;
    let removed = jetstream.delete_consumer_from_stream(&consumer.name, &consumer.stream).await;
    removed.map(drop).map_err(|error| consumer_error(consumer, &error))
}

/// Returns the place of the last message of a subject in its stream, if there is one.
pub(super) async fn last_of(nats: &Nats, stream: &str, subject: &str) -> Result<Option<u64>> {
    let jetstream = nats.jetstream().await?;
    let stream_there = jetstream.get_stream_no_info(stream).await;
    let stream_there = stream_there.map_err(|error| away(&format!("stream {stream}"), &error))?;
    match stream_there.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(away(&format!("last message of {subject}"), &error)),
    }
}

fn stream_error(name: &str, error: &CreateStreamError) -> Error {
    let what = format!("stream {name}");
    match error.kind() {
        CreateStreamErrorKind::JetStream(said) => refused(&what, said.code(), error),
        CreateStreamErrorKind::JetStreamUnavailable => {
            away(&format!("{what}: no answer: is JetStream enabled?"), error)
        }
        _ => away(&what, error),
    }
}

fn consumer_error(consumer: &Consumer, error: &ConsumerError) -> Error {
    let what = format!("consumer {} of stream {}", consumer.name, consumer.stream);
    match error.kind() {
        ConsumerErrorKind::JetStream(said) => refused(&what, said.code(), error),
        _ => away(&what, error),
    }
}

/// An answer of the server: its codes are those of HTTP.
fn refused(what: &str, code: usize, error: &dyn StdError) -> Error {
    let text = format!("{what}: {error}");
    match code {
        // A stream that is not there is made again by whoever asks again.
        404 | 500.. => Error::unavailable(ID, text).with_retry(Retry::Safe),
        _ => Error::precondition_failed(ID, text),
    }
}

/// Making and finding are safe to repeat, whether they were done or not.
fn away(what: &str, error: &dyn StdError) -> Error {
    Error::unavailable(ID, format!("{what}: {error}")).with_retry(Retry::Safe)
}
