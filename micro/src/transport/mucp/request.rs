//! What a call says in the headers of its request.

use std::fmt::Write;

use crate::codec::envelope::{Envelope, Form, Id, Label};
use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::Result;
use crate::core::exchange::{Extra, Head};
use crate::core::metadata::Metadata;
use crate::transport::mucp::headers::Headers;
use crate::transport::mucp::write::{AGENT, GRPC_AGENT};

/// Names that say how a message travels: metadata must not.
const FRAMING: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "timeout",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A call on its way to a node of go-micro.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) headers: Headers,
    pub(super) agent: &'static str,
    pub(super) form: Form,
    pub(super) label: Label,
    /// What errors name: `service.Type.Method`.
    pub(super) id: String,
}

impl Request {
    /// Writes the headers of a call with the number it gets.
    pub(super) fn new(head: &Head<'_>, form: Form, number: u64) -> Self {
        let (route, kind) = (head.route, head.route.kind());
        let (service, endpoint) = (route.service(), route.endpoint());
        let number = number.to_string();
        let mut headers = Headers::default();
        if let Some(extra) = &head.extra {
            add(extra, &mut headers);
        }
        let content_type = form.content_type();
        headers.set("Accept", content_type.as_str());
        headers.set("Content-Type", content_type.as_str());
        headers.set("Micro-Endpoint", endpoint);
        headers.set("Micro-Id", &number);
        headers.set("Micro-Method", endpoint);
        headers.set("Micro-Service", service);
        if kind.streams_requests() || kind.streams_responses() {
            headers.set("Micro-Stream", &number);
        }
        // A stream of responses outlives the deadline, by which it only has to begin; go-micro's
        // server would end it then.
        if let Some(deadline) = head.deadline.filter(|_| !kind.streams_responses()) {
            let nanos = clock::remaining(head.now, deadline).as_nanos().max(1);
            headers.set("Timeout", &nanos.to_string());
        }
        let grpc = form.envelope == Envelope::Grpc;
        if grpc {
            headers.set("Te", "trailers");
        }
        Self {
            headers,
            agent: if grpc { GRPC_AGENT } else { AGENT },
            label: Label::new(&**endpoint, Id::Text(number)),
            form,
            id: format!("{service}.{endpoint}"),
        }
    }

    /// Puts a message into the envelope.
    pub(super) fn seal(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(message.len() + 1);
        self.form.seal_request(&self.label, message, &mut out)?;
        Ok(out)
    }
}

/// Returns the form in which a node of go-micro gets a message: in the envelope that was asked for.
pub(super) fn form(envelope: Envelope, message: &ContentType) -> Form {
    Form::new(envelope, message.clone()).around(message)
}

/// Returns whether a call of this kind needs a connection of its own.
pub(super) fn is_stream(kind: CallKind) -> bool {
    kind.streams_requests() || kind.streams_responses()
}

fn add(extra: &Extra, headers: &mut Headers) {
    for (key, value) in &extra.metadata {
        if FRAMING.binary_search(&key).is_err() && !key.starts_with("micro-") {
            headers.set(key, value);
        }
    }
    if let Some(trace) = &extra.trace {
        headers.set("traceparent", &trace.to_string());
    }
    if !extra.persistent.is_empty() {
        headers.set("baggage", &baggage(&extra.persistent));
    }
    if let Some(credentials) = extra.headers.get("authorization") {
        headers.set("authorization", credentials);
    }
}

/// Writes persistent metadata as W3C baggage.
fn baggage(metadata: &Metadata) -> String {
    let mut out = String::new();
    for (key, value) in metadata {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(key);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_graphic() && !b"\",;\\%".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _written = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exchange::Route;
    use crate::core::trace::Trace;
    use std::time::Duration;

    fn request(kind: CallKind, extra: Extra) -> Request {
        let route = Route::new("greeter", "Greeter.Hello", kind);
        let now = clock::now();
        let mut head = Head::new(&route, now, ContentType::Json);
        head.deadline = Some(clock::after(now, Duration::from_secs(5)));
        head.extra = Some(Box::new(extra));
        Request::new(&head, form(Envelope::Bare, &ContentType::Json), 7)
    }

    #[tokio::test(start_paused = true)]
    async fn metadata_trace_baggage_and_credentials_travel_as_headers() {
        let mut extra = Extra { trace: Trace::from_parts(1, 2, 1), ..Extra::default() };
        for (key, value) in [("foo-bar", "baz"), ("host", "x"), ("micro-id", "x"), ("te", "x")] {
            extra.metadata.insert(key, value).unwrap();
        }
        extra.persistent.insert("user", "a b%").unwrap();
        extra.persistent.insert("zone", "1").unwrap();
        extra.headers.insert("authorization", "Bearer t").unwrap();
        extra.headers.insert("cookie", "secret").unwrap();
        let headers = request(CallKind::Unary, extra).headers;
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "Accept",
                "Authorization",
                "Baggage",
                "Content-Type",
                "Foo-Bar",
                "Micro-Endpoint",
                "Micro-Id",
                "Micro-Method",
                "Micro-Service",
                "Timeout",
                "Traceparent",
            ]
        );
        assert_eq!(headers.get("Baggage"), Some("user=a%20b%25,zone=1"));
        assert_eq!(headers.get("Micro-Id"), Some("7"));
        assert_eq!(headers.get("Timeout"), Some("5000000000"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_responses_says_no_deadline_that_would_end_it() {
        for (kind, stream, timeout) in [
            (CallKind::Unary, None, Some("5000000000")),
            (CallKind::ClientStream, Some("7"), Some("5000000000")),
            (CallKind::ServerStream, Some("7"), None),
            (CallKind::Bidi, Some("7"), None),
        ] {
            let headers = request(kind, Extra::default()).headers;
            let said = (headers.get("Micro-Stream"), headers.get("Timeout"));
            assert_eq!(said, (stream, timeout), "{kind:?}");
        }
    }

    #[test]
    fn the_names_of_framing_are_sorted() {
        assert!(FRAMING.is_sorted());
    }
}
