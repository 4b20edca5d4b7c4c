//! What a broker on Kafka is told.

use std::time::Duration;

use crate::config::parse_duration;
use crate::core::error::{Error, Result};
use crate::driver::ServerUrl;

/// The shortest and the longest time that a server lets a member be silent, by its own defaults.
const SESSION_RANGE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(1800));

/// The most partitions of a topic: each costs the servers files and the members memory.
const PARTITIONS_MAX: u16 = 1000;

/// What a broker on Kafka is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// Partitions of a topic that is made: 8, at most 1,000. As many members of a group share the
    /// messages of a topic. A topic that is there stays as it is.
    pub partitions: u16,
    /// Servers that hold a copy of a topic that is made; `None` leaves it to the servers.
    pub replicas: Option<u16>,
    /// Bytes of a message as it travels, 1,000,000: what servers take by default. The body is
    /// written in base64 and takes a third more. A longer message is a 413.
    pub message_bytes_max: usize,
    /// How long the servers wait for a member that is silent before others get its messages: 10 s,
    /// between 6 s and 30 min.
    pub session_timeout: Duration,
    /// The metadata whose value is the key of a message: messages with one key keep their order.
    /// Without it, or in a message without that metadata, there is no key.
    pub key: Option<String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            partitions: 8,
            replicas: None,
            message_bytes_max: 1_000_000,
            session_timeout: Duration::from_secs(10),
            key: None,
        }
    }
}

impl KafkaConfig {
    /// The port of a server whose URL names none.
    pub const PORT: u16 = 9092;

    /// Takes `partitions`, `replicas`, `message_bytes_max`, `session_timeout` and `key` out of a
    /// URL.
    ///
    /// # Errors
    /// 412 that names an option with a wrong value.
    pub fn take(url: &mut ServerUrl) -> Result<Self> {
        let mut config = Self::default();
        if let Some(partitions) = url.take_as("partitions")? {
            config.partitions = partitions;
        }
        config.replicas = url.take_as("replicas")?;
        if let Some(bytes) = url.take_as("message_bytes_max")? {
            config.message_bytes_max = bytes;
        }
        if let Some(timeout) = url.take("session_timeout") {
            let wrong = |why| refused(&format!("the option `session_timeout` of `kafka`: {why}"));
            config.session_timeout = parse_duration(&timeout).map_err(wrong)?;
        }
        config.key = url.take("key");
        config.check()?;
        Ok(config)
    }

    /// Makes topics with so many partitions.
    #[must_use]
    pub fn with_partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Takes messages of so many bytes.
    #[must_use]
    pub fn with_message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Has others get the messages of a member that was silent for so long.
    #[must_use]
    pub fn with_session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Keeps the order of messages with the same value of this metadata.
    #[must_use]
    pub fn with_key(mut self, metadata: impl Into<String>) -> Self {
        self.key = Some(metadata.into());
        self
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(refused("a topic has 1 to 1000 partitions"));
        }
        if self.replicas == Some(0) || self.replicas.is_some_and(|n| i16::try_from(n).is_err()) {
            return Err(refused("a topic has 1 to 32767 replicas"));
        }
        if !(1000..=1_000_000_000).contains(&self.message_bytes_max) {
            return Err(refused("a message has a limit of 1000 to 1000000000 bytes"));
        }
        if !(SESSION_RANGE.0..=SESSION_RANGE.1).contains(&self.session_timeout) {
            return Err(refused("a session times out after 6 s to 30 min"));
        }
        Ok(())
    }
}

fn refused(detail: &str) -> Error {
    Error::precondition_failed(super::ID, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(options: &str) -> Result<KafkaConfig> {
        let mut url = ServerUrl::parse(&format!("kafka://h?{options}"), KafkaConfig::PORT)?;
        let config = KafkaConfig::take(&mut url)?;
        url.finish_without_path("broker")?;
        Ok(config)
    }

    #[test]
    fn options_are_read_and_what_no_server_takes_is_refused() {
        assert_eq!(take("").unwrap(), KafkaConfig::default());
        let options = "partitions=1000&replicas=3&message_bytes_max=1000&session_timeout=6s&key=k";
        let config = take(options).unwrap();
        assert_eq!((config.partitions, config.replicas), (1000, Some(3)));
        assert_eq!((config.message_bytes_max, config.key.as_deref()), (1000, Some("k")));
        assert_eq!(config.session_timeout, Duration::from_secs(6));
        for wrong in [
            "partitions=0",
            "partitions=1001",
            "partitions=10000",
            "partitions=x",
            "replicas=0",
            "replicas=40000",
            "message_bytes_max=999",
            "message_bytes_max=1000000001",
            "session_timeout=5s",
            "session_timeout=31m",
            "session_timeout=soon",
            "acks=0",
        ] {
            assert_eq!(take(wrong).unwrap_err().code(), 412, "{wrong}");
        }
    }
}
