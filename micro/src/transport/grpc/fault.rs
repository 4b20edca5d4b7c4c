//! What it means for a call that HTTP/2, or the server's HTTP, failed.

use std::error::Error as StdError;

use h2::Reason;
use http::StatusCode;

use crate::core::error::{Error, Retry};

const ID: &str = "micro.transport";

/// Makes the error of a call whose connection or stream failed.
pub(super) fn broken(error: hyper::Error) -> Error {
    let reset = find(&error).map(|found| (found.reason(), found.is_go_away(), found.is_remote()));
    let told = match reset {
        // Of a goaway that names no fault only those streams learn which the server did not take.
        Some((Some(Reason::NO_ERROR), true, true)) => {
            Error::unavailable(ID, "the node is about to stop").with_retry(Retry::Safe)
        }
        Some((Some(reason), false, true)) => reset_by(reason),
        _ => Error::unavailable(ID, "the connection ended before the answer"),
    };
    told.with_source(error)
}

/// Makes the error of a request that was never sent.
pub(super) fn unsent(error: hyper::Error) -> Error {
    let detail = "the connection ended before the request was sent";
    Error::unavailable(ID, detail).with_retry(Retry::Safe).with_source(error)
}

/// Finds what HTTP/2 says below an error.
fn find(error: &hyper::Error) -> Option<&h2::Error> {
    let causes = std::iter::successors(error.source(), |cause| StdError::source(*cause));
    // Causes are few; the bound is against ones that name themselves.
    causes.take(8).find_map(|cause| cause.downcast_ref())
}

/// Makes the error of a stream that the server reset, as gRPC maps it.
fn reset_by(reason: Reason) -> Error {
    match reason {
        Reason::REFUSED_STREAM => {
            Error::unavailable(ID, "the node refused the call").with_retry(Retry::Safe)
        }
        Reason::CANCEL => Error::cancelled(ID, "the node gave up the call"),
        Reason::ENHANCE_YOUR_CALM => {
            Error::too_many_requests(ID, "the node has too much of this connection")
        }
        Reason::INADEQUATE_SECURITY => {
            Error::forbidden(ID, "the node does not take the security of the connection")
        }
        reason => Error::internal(ID, format!("the node reset the call: {reason}")),
    }
}

/// Makes the error of a response that is not gRPC's, as gRPC maps its status.
pub(super) fn status(status: StatusCode) -> Error {
    let detail = format!("the node answered HTTP {status} without a status of gRPC");
    let code = match status.as_u16() {
        400 => 500,
        401 => 401,
        403 => 403,
        404 => 501,
        429 | 502 | 503 | 504 => 503,
        _ => 520,
    };
    Error::new(ID, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_means_what_grpc_says_and_a_refusal_is_safe() {
        for (reason, code, retry) in [
            (Reason::REFUSED_STREAM, 503, Retry::Safe),
            (Reason::CANCEL, 499, Retry::Never),
            (Reason::ENHANCE_YOUR_CALM, 429, Retry::Never),
            (Reason::INADEQUATE_SECURITY, 403, Retry::Never),
            (Reason::PROTOCOL_ERROR, 500, Retry::Never),
            (Reason::INTERNAL_ERROR, 500, Retry::Never),
        ] {
            let error = reset_by(reason);
            assert_eq!((error.code(), error.retry()), (code, retry), "{reason}");
        }
    }

    #[test]
    fn the_status_of_http_is_mapped_as_grpc_says() {
        for (http, code) in [(400, 500), (401, 401), (403, 403), (404, 501), (429, 503), (502, 503)]
        {
            assert_eq!(status(StatusCode::from_u16(http).unwrap()).code(), code, "{http}");
        }
        assert_eq!(status(StatusCode::OK).code(), 520);
        assert_eq!(status(StatusCode::IM_A_TEAPOT).code(), 520);
    }
}
