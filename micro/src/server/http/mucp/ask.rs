//! What makes a request one of go-micro's, and what it asks for.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, Request};

use crate::codec::envelope::{Envelope, Form};
use crate::core::content_type::ContentType;

/// A call as the headers of a request name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server::http) struct Asked {
    pub(super) service: String,
    /// Empty where the envelope names it.
    pub(super) endpoint: String,
    /// The number of the call; empty where there is none.
    pub(super) id: String,
    /// The number of the stream that the request opens.
    pub(super) stream: Option<String>,
    /// Whether the envelope names the endpoint, and the content type only the encoding.
    pub(super) legacy: bool,
    pub(super) form: Form,
    /// The content type by its name, under which the answer comes too.
    pub(super) content_type: ContentType,
}

/// Reads a request of go-micro's; `None` for one that is none.
///
/// `routed` says that the program has routes of its own, which come first except at `/`.
pub(in crate::server::http) fn asked<B>(request: &Request<B>, routed: bool) -> Option<Asked> {
    let headers = request.headers();
    let root = request.uri().path() == "/";
    let service = micro(headers, "service");
    let endpoint = micro(headers, "endpoint").or_else(|| micro(headers, "method"));
    let named = service.is_some() || endpoint.is_some();
    let target = micro(headers, "target").is_some();
    let content_type = content_type(headers);
    let form = Form::of(&content_type);
    let enveloped = !matches!(form.envelope, Envelope::Bare | Envelope::Grpc);
    let posted = root && request.method() == Method::POST && enveloped;
    if !(named || target || posted) || (routed && !root) {
        return None;
    }
    let legacy = (target || !named) && micro(headers, "protocol").is_none();
    Some(Asked {
        service: service.unwrap_or_default().to_owned(),
        endpoint: endpoint.unwrap_or_default().to_owned(),
        id: micro(headers, "id").unwrap_or_default().to_owned(),
        stream: micro(headers, "stream").map(str::to_owned),
        form: if legacy { Form::legacy(&content_type) } else { form },
        legacy,
        content_type,
    })
}

/// Returns a header of go-micro's under either of its names; an empty one counts as none.
fn micro<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let filled = |name: String| {
        let name = HeaderName::try_from(name).ok()?;
        headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
    };
    filled(format!("micro-{name}")).or_else(|| filled(format!("x-micro-{name}")))
}

/// Reads the content type; go-micro's default is Protocol Buffers.
fn content_type(headers: &HeaderMap) -> ContentType {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    given.filter(|text| !text.is_empty()).map_or(ContentType::Proto, ContentType::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, uri: &str, headers: &[(&str, &str)], routed: bool) -> Option<Asked> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        super::asked(&request.body(()).unwrap(), routed)
    }

    #[test]
    fn headers_make_a_request_go_micros_whatever_its_method_and_path() {
        for (method, uri) in [("POST", "/"), ("GET", "/"), ("PUT", "/any/path?x=1")] {
            for name in ["micro-endpoint", "Micro-Method", "x-micro-endpoint", "X-Micro-Method"] {
                let headers = [(name, "A.B"), ("micro-id", "7")];
                let asked = asked(method, uri, &headers, false).unwrap();
                assert_eq!((asked.endpoint.as_str(), asked.id.as_str()), ("A.B", "7"));
                assert!(!asked.legacy && asked.stream.is_none());
                assert_eq!(asked.content_type, ContentType::Proto);
            }
        }
        assert!(asked("POST", "/", &[("micro-service", "a")], true).is_some());
        assert!(asked("POST", "/a", &[("micro-service", "a")], true).is_none());
    }

    #[test]
    fn what_only_looks_like_http_is_left_to_others() {
        for headers in [
            &[][..],
            &[("content-type", "application/json")],
            &[("content-type", "application/grpc")],
            &[("micro-id", "7"), ("micro-topic", "events")],
            &[("micro-endpoint", "")],
        ] {
            assert_eq!(asked("POST", "/", headers, false), None, "{headers:?}");
        }
        let rpc = [("content-type", "application/json-rpc")];
        assert!(asked("GET", "/", &rpc, false).is_none());
        assert!(asked("POST", "/rpc", &rpc, false).is_none());
    }

    #[test]
    fn old_peers_name_the_endpoint_in_the_envelope() {
        for (headers, envelope) in [
            (&[("content-type", "application/json-rpc")][..], Envelope::JsonRpc),
            (&[("content-type", "application/proto-rpc")], Envelope::ProtoRpc),
            (&[("micro-target", "a"), ("content-type", "application/json")], Envelope::JsonRpc),
            (&[("micro-target", "a")], Envelope::ProtoRpc),
            (
                &[("micro-target", "a"), ("content-type", "application/octet-stream")],
                Envelope::ProtoRpc,
            ),
        ] {
            let asked = asked("POST", "/", headers, false).unwrap();
            assert!(asked.legacy, "{headers:?}");
            assert_eq!(asked.form.envelope, envelope, "{headers:?}");
        }
        let modern = [("micro-target", "a"), ("micro-protocol", "mucp"), ("micro-endpoint", "A.B")];
        assert!(!asked("POST", "/", &modern, false).unwrap().legacy);
    }
}
