//! Errors of the client as those of this crate.

use std::error::Error as StdError;
use std::fmt;

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::context;

use crate::core::error::{Error, Retry};

/// What a client's error says of the request that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Nobody listens to the subject, or JetStream is off: nothing was done.
    NobodyListens,
    /// It may have been done.
    NoAnswer,
    /// The message is longer than the server takes.
    TooLarge,
    /// The server or the client refused it.
    Refused,
}

impl Fault {
    /// Makes the error of a request; `what` says in words what was asked for.
    pub(crate) fn error(
        self,
        id: &'static str,
        what: impl fmt::Display,
        source: impl StdError + Send + Sync + 'static,
    ) -> Error {
        let detail = format!("{what}: {source}");
        let error = match self {
            Self::NobodyListens => Error::unavailable(id, detail).with_retry(Retry::Safe),
            Self::NoAnswer => Error::unavailable(id, detail).with_retry(Retry::Unknown),
            Self::TooLarge => Error::too_large(id, detail),
            Self::Refused => Error::internal(id, detail),
        };
        error.with_source(source)
    }
}

impl From<RequestErrorKind> for Fault {
    fn from(kind: RequestErrorKind) -> Self {
        match kind {
            RequestErrorKind::NoResponders => Self::NobodyListens,
            RequestErrorKind::MaxPayloadExceeded => Self::TooLarge,
            RequestErrorKind::InvalidSubject => Self::Refused,
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Self::NoAnswer,
        }
    }
}

impl From<PublishErrorKind> for Fault {
    fn from(kind: PublishErrorKind) -> Self {
        match kind {
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            PublishErrorKind::InvalidSubject => Self::Refused,
            PublishErrorKind::Send => Self::NoAnswer,
        }
    }
}

impl From<context::PublishErrorKind> for Fault {
    fn from(kind: context::PublishErrorKind) -> Self {
        match kind {
            context::PublishErrorKind::StreamNotFound => Self::NobodyListens,
            context::PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            context::PublishErrorKind::TimedOut
            | context::PublishErrorKind::BrokenPipe
            | context::PublishErrorKind::MaxAckPending => Self::NoAnswer,
            context::PublishErrorKind::WrongLastMessageId
            | context::PublishErrorKind::WrongLastSequence
            | context::PublishErrorKind::Other => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_run_is_not_safe_to_repeat() {
        let of = |kind: RequestErrorKind| {
            let source = async_nats::client::RequestError::new(kind);
            Fault::from(kind).error("t", "reading", source)
        };
        let error = of(RequestErrorKind::TimedOut);
        assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
        let error = of(RequestErrorKind::NoResponders);
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
        let error = of(RequestErrorKind::MaxPayloadExceeded);
        assert_eq!((error.code(), error.retry()), (413, Retry::Never));
        assert!(error.detail().starts_with("reading: "), "{error}");
    }
}
