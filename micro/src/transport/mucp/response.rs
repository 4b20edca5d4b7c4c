//! What a node of go-micro answers.
//!
//! Nothing is taken for granted: a peer may number its answers wrongly, echo headers of other
//! requests, leave any of them out, or answer in words.

use bytes::Bytes;

use crate::codec::envelope::Form;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::ERROR_DETAIL_BYTES_MAX;
use crate::transport::mucp::ID;
use crate::transport::mucp::headers::Headers;
use crate::transport::mucp::request::Request;

/// What ends a stream.
pub(crate) const END: &str = "EOS";

/// The header that says that no handler saw the request.
pub(crate) const RETRY: &str = "Micro-Retry";

/// The status of every answer, good or bad.
const OK: u16 = 200;

/// How an answer begins that go-micro gives in words.
const UNSUPPORTED: &str = "Unsupported Content-Type";

/// Bytes of an error in a header, twice of which fit a head.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the detail of an error that is longer.
const SHORT_DETAIL_BYTES: usize = 1024;

/// Writes an error for a header: its JSON, without what makes it too long for one.
pub(crate) fn said(error: &Error) -> String {
    let json = error.to_json();
    if json.len() <= ERROR_BYTES_MAX {
        return json;
    }
    let detail: String = error.detail().chars().take(SHORT_DETAIL_BYTES).collect();
    Error::new(error.id().to_owned(), error.code(), detail).to_json()
}

/// What one answer says.
#[derive(Debug)]
pub(super) enum Said {
    Message(Bytes),
    /// The stream has ended well.
    End,
    Failed(Error),
}

/// Reads an answer to a request.
pub(super) fn read(status: u16, headers: &Headers, body: &Bytes, request: &Request) -> Said {
    if let Some(text) = headers.micro("Micro-Error") {
        if text == END {
            return Said::End;
        }
        return Said::Failed(failed(text, headers, request));
    }
    if status != OK {
        return Said::Failed(refused(status, body, request));
    }
    message(headers, body, request).map_or_else(Said::Failed, Said::Message)
}

/// Returns whether another request may follow on the connection of an answer.
pub(super) fn may_follow(status: u16, headers: &Headers) -> bool {
    let closes = |value: &str| value.to_ascii_lowercase().contains("close");
    status == OK
        && headers.micro("Micro-Error").is_none()
        && !headers.get("Connection").is_some_and(closes)
}

fn failed(text: &str, headers: &Headers, request: &Request) -> Error {
    let error = named(text, request);
    match headers.get(RETRY) {
        Some("safe") => error.with_retry(Retry::Safe),
        _ => error,
    }
}

/// Reads an error: JSON, or words, of which go-micro has some for what it does not know.
fn named(text: &str, request: &Request) -> Error {
    let code = if text.starts_with("rpc: can't find ") {
        404
    } else if text.starts_with("rpc: service/endpoint request ill-formed") {
        400
    } else {
        let error = Error::parse(text);
        return if error.id().is_empty() { error.with_id(request.id.clone()) } else { error };
    };
    Error::new(request.id.clone(), code, text)
}

/// Makes the error of an answer whose status is not the one there is.
fn refused(status: u16, body: &Bytes, request: &Request) -> Error {
    let said = Error::parse(&words(body));
    if !said.id().is_empty() {
        return said;
    }
    let code = if (400..600).contains(&status) { status } else { 500 };
    let detail = match said.detail() {
        "" => format!("the node answers with the status {status}"),
        words => format!("the node answers with the status {status}: {words}"),
    };
    Error::new(request.id.clone(), code, detail)
}

fn words(body: &Bytes) -> String {
    let start = body.get(..ERROR_DETAIL_BYTES_MAX).unwrap_or(body);
    String::from_utf8_lossy(start).into_owned()
}

fn message(headers: &Headers, body: &Bytes, request: &Request) -> Result<Bytes> {
    let form = match headers.get("Content-Type") {
        None | Some("") => request.form.clone(),
        Some(name) => answered_in(&ContentType::parse(name), body, request)?,
    };
    let (label, message) = form.open_response(body).map_err(|error| {
        Error::internal(ID, format!("the answer is malformed: {}", error.detail()))
            .with_retry(Retry::Unknown)
            .with_source(error)
    })?;
    match label.error {
        Some(text) => Err(named(&text, request)),
        None => Ok(message),
    }
}

/// Checks the encoding of an answer.
fn answered_in(content_type: &ContentType, body: &Bytes, request: &Request) -> Result<Form> {
    let form = Form::of(content_type);
    if form.message == request.form.message {
        return Ok(form);
    }
    let asked = request.form.content_type();
    // A peer that knows only the old form echoes the encoding and answers in its envelope.
    if *content_type == ContentType::Text {
        let words = words(body);
        let code = if words.starts_with(UNSUPPORTED) { 415 } else { 500 };
        let detail = format!("the node answers a call in {asked} with words: {words}");
        return Err(Error::new(request.id.clone(), code, detail));
    }
    let given = content_type.as_str().escape_debug();
    let detail = format!("the node answers a call in {asked} with {given}");
    Err(Error::internal(request.id.clone(), detail).with_retry(Retry::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::envelope::Envelope;
    use crate::core::clock;
    use crate::core::descriptor::CallKind;
    use crate::core::exchange::{Head, Route};
    use crate::transport::mucp::request::form;

    fn request(envelope: Envelope, content_type: &ContentType) -> Request {
        let route = Route::new("greeter", "Greeter.Hello", CallKind::Unary);
        let head = Head::new(&route, clock::now(), content_type.clone());
        Request::new(&head, form(envelope, content_type), 0)
    }

    fn read(status: u16, headers: &[(&str, &str)], body: &'static str) -> Said {
        let mut map = Headers::default();
        for (name, value) in headers {
            map.set(name, value);
        }
        let request = request(Envelope::Bare, &ContentType::Json);
        super::read(status, &map, &Bytes::from_static(body.as_bytes()), &request)
    }

    fn error(said: Said) -> Error {
        match said {
            Said::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_come_as_json_and_in_words() {
        let json = r#"{"id":"greeter.Err","code":400,"detail":"bad x","status":"Bad Request"}"#;
        let said = error(read(200, &[("Micro-Error", json)], ""));
        assert_eq!((said.id(), said.code(), said.detail()), ("greeter.Err", 400, "bad x"));
        for (name, text, code) in [
            ("Micro-Error", "plain failure", 500),
            ("X-Micro-Error", "plain failure", 500),
            ("Micro-Error", "rpc: can't find method Nope", 404),
            ("Micro-Error", "rpc: can't find service Nope", 404),
            ("Micro-Error", "rpc: service/endpoint request ill-formed: Nope", 400),
        ] {
            let said = error(read(200, &[(name, text)], "ignored"));
            let expected = ("greeter.Greeter.Hello", code, text);
            assert_eq!((said.id(), said.code(), said.detail()), expected);
            assert_ne!(said.retry(), Retry::Safe);
        }
        let said = error(read(200, &[("Micro-Error", "busy"), ("Micro-Retry", "safe")], ""));
        assert_eq!(said.retry(), Retry::Safe);
        assert!(matches!(read(200, &[("Micro-Error", "EOS")], ""), Said::End));
    }

    #[test]
    fn another_status_than_200_is_an_error_whatever_the_body() {
        for (status, body, code, part) in [
            (404, "404 page not found", 404, "404 page not found"),
            (502, "", 502, "502"),
            (301, "", 500, "301"),
            (405, r#"{"id":"a","code":405,"detail":"b","status":"c"}"#, 405, "b"),
            (201, "{}", 500, "201"),
        ] {
            let said = error(read(status, &[], body));
            assert_eq!(said.code(), code, "{status}");
            assert!(said.detail().contains(part), "{said}");
        }
    }

    #[test]
    fn words_are_no_message_and_no_header_is_needed() {
        let text = ("Content-Type", "text/plain");
        let said = error(read(200, &[text], "Unsupported Content-Type: application/json"));
        assert_eq!(said.code(), 415);
        assert_eq!(error(read(200, &[text], "hello")).code(), 500);
        assert_eq!(error(read(200, &[("Content-Type", "application/xml")], "<a>")).code(), 500);
        for headers in [
            &[][..],
            &[("Content-Type", "")],
            &[("Content-Type", "application/json; charset=utf-8"), ("Micro-Id", "999")],
        ] {
            let Said::Message(body) = read(200, headers, "{}") else { panic!() };
            assert_eq!(body, "{}");
        }
    }

    #[test]
    fn an_envelope_may_carry_the_error() {
        let request = request(Envelope::JsonRpc, &ContentType::Json);
        let mut headers = Headers::default();
        headers.set("Content-Type", "application/json-rpc");
        let body = Bytes::from_static(br#"{"id":"0","result":null,"error":"boom"}"#);
        let said = error(super::read(200, &headers, &body, &request));
        assert_eq!((said.code(), said.detail()), (500, "boom"));
        let body = Bytes::from_static(b"{");
        assert_eq!(error(super::read(200, &headers, &body, &request)).retry(), Retry::Unknown);
    }

    #[test]
    fn the_longest_error_fits_a_header() {
        let worst = Error::internal("\u{1}".repeat(512), "\u{1}".repeat(ERROR_DETAIL_BYTES_MAX));
        for error in [worst.clone(), worst.with_details(&"x".repeat(40_000))] {
            assert!(said(&error).len() <= ERROR_BYTES_MAX);
            assert_eq!(Error::parse(&said(&error)).code(), 500);
        }
        let small = Error::conflict("a", "b").with_details(&7);
        assert_eq!(said(&small), small.to_json());
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut headers = Headers::default();
        assert!(may_follow(200, &headers) && !may_follow(404, &headers));
        headers.set("Connection", "Close");
        assert!(!may_follow(200, &headers));
        let mut headers = Headers::default();
        headers.set("X-Micro-Error", "a");
        assert!(!may_follow(200, &headers));
    }
}
