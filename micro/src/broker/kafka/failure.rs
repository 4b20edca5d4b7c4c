//! Failures of the client as those of this crate.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Kafka};

use crate::core::error::{Error, Retry};

use super::ID;

/// Returns what became of a message that the client took; `what` says what was asked for.
pub(super) fn of_delivery(what: &str, error: &KafkaError) -> Error {
    known(what, error).unwrap_or_else(|| {
        let retry = match code(error) {
            // No server took it: the topic is gone.
            Some(Kafka::UnknownTopic | Kafka::UnknownTopicOrPartition) => Retry::Safe,
            // Even what waits to be sent when the client ends may have been sent before.
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
        // Not the number of copies: it is refused as well while too few servers are there.
        Kafka::InvalidTopic | Kafka::InvalidPartitions | Kafka::PolicyViolation => {
            Error::precondition_failed(ID, text())
        }
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
            (Kafka::PurgeQueue, (503, Retry::Unknown)),
            (Kafka::UnknownTopic, (503, Retry::Safe)),
            (Kafka::UnknownTopicOrPartition, (503, Retry::Safe)),
            (Kafka::MessageSizeTooLarge, (413, Retry::Never)),
            (Kafka::TopicAuthorizationFailed, (403, Retry::Never)),
            (Kafka::PolicyViolation, (412, Retry::Never)),
        ] {
            let error = of_delivery("publish to t", &KafkaError::MessageProduction(code));
            assert_eq!((error.code(), error.retry()), wanted, "{code:?}");
        }
    }

    #[test]
    fn a_refusal_that_passes_is_safe_to_repeat() {
        for (code, wanted) in [
            (Kafka::InvalidReplicationFactor, (503, Retry::Safe)),
            (Kafka::NotController, (503, Retry::Safe)),
            (Kafka::InvalidPartitions, (412, Retry::Never)),
            (Kafka::PolicyViolation, (412, Retry::Never)),
        ] {
            let error = before("make t", &KafkaError::AdminOp(code));
            assert_eq!((error.code(), error.retry()), wanted, "{code:?}");
        }
        let full = before("publish to t", &KafkaError::MessageProduction(Kafka::QueueFull));
        assert_eq!((full.code(), full.retry()), (503, Retry::Safe));
    }
}
