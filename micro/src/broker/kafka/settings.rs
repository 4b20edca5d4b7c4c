//! What the clients of a broker are set to. Each queue of theirs has its limit here.

use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::core::limits::Limits;
use crate::driver::Server;

use super::config::KafkaConfig;

/// Messages that wait to be sent, of all topics. More are a 503 that is safe to repeat.
pub(super) const QUEUED_MESSAGES_MAX: usize = 10_000;

/// KiB of the messages that wait to be sent. As above.
pub(super) const QUEUED_KIBS_MAX: usize = 64 * 1024;

/// Messages of each partition that a subscription has fetched ahead.
const FETCHED_MESSAGES: usize = 1000;

/// How long a subscription waits to fetch more when it has fetched enough: by default a second,
/// which quick handlers would spend idle.
const FETCH_PAUSE: Duration = Duration::from_millis(20);

/// How often settled messages are told to the servers.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// How soon a member learns that its group has changed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a group waits for a member that does not come back to it. Subscriptions never let that
/// long pass: handlers run elsewhere.
const REJOIN_PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer of a server may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long making a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The first and the longest pause before a connection is tried again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often topics are looked at for more partitions.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// What the clients of a broker are set to.
#[derive(Clone)]
pub(super) struct Settings {
    common: ClientConfig,
    /// How long a message may wait until the servers have it.
    message_timeout: Duration,
    session_timeout: Duration,
    fetched_bytes_max: usize,
    message_bytes_max: usize,
}

impl Settings {
    pub(super) fn new(server: &Server, config: &KafkaConfig, limits: &Limits) -> Self {
        let mut common = ClientConfig::new();
        let hosts: Vec<_> = server.addresses().collect();
        common
            .set("bootstrap.servers", hosts.join(","))
            .set("client.id", "micro")
            .set("message.max.bytes", config.message_bytes_max.to_string())
            .set("reconnect.backoff.ms", millis(RECONNECT.0))
            .set("reconnect.backoff.max.ms", millis(RECONNECT.1))
            .set("retry.backoff.ms", millis(RECONNECT.0))
            .set("retry.backoff.max.ms", millis(RECONNECT.1))
            .set("socket.timeout.ms", millis(ANSWER_PATIENCE))
            .set("socket.connection.setup.timeout.ms", millis(CONNECT_PATIENCE))
            .set("socket.keepalive.enable", "true")
            .set("enable.metrics.push", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        if let Some(user) = server.user() {
            let password = server.password().map(|password| password.expose().as_str());
            common
                .set("security.protocol", "sasl_plaintext")
                .set("sasl.mechanism", "PLAIN")
                .set("sasl.username", user)
                .set("sasl.password", password.unwrap_or_default());
        }
        Self {
            common,
            message_timeout: limits.call.default_timeout,
            session_timeout: config.session_timeout,
            fetched_bytes_max: limits.broker.pending_bytes_max,
            message_bytes_max: config.message_bytes_max,
        }
    }

    /// Returns what publishes: confirmed by all copies in sync, each message once and in order.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.common.clone();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // What waits while others are under way goes together; nothing waits for company.
            .set("linger.ms", "0")
            .set("sticky.partitioning.linger.ms", "0")
            // As most clients choose: by the key, or at random.
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", QUEUED_MESSAGES_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUED_KIBS_MAX.to_string())
            .set("message.timeout.ms", millis(self.message_timeout))
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Returns what makes topics, or has a server make them that can only do it by itself.
    pub(super) fn maker(&self) -> ClientConfig {
        let mut config = self.common.clone();
        config.set("allow.auto.create.topics", "true");
        config
    }

    /// Returns what subscribes: as a member of a group, or alone under a name that nobody else has.
    pub(super) fn consumer(&self, group: &str, is_member: bool) -> ClientConfig {
        let mut config = self.common.clone();
        let fetch_bytes = self.fetched_bytes_max.max(self.message_bytes_max);
        let kibs = self.fetched_bytes_max.div_ceil(1024).clamp(1, 2_000_000);
        config
            .set("group.id", group)
            // Committed is what is stored, and stored is what is settled with all before it.
            .set("enable.auto.commit", if is_member { "true" } else { "false" })
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", millis(COMMIT_INTERVAL))
            // A partition without an offset was added after the group was made, or has lost what
            // the group had not read.
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", millis(self.session_timeout))
            .set("heartbeat.interval.ms", millis(HEARTBEAT))
            .set("max.poll.interval.ms", millis(REJOIN_PATIENCE.max(self.session_timeout)))
            .set("partition.assignment.strategy", "range")
            .set("topic.metadata.refresh.interval.ms", millis(REFRESH_INTERVAL))
            .set("queued.min.messages", FETCHED_MESSAGES.to_string())
            .set("queued.max.messages.kbytes", kibs.to_string())
            .set("fetch.queue.backoff.ms", millis(FETCH_PAUSE))
            .set("fetch.max.bytes", fetch_bytes.min(1_000_000_000).to_string());
        config
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::client::DefaultClientContext;
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    use super::*;

    #[test]
    fn nothing_is_committed_that_was_not_settled_or_without_a_queue() {
        let server = Server::new("127.0.0.1", 1);
        let settings = Settings::new(&server, &KafkaConfig::default(), &Limits::DEFAULT);
        for (is_member, wanted) in [(true, "true"), (false, "false")] {
            let config = settings.consumer("q:t", is_member);
            assert_eq!(config.get("enable.auto.commit"), Some(wanted));
            assert_eq!(config.get("enable.auto.offset.store"), Some("false"));
        }
    }

    #[test]
    fn every_setting_is_known_to_the_library() {
        let server = Server::new("127.0.0.1", 1).with_user("ada", "secret");
        let longest = KafkaConfig::default().with_message_bytes_max(1_000_000_000);
        for config in [KafkaConfig::default(), longest.clone()] {
            let settings = Settings::new(&server, &config, &Limits::DEFAULT);
            settings.producer().create::<BaseProducer>().unwrap();
            let maker = settings.maker();
            maker.create::<rdkafka::admin::AdminClient<DefaultClientContext>>().unwrap();
            for is_member in [true, false] {
                settings.consumer("q:t", is_member).create::<BaseConsumer>().unwrap();
            }
        }
    }
}
