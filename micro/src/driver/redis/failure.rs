//! What errors of the server and of its connections mean to a caller.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::core::error::{Error, Retry};
use crate::driver::redis::ERROR_ID;
use crate::driver::server_url::Server;

/// How the detail of an error begins whose script the server does not have.
const NO_SCRIPT: &str = "the server has no such script";

/// How the detail of an error begins whose group or stream the server does not have.
const NO_GROUP: &str = "the server has no such group";

/// Makes the error of a command that was sent.
pub(super) fn of(what: &str, error: &RedisError) -> Error {
    let code = error.code().unwrap_or_default();
    let made = match (error.kind(), code) {
        (ErrorKind::Server(ServerErrorKind::NoScript), _) => {
            Error::precondition_failed(ERROR_ID, format!("{NO_SCRIPT}: {what}"))
        }
        (_, "NOGROUP") => Error::precondition_failed(ERROR_ID, format!("{NO_GROUP}: {what}")),
        // Refused before anything ran.
        (_, "LOADING" | "MASTERDOWN" | "READONLY" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY")
        | (_, "MISCONF" | "NOREPLICAS" | "UNBLOCKED") => {
            let detail = format!("{what}: redis takes no commands: {error}");
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
        }
        (_, "OOM") => {
            let detail = format!("{what}: redis has reached its `maxmemory`");
            Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe)
        }
        (_, "NOAUTH" | "WRONGPASS") | (ErrorKind::AuthenticationFailed, _) => {
            Error::unauthorized(ERROR_ID, format!("{what}: redis refuses user or password"))
        }
        (_, "NOPERM") => Error::forbidden(ERROR_ID, format!("{what}: redis forbids it: {error}")),
        (ErrorKind::Io, _) => {
            Error::unavailable(ERROR_ID, format!("{what}: the connection to redis broke: {error}"))
        }
        _ => Error::internal(ERROR_ID, format!("{what}: redis refuses: {error}")),
    };
    made.with_source(error.clone())
}

/// Makes the error of a command that was sent and has no answer.
pub(super) fn late(what: &str, server: &Server, waited: Duration) -> Error {
    let detail = format!("{what}: no answer from redis at {server} within {waited:?}");
    Error::unavailable(ERROR_ID, detail)
}

/// Tells whether the server lacks a script.
pub(super) fn is_no_script(error: &Error) -> bool {
    error.id() == ERROR_ID && error.detail().starts_with(NO_SCRIPT)
}

/// Tells whether the server lacks a stream or a group of its consumers.
pub(crate) fn is_no_group(error: &Error) -> bool {
    error.id() == ERROR_ID && error.detail().starts_with(NO_GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str) -> Error {
        of("read", &redis::make_extension_error(code.to_owned(), Some("why".to_owned())))
    }

    #[test]
    fn what_was_refused_unrun_is_safe_to_repeat_and_what_broke_is_not() {
        for code in ["LOADING", "READONLY", "MISCONF", "OOM", "BUSY"] {
            assert_eq!(answered(code).retry(), Retry::Safe, "{code}");
        }
        for (code, status) in [("NOPERM", 403), ("WRONGPASS", 401), ("WRONGTYPE", 500)] {
            assert_eq!((answered(code).code(), answered(code).retry()), (status, Retry::Never));
        }
        let broken = of("read", &std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        assert_eq!((broken.code(), broken.retry()), (503, Retry::Unknown));
        let server = Server::new("h", 1);
        assert_eq!(late("read", &server, Duration::from_secs(5)).retry(), Retry::Unknown);
        assert!(is_no_group(&answered("NOGROUP")) && !is_no_group(&broken));
    }
}
