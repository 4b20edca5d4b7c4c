//! The headers of an answer, which carry its success or failure.

use http::HeaderMap;

use crate::codec::envelope::Envelope;
use crate::core::error::{Error, Retry};
use crate::core::metadata::is_secret;
use crate::server::http::mucp::Asked;
use crate::transport::mucp::headers::Headers;
use crate::transport::mucp::response::{RETRY, said};

/// Names that are not repeated: what belongs to a connection, to a body, to browsers. What looks
/// like a credential is not repeated either. Sorted.
const UNREPEATED: [&str; 27] = [
    "alt-svc",
    "clear-site-data",
    "connection",
    "cookie",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "link",
    "location",
    "nel",
    "origin",
    "proxy-authenticate",
    "proxy-connection",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
];

/// Beginnings of such names.
const UNREPEATED_PREFIXES: [&str; 8] = [
    "accept-",
    "access-control-",
    "cache-",
    "content-",
    "cross-origin-",
    "grpc-",
    "sec-",
    "x-frame-",
];

/// Why a call failed, as it is said to the caller.
#[derive(Debug)]
pub(super) struct Failure {
    /// What `Micro-Error` says.
    pub(super) text: String,
    pub(super) code: u16,
    pub(super) grpc: u8,
    safe: bool,
}

impl Failure {
    /// Makes the failure of what go-micro has words for.
    pub(super) fn words(text: String, error: &Error) -> Self {
        Self { text, ..Self::from(error) }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            text: said(error),
            code: error.code(),
            grpc: error.kind().number(),
            safe: error.retry() == Retry::Safe,
        }
    }
}

/// Repeats what a request said.
pub(super) fn repeated(request: &HeaderMap) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in request {
        let name = name.as_str();
        let hidden = UNREPEATED.binary_search(&name).is_ok()
            || UNREPEATED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || is_secret(name);
        if !hidden {
            headers.add(name, value.as_bytes());
        }
    }
    headers
}

/// Adds what every answer says of its call.
pub(super) fn label(headers: &mut Headers, asked: &Asked) {
    headers.set("Content-Type", asked.content_type.as_str());
    for (name, value) in [
        ("Micro-Endpoint", &asked.endpoint),
        ("Micro-Id", &asked.id),
        ("Micro-Method", &asked.endpoint),
        ("Micro-Service", &asked.service),
    ] {
        if !value.is_empty() {
            headers.set(name, value);
        }
    }
}

/// Adds what the answer of a call that went well says.
pub(super) fn success(headers: &mut Headers, asked: &Asked) {
    if !asked.id.is_empty() {
        headers.set("X-Micro-Id", &asked.id);
    }
    if asked.form.envelope == Envelope::Grpc {
        headers.set("Grpc-Status", "0");
    }
}

/// Adds what a message of a stream says.
pub(super) fn item(headers: &mut Headers, asked: &Asked) {
    success(headers, asked);
    headers.set("X-Micro-Endpoint", &asked.endpoint);
    headers.set("X-Micro-Method", &asked.endpoint);
    headers.set("X-Micro-Service", &asked.service);
}

/// Adds why a call failed.
pub(super) fn failure(headers: &mut Headers, asked: &Asked, failure: &Failure) {
    ended(headers, &failure.text);
    if failure.safe {
        headers.set(RETRY, "safe");
    }
    if asked.form.envelope == Envelope::Grpc {
        headers.set("Grpc-Status", &failure.grpc.to_string());
        headers.set("Grpc-Message", &escaped(&failure.text));
    }
}

/// Adds what ends a stream, well or not.
pub(super) fn ended(headers: &mut Headers, text: &str) {
    headers.set("Micro-Error", text);
    headers.set("X-Micro-Error", text);
}

/// Escapes a message for a header as gRPC does.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn neither_credentials_nor_what_belongs_to_the_connection_is_repeated() {
        let mut request = HeaderMap::new();
        for name in [
            "accept",
            "authorization",
            "cookie",
            "foo-bar",
            "proxy-authorization",
            "x-auth-token",
            "set-cookie",
            "access-control-allow-origin",
            "transfer-encoding",
            "content-length",
            "connection",
            "te",
            "host",
            "micro-id",
            "timeout",
            "user-agent",
        ] {
            request.insert(name, HeaderValue::from_static("v"));
        }
        let repeated = repeated(&request);
        let names: Vec<_> = repeated.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Accept", "Foo-Bar", "Micro-Id", "Timeout", "User-Agent"]);
    }

    #[test]
    fn the_names_are_sorted() {
        assert!(UNREPEATED.is_sorted());
    }

    #[test]
    fn a_message_of_grpc_has_no_bytes_that_a_header_has_not() {
        assert_eq!(escaped("a b%\n\u{e4}"), "a b%25%0A%C3%A4");
    }
}
