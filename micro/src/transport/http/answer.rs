//! A response as the answer of a call.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::response::Parts;
use hyper::body::{Body, Incoming};

use crate::codec::sequence::{NDJSON, Next, Row, Splitter};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Line;
use crate::core::limits::{ERROR_DOCUMENT_BYTES_MAX, Limits};
use crate::transport::http::body::{Fault, too_large};
use crate::transport::http::lane::broken;

/// Reads a whole body.
///
/// # Errors
/// 413 past `bytes_max`, 503 when it breaks off.
pub(super) async fn whole(body: &mut Incoming, bytes_max: usize, fault: &Fault) -> Result<Bytes> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > bytes_max {
        return Err(too_large(bytes_max));
    }
    let Some(first) = data(body, fault).await? else { return Ok(Bytes::new()) };
    if first.len() <= bytes_max && body.is_end_stream() {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    // Progress: each turn reads a frame.
    while all.len() <= bytes_max {
        match data(body, fault).await? {
            Some(next) => all.extend_from_slice(&next),
            None => return Ok(all.freeze()),
        }
    }
    Err(too_large(bytes_max))
}

/// Waits for the next bytes of a body.
async fn data(body: &mut Incoming, fault: &Fault) -> Result<Option<Bytes>> {
    // Progress: each turn takes a frame, and only trailers go on.
    loop {
        let frame = std::future::poll_fn(|task| Pin::new(&mut *body).poll_frame(task)).await;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(fault, error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads a response that is no success as the error it tells.
pub(super) async fn failure(parts: &Parts, body: &mut Incoming, limits: &Limits) -> Error {
    let read = whole(body, ERROR_DOCUMENT_BYTES_MAX, &Fault::default()).await;
    let text = String::from_utf8_lossy(&read.unwrap_or_default()).into_owned();
    let error = told(parts.status.as_u16(), &text);
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let error = match header("micro-retry") {
        Some("safe") => error.with_retry(Retry::Safe),
        _ => error,
    };
    let hint = header(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
    match hint.map(Duration::from_secs) {
        Some(hint) => error.with_retry_after(hint.min(limits.retry.hint_max)),
        None => error,
    }
}

/// Reads the error of a status and a text; one that is nobody's document has the status as its code.
fn told(status: u16, text: &str) -> Error {
    let told = Error::parse(text);
    let is_document =
        text.trim_start().starts_with('{') && (!told.id().is_empty() || told.code() != 500);
    match status {
        _ if is_document => told,
        400..=599 => Error::new("micro.transport", status, told.detail()),
        _ => {
            let detail = format!("the node answered with the status {status}, which is no answer");
            Error::new("micro.transport", 502, detail)
        }
    }
}

/// Checks that a message is in the format that was asked for.
pub(super) fn check_type(parts: &Parts, asked: &ContentType) -> Result<()> {
    let given = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match given.map(ContentType::parse) {
        Some(given) if given != *asked => Err(unexpected(given.as_str(), asked.as_str())),
        _ => Ok(()),
    }
}

/// Checks that a stream is framed as was asked for.
pub(super) fn check_row(parts: &Parts, asked: Row) -> Result<()> {
    let given = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = ContentType::parse(given.unwrap_or_default());
    let row = if given.as_str() == NDJSON { Some(Row::Lines) } else { Row::of(&given) };
    if row == Some(asked) {
        return Ok(());
    }
    Err(unexpected(given.as_str(), asked.content_type()))
}

#[cold]
fn unexpected(given: &str, asked: &str) -> Error {
    let given = given.escape_debug();
    let detail = format!("the node answered in `{given}` where {asked} was asked for");
    Error::new("micro.transport", 502, detail)
}

/// Hands the messages of a body to the caller as they come.
///
/// # Errors
/// The failure that the stream ends with, 413 for a message past `bytes_max`, 503 when it breaks
/// off.
pub(super) async fn relay(
    body: &mut Incoming,
    (row, bytes_max): (Row, usize),
    fault: &Fault,
    line: &mut Line,
) -> Result<()> {
    let mut splitter = Splitter::new(row, bytes_max);
    let mut ended = false;
    // What may be the failure, which is the last there is: a message may look like one.
    let mut last: Option<(Bytes, Error)> = None;
    // Progress: each turn takes a message or a frame, or ends.
    loop {
        match splitter.next(ended) {
            Next::Message(message) => {
                if let Some((before, _)) = last.take() {
                    line.push(before).await?;
                }
                match row.failure(&message) {
                    Some(failure) => last = Some((message, failure)),
                    None => line.push(message).await?,
                }
            }
            Next::TooLarge => return Err(too_large(bytes_max)),
            Next::Broken => {
                let detail = "the stream ended within a message";
                return Err(Error::unavailable("micro.transport", detail));
            }
            Next::More if ended => return last.map_or(Ok(()), |(_, failure)| Err(failure)),
            Next::More => match data(body, fault).await? {
                Some(data) => splitter.push(&data),
                None => ended = true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_what_its_document_says_and_else_what_the_status_says() {
        let document = Error::conflict("shop.Orders.Place", "sold out").to_json();
        for (status, text, code, detail) in [
            (409, document.as_str(), 409, "sold out"),
            // The code of the document is finer than the status it came with.
            (504, r#"{"id":"a","code":408,"detail":"late","status":""}"#, 408, "late"),
            (503, "<html>busy</html>", 503, "<html>busy</html>"),
            (404, "", 404, ""),
            (500, r#"{"message":"other"}"#, 500, r#"{"message":"other"}"#),
            (302, "", 502, "the node answered with the status 302, which is no answer"),
        ] {
            let error = told(status, text);
            assert_eq!((error.code(), error.detail()), (code, detail), "{status} {text}");
        }
        assert_eq!(told(503, "").retry(), Retry::Unknown);
        assert_eq!(told(404, "").retry(), Retry::Never);
    }
}
