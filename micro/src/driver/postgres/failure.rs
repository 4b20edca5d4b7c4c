//! Errors of the server and of the connection as errors of the crate.

use tokio_postgres::error::SqlState;

use crate::core::error::{Error, Retry};

use super::ERROR_ID;

/// Makes the error of a statement: `sent` tells whether it may have been run.
///
/// An answer that is an error means that the statement was rolled back.
pub(super) fn of(error: tokio_postgres::Error, sent: Retry) -> Error {
    let Some(answer) = error.as_db_error() else {
        let detail = format!("the connection to PostgreSQL failed: {}", text(&error));
        return Error::unavailable(ERROR_ID, detail).with_retry(sent).with_source(error);
    };
    let detail = format!("PostgreSQL: {}", answer.message());
    let class = answer.code().code().get(..2).unwrap_or_default();
    let made = match class {
        // Serialization, resources, an operator's interference, a node that only reads.
        "08" | "25" | "40" | "53" | "55" | "57" | "58" => {
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
        }
        "28" => Error::forbidden(ERROR_ID, detail),
        "42" if *answer.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
            Error::forbidden(ERROR_ID, detail)
        }
        // Tables that were removed are made again with the next connection, and plans that are
        // outdated.
        "0A" | "26" | "3F" | "42" => Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe),
        "22" => Error::bad_request(ERROR_ID, detail),
        _ => Error::internal(ERROR_ID, detail),
    };
    made.with_source(error)
}

/// Returns whether the tables, or what was prepared, are not what they were: only another
/// connection helps.
pub(super) fn is_outdated(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map_or("", |code| code.code());
    let refused = code == SqlState::INSUFFICIENT_PRIVILEGE.code();
    // A cached plan that cannot be used any more, or a read-only node, is of the classes 0A and 25.
    matches!(code.get(..2), Some("0A" | "25" | "26" | "3F" | "42")) && !refused
}

/// Returns an error with its cause as a person reads it; neither holds the password.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {}", cause.to_string().replace('\n', " ")),
        None => error.to_string(),
    }
}
