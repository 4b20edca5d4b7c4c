//! Failures of the client as those of this crate.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Kafka};

use crate::core::error::{Error, Retry};

use super::ID;

/// Returns what became of a message that the client took; `what` says what was asked for.
pub(super) fn of_delivery(what: &str, error: &KafkaError) -> Error {
    known(what, error).unwrap_or_else(|| {
        let retry = match code(error) {
            // It was never sent: the topic is gone, or the client ended before.
            Some(Kafka::UnknownTopic | Kafka::UnknownTopicOrPartition | Kafka::PurgeQueue) => {
                Retry::Safe
            }
            _ => Retry::Unknown,
        };
        Error::unavailable(ID, format!("{what}: {error}")).with_retry(retry)
    })
}

/// Returns why something was not begun.
pub(super) fn before(what: &str, error: &KafkaError) -> Error {
    known(what, error).unwrap_or_else(|| {
        Error::unavailable(ID, format!("{what}: {error}")).with_retry(Retry::Safe)
    })
}

/// Returns what the library says, whatever was asked for.
fn code(error: &KafkaError) -> Option<Kafka> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Returns the failure that no other try would change.
fn known(what: &str, error: &KafkaError) -> Option<Error> {
    let text = || format!("{what}: {error}");
    Some(match code(error)? {
        Kafka::MessageSizeTooLarge | Kafka::InvalidMessageSize | Kafka::MessageBatchTooLarge => {
            Error::too_large(ID, text())
        }
        Kafka::TopicAuthorizationFailed
        | Kafka::GroupAuthorizationFailed
        | Kafka::ClusterAuthorizationFailed => Error::forbidden(ID, text()),
        Kafka::InvalidTopic
        | Kafka::InvalidPartitions
        | Kafka::InvalidReplicationFactor
        | Kafka::PolicyViolation => Error::precondition_failed(ID, text()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_written_is_unknown() {
        for (code, wanted) in [
            (Kafka::MessageTimedOut, (503, Retry::Unknown)),
            (Kafka::PurgeInflight, (503, Retry::Unknown)),
            (Kafka::Fatal, (503, Retry::Unknown)),
            (Kafka::PurgeQueue, (503, Retry::Safe)),
            (Kafka::UnknownTopicOrPartition, (503, Retry::Safe)),
            (Kafka::MessageSizeTooLarge, (413, Retry::Never)),
            (Kafka::TopicAuthorizationFailed, (403, Retry::Never)),
            (Kafka::PolicyViolation, (412, Retry::Never)),
        ] {
            let error = of_delivery("publish to t", &KafkaError::MessageProduction(code));
            assert_eq!((error.code(), error.retry()), wanted, "{code:?}");
        }
        let refused = before("make t", &KafkaError::AdminOp(Kafka::PolicyViolation));
        assert_eq!((refused.code(), refused.retry()), (412, Retry::Never));
        let full = before("publish to t", &KafkaError::MessageProduction(Kafka::QueueFull));
        assert_eq!((full.code(), full.retry()), (503, Retry::Safe));
    }
}
