//! What became of a request, from the server's words to errors.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use crate::core::error::{Error, Retry};

use super::ERROR_ID;

/// Whether a request may be repeated when its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Running it again changes nothing more.
    Once,
    Repeated,
}

impl Effect {
    /// Returns what a request without an answer leaves open.
    fn unanswered(self) -> Retry {
        match self {
            Self::Once => Retry::Safe,
            Self::Repeated => Retry::Unknown,
        }
    }
}

/// Makes the error of an answer that is none of success.
pub(super) fn error(what: &str, status: &Status, effect: Effect) -> Error {
    let text = status.message();
    let detail = format!("pubsub, {what}: {}", text.escape_debug());
    match status.code() {
        // An answer that is longer than is read here.
        Code::OutOfRange if text.contains("message length") => Error::too_large(ERROR_ID, detail),
        Code::OutOfRange | Code::InvalidArgument => Error::bad_request(ERROR_ID, detail),
        Code::NotFound => Error::not_found(ERROR_ID, detail),
        Code::AlreadyExists => Error::conflict(ERROR_ID, detail),
        Code::PermissionDenied => Error::forbidden(ERROR_ID, detail),
        Code::Unauthenticated => Error::unauthorized(ERROR_ID, detail),
        Code::FailedPrecondition => Error::precondition_failed(ERROR_ID, detail),
        Code::Unimplemented => Error::unimplemented(ERROR_ID, detail),
        // A quota: nothing was done.
        Code::ResourceExhausted => {
            Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe)
        }
        _ if never_connected(status) => unsent(detail),
        // Broken connections have several codes.
        _ => Error::unavailable(ERROR_ID, detail).with_retry(effect.unanswered()),
    }
}

/// Returns whether the request failed because no connection could be made for it.
fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        let refused = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::HostUnreachable
                    | std::io::ErrorKind::NetworkUnreachable
            )
        };
        if error.downcast_ref::<std::io::Error>().is_some_and(refused) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Makes the error of an answer that did not come in time.
pub(super) fn late(what: &str, limit: Duration, effect: Effect) -> Error {
    let detail = format!("pubsub did not answer {what} within {limit:?}");
    Error::unavailable(ERROR_ID, detail).with_retry(effect.unanswered())
}

/// Makes the error of a request that was not sent.
pub(super) fn unsent(detail: impl fmt::Display) -> Error {
    Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
}

/// Returns whether the server has answered, whatever it said.
pub(super) fn is_answer(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Ok
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_the_request_may_have_run() {
        let (once, repeated) = (Effect::Once, Effect::Repeated);
        for (code, text, effect, mapped, retry) in [
            (Code::Unavailable, "transport error", repeated, 503, Retry::Unknown),
            (Code::Unavailable, "transport error", once, 503, Retry::Safe),
            (Code::DeadlineExceeded, "too late", repeated, 503, Retry::Unknown),
            (Code::Internal, "h2 protocol error", repeated, 503, Retry::Unknown),
            (Code::Aborted, "try again", once, 503, Retry::Safe),
            (Code::NotFound, "Topic not found", repeated, 404, Retry::Never),
            (Code::AlreadyExists, "Topic already exists", once, 409, Retry::Never),
            (Code::PermissionDenied, "not authorized", repeated, 403, Retry::Never),
            (Code::Unauthenticated, "who are you", repeated, 401, Retry::Never),
            (Code::InvalidArgument, "some messages are empty", repeated, 400, Retry::Never),
            (Code::ResourceExhausted, "quota exceeded", repeated, 429, Retry::Safe),
            (Code::OutOfRange, "decoded message length too large", once, 413, Retry::Never),
        ] {
            let error = error("a question", &Status::new(code, text), effect);
            assert_eq!((error.code(), error.retry()), (mapped, retry), "{code} {text}");
        }
    }

    #[test]
    fn a_refused_connection_carried_nothing() {
        for (kind, retry) in [
            (std::io::ErrorKind::ConnectionRefused, Retry::Safe),
            (std::io::ErrorKind::ConnectionReset, Retry::Unknown),
        ] {
            let status = Status::from_error(Box::new(std::io::Error::from(kind)));
            assert_eq!(error("publish", &status, Effect::Repeated).retry(), retry, "{kind}");
        }
    }
}
