//! An error as the trailers of a call, and back.
//!
//! `grpc-message` is the text for people, `grpc-status-details-bin` a `google.rpc.Status` of the same
//! text whose first detail is go-micro's `errors.Error`: its clients take that before they look at
//! the text, and every other client shows the text as it is.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;

use crate::codec::grpc::STATUS;
use crate::codec::grpc::base64;
use crate::codec::grpc::detail::Status;
use crate::codec::grpc::percent;
use crate::core::error::{Error, Result, Retry};
use crate::core::status::Code;

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const MICRO_RETRY: HeaderName = HeaderName::from_static("micro-retry");

/// Bytes of the text of an error; more is cut off, since clients take 8 KiB of headers in all.
const TEXT_BYTES_MAX: usize = 1024;

/// Bytes of the details; where a payload makes them longer it is left out.
const DETAILS_BYTES_MAX: usize = 3 * 1024;

/// Bytes of details that are read: no peer sends as many in headers that pass their own limit.
const DETAILS_READ_BYTES_MAX: usize = 64 * 1024;

/// Writes how a call failed.
pub(crate) fn write(error: &Error, headers: &mut HeaderMap) {
    headers.insert(STATUS, HeaderValue::from(u16::from(error.kind().number())));
    let text = if error.detail().is_empty() { error.status() } else { error.detail() };
    let text = cut(text, TEXT_BYTES_MAX);
    put(headers, MESSAGE, percent::encode(text));
    let mut details = Status::of(error, text);
    if details.encoded_len() > DETAILS_BYTES_MAX {
        details = details.without_payload();
    }
    put(headers, DETAILS, base64::encode(&details.encode_to_vec()));
    if error.retry() == Retry::Safe {
        headers.insert(MICRO_RETRY, HeaderValue::from_static("safe"));
    }
    if let Some(delay) = error.retry_after() {
        put(headers, PUSHBACK, delay.as_millis().to_string());
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Both encodings leave nothing that a header cannot carry.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// Reads how a call ended; `None` when the headers do not say.
///
/// An error of a go-micro server is what it says of itself, be it in the details or as JSON in the
/// text; one of any other server has the code of its status and no id.
pub(crate) fn read(headers: &HeaderMap) -> Option<Result<()>> {
    let status = headers.get(STATUS)?;
    if status == "0" {
        return Some(Ok(()));
    }
    let number = status.to_str().ok().and_then(|text| text.parse().ok());
    let code = Code::from_number(number.unwrap_or(u8::MAX));
    // A status that is no number may be anything but a success.
    let code = if code == Code::Ok { Code::Unknown } else { code };
    Some(Err(retry(failure(code, headers), headers)))
}

fn failure(code: Code, headers: &HeaderMap) -> Error {
    let text = headers.get(MESSAGE).map(|value| percent::decode(value.as_bytes()));
    let text = text.unwrap_or_default();
    let details = headers.get(DETAILS).filter(|value| value.len() <= DETAILS_READ_BYTES_MAX);
    let details = details.and_then(|value| base64::decode(value.as_bytes()));
    let status = details.and_then(|bytes| Status::decode(bytes.as_slice()).ok());
    let error = match status.as_ref().and_then(Status::failure) {
        Some(failure) => {
            let own = u16::try_from(failure.code).ok().filter(|code| *code != 0);
            Error::new(failure.id, own.unwrap_or(code.code()), failure.detail)
        }
        None => parsed(code, text),
    };
    match status.as_ref().and_then(Status::payload) {
        Some(payload) => error.with_details(&payload),
        None => error,
    }
}

/// Reads the text of an error, which may be go-micro's JSON.
fn parsed(code: Code, text: String) -> Error {
    if text.starts_with('{') {
        let error = Error::parse(&text);
        // Anything else that begins like it has become the detail, as it came.
        if error.detail() != text {
            return error;
        }
    }
    Error::new("", code.code(), text)
}

fn retry(error: Error, headers: &HeaderMap) -> Error {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let error = match text(MICRO_RETRY) {
        Some("safe") => error.with_retry(Retry::Safe),
        _ => error,
    };
    match text(PUSHBACK).and_then(|text| text.parse().ok()) {
        Some(millis) => error.with_retry_after(Duration::from_millis(millis)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(error: &Error) -> Error {
        let mut headers = HeaderMap::new();
        write(error, &mut headers);
        read(&headers).unwrap().unwrap_err()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn every_code_travels_as_the_number_of_its_grpc_code() {
        for code in Code::all().filter(|code| *code != Code::Ok) {
            let error = Error::new("shop.Orders.Read", code.code(), "why");
            let mut written = HeaderMap::new();
            write(&error, &mut written);
            assert_eq!(written[STATUS], code.number().to_string());
            let read = read(&written).unwrap().unwrap_err();
            assert_eq!((read.code(), read.id()), (error.code(), error.id()));
            assert_eq!(read.retry(), error.retry());
            // Without details the number alone tells as much.
            written.remove(DETAILS);
            assert_eq!(super::read(&written).unwrap().unwrap_err().kind(), code);
        }
    }

    #[test]
    fn codes_beyond_the_seventeen_survive_between_us() {
        for (code, number) in [(413, "8"), (405, "12"), (502, "14"), (504, "4"), (200, "2")] {
            let mut written = HeaderMap::new();
            write(&Error::new("a", code, "b"), &mut written);
            assert_eq!(written[STATUS], number, "{code}");
            assert_eq!(read(&written).unwrap().unwrap_err().code(), code);
        }
    }

    #[test]
    fn text_payload_and_verdict_travel() {
        let error = Error::too_many_requests("a", "100% \u{fc}ber\nzwei")
            .with_details(&vec![1, 2])
            .with_retry(Retry::Safe)
            .with_retry_after(Duration::from_millis(1500));
        let read = round_trip(&error);
        assert_eq!(read.detail(), error.detail());
        assert_eq!(read.details::<Vec<u8>>().unwrap(), [1, 2]);
        assert_eq!(read.retry(), Retry::Safe);
        assert_eq!(read.retry_after(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn the_text_and_the_message_of_the_details_are_the_same() {
        let error = Error::internal("a", "\u{fc}".repeat(4000));
        let mut written = HeaderMap::new();
        write(&error, &mut written);
        let bytes = base64::decode(written[DETAILS].as_bytes()).unwrap();
        let details = Status::decode(bytes.as_slice()).unwrap();
        assert_eq!(details.message, percent::decode(written[MESSAGE].as_bytes()));
        assert_eq!(details.message.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn trailers_stay_within_what_clients_take() {
        for payload in [10, 1000, 100_000] {
            let error = Error::internal("a".repeat(512), "\u{fc}".repeat(4000))
                .with_details(&"x".repeat(payload));
            let mut written = HeaderMap::new();
            write(&error, &mut written);
            let bytes: usize = written.iter().map(|(k, v)| k.as_str().len() + v.len() + 32).sum();
            assert!(bytes < 8 * 1024, "{bytes}");
            let kept = read(&written).unwrap().unwrap_err().details::<String>();
            assert_eq!(kept.is_some(), payload == 10, "{payload}");
        }
    }

    #[test]
    fn the_json_of_a_go_micro_server_without_details_is_read() {
        let text = r#"{"id":"go.micro.srv","code":404,"detail":"gone","status":"Not Found"}"#;
        let error = read(&headers(&[(STATUS, "2"), ("grpc-message", text)])).unwrap().unwrap_err();
        assert_eq!((error.id(), error.code(), error.detail()), ("go.micro.srv", 404, "gone"));
        let other = r#"{"a": 1}"#;
        let error = read(&headers(&[(STATUS, "5"), ("grpc-message", other)])).unwrap().unwrap_err();
        assert_eq!((error.code(), error.detail()), (404, other));
    }

    #[test]
    fn what_is_no_success_is_an_error_and_garbage_is_unknown() {
        assert!(read(&HeaderMap::new()).is_none());
        assert!(read(&headers(&[(STATUS, "0")])).unwrap().is_ok());
        for status in ["", "00", "17", "-1", "256", "x"] {
            let error = read(&headers(&[(STATUS, status)])).unwrap().unwrap_err();
            assert_eq!(error.kind(), Code::Unknown, "{status}");
        }
        let broken = headers(&[(STATUS, "5"), ("grpc-status-details-bin", "not base64!")]);
        assert_eq!(read(&broken).unwrap().unwrap_err().code(), 404);
    }
}
