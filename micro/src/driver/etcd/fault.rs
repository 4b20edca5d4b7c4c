//! What became of a request, from etcd's words to errors.

use tonic::{Code, Status};

use crate::core::error::{Error, Retry};
use crate::driver::etcd::ERROR_ID;

/// Whether a request changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

impl Effect {
    /// Returns what a request without an answer leaves open.
    fn unanswered(self) -> Retry {
        match self {
            Self::Reads => Retry::Safe,
            Self::Writes => Retry::Unknown,
        }
    }
}

/// Makes the error of an answer that is none of success.
pub(super) fn error(what: &str, status: &Status, effect: Effect) -> Error {
    let text = status.message();
    let detail = format!("etcd, {what}: {}", text.escape_debug());
    match status.code() {
        // An answer that is longer than is read here; the question was answered.
        Code::OutOfRange if text.contains("message length") => Error::too_large(ERROR_ID, detail),
        Code::OutOfRange => Error::out_of_range(ERROR_ID, detail),
        Code::InvalidArgument if text.contains("too large") => Error::too_large(ERROR_ID, detail),
        Code::InvalidArgument => Error::bad_request(ERROR_ID, detail),
        Code::NotFound => Error::not_found(ERROR_ID, detail),
        Code::PermissionDenied => Error::forbidden(ERROR_ID, detail),
        Code::Unauthenticated => Error::unauthorized(ERROR_ID, detail),
        Code::FailedPrecondition => Error::precondition_failed(ERROR_ID, detail),
        Code::ResourceExhausted => {
            Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe)
        }
        Code::Unavailable if text.contains("no leader") => {
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
        }
        // Broken connections have several codes.
        _ => Error::unavailable(ERROR_ID, detail).with_retry(effect.unanswered()),
    }
}

/// Makes the error of an answer that did not come in time.
pub(super) fn late(what: &str, limit: std::time::Duration, effect: Effect) -> Error {
    let detail = format!("etcd did not answer {what} within {limit:?}");
    Error::unavailable(ERROR_ID, detail).with_retry(effect.unanswered())
}

/// Makes the error of a request that was not sent.
pub(super) fn unsent(detail: impl std::fmt::Display) -> Error {
    Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
}

/// Returns whether the server has answered, whatever it said.
pub(super) fn is_answer(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Ok
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

/// Returns whether the server wants another token; it did nothing.
pub(super) fn is_stale_token(status: &Status) -> bool {
    let text = status.message();
    status.code() == Code::Unauthenticated
        || text.contains("revision in header is old")
        // A request without a token, where there is access control since.
        || text.contains("user name is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_stale_where_the_server_wants_another() {
        for (code, text, is_stale) in [
            (Code::Unauthenticated, "etcdserver: invalid auth token", true),
            (Code::InvalidArgument, "etcdserver: revision in header is old", true),
            (Code::InvalidArgument, "etcdserver: user name is empty", true),
            (Code::InvalidArgument, "etcdserver: key is not provided", false),
            (Code::PermissionDenied, "etcdserver: permission denied", false),
        ] {
            assert_eq!(is_stale_token(&Status::new(code, text)), is_stale, "{text}");
        }
    }

    #[test]
    fn errors_say_whether_the_request_may_have_run() {
        let (reads, writes) = (Effect::Reads, Effect::Writes);
        for (code, text, effect, mapped, retry) in [
            (Code::Unavailable, "etcdserver: no leader", writes, 503, Retry::Safe),
            (Code::Unavailable, "etcdserver: request timed out", writes, 503, Retry::Unknown),
            (Code::Unknown, "transport error", writes, 503, Retry::Unknown),
            (Code::Unknown, "transport error", reads, 503, Retry::Safe),
            (Code::Internal, "h2 protocol error", writes, 503, Retry::Unknown),
            (Code::PermissionDenied, "etcdserver: permission denied", writes, 403, Retry::Never),
            (Code::InvalidArgument, "etcdserver: request is too large", writes, 413, Retry::Never),
            (Code::ResourceExhausted, "database space exceeded", writes, 429, Retry::Safe),
            (Code::OutOfRange, "required revision has been compacted", reads, 416, Retry::Never),
            (Code::OutOfRange, "decoded message length too large", reads, 413, Retry::Never),
        ] {
            let error = error("a question", &Status::new(code, text), effect);
            assert_eq!((error.code(), error.retry()), (mapped, retry), "{code} {text}");
        }
    }
}
