//! In which format, and in which framing, the response is to come.

use http::header::HeaderValue;

use crate::codec::Codecs;
use crate::codec::sequence::NDJSON;
use crate::core::content_type::ContentType;
use crate::server::http::coding::Coding;

/// The content type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// What an `Accept` header asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The format, where a known one is named.
    pub(super) format: Option<ContentType>,
    /// Whether a stream is to come as server-sent events.
    pub(super) events: bool,
    /// How the response may be compressed.
    pub(super) coding: Option<Coding>,
}

/// Reads a content type of a request; what `curl -d` sends by itself means JSON.
pub(super) fn request_type(value: Option<&HeaderValue>) -> ContentType {
    let Some(value) = value else { return ContentType::Json };
    match value.as_bytes() {
        b"application/json" => ContentType::Json,
        b"application/msgpack" => ContentType::MsgPack,
        bytes => named(std::str::from_utf8(bytes).unwrap_or_default()),
    }
}

fn named(text: &str) -> ContentType {
    match ContentType::parse(text) {
        ContentType::Other(name) => match &*name {
            "" | "application/x-www-form-urlencoded" | NDJSON => ContentType::Json,
            _ => ContentType::Other(name),
        },
        known => known,
    }
}

/// Reads an `Accept` header: the first type wins that there is a codec for.
///
/// Weights are not compared: clients that care name one type.
pub(super) fn accept(value: &HeaderValue, codecs: &Codecs, accepted: &mut Accepted) {
    if value == "*/*" {
        return;
    }
    for item in value.to_str().unwrap_or_default().split(',') {
        let essence = item.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(EVENT_STREAM) {
            (accepted.format, accepted.events) = (Some(ContentType::Json), true);
            break;
        }
        if essence.is_empty() || essence.contains('*') {
            continue;
        }
        let asked = named(essence);
        if codecs.format(&asked).is_ok() {
            accepted.format = Some(asked);
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_curl_sends_by_itself_means_json() {
        for (text, expected) in [
            ("application/x-www-form-urlencoded", ContentType::Json),
            ("application/json; charset=utf-8", ContentType::Json),
            ("application/x-ndjson", ContentType::Json),
            ("application/msgpack", ContentType::MsgPack),
            ("application/x-msgpack", ContentType::MsgPack),
            ("text/plain", ContentType::Text),
        ] {
            assert_eq!(request_type(Some(&HeaderValue::from_static(text))), expected, "{text}");
        }
        assert_eq!(request_type(None), ContentType::Json);
        let other = request_type(Some(&HeaderValue::from_static("application/xml")));
        assert_eq!(other.as_str(), "application/xml");
    }

    #[test]
    fn the_first_known_type_wins() {
        for (text, format, events) in [
            ("*/*", None, false),
            ("", None, false),
            ("text/html, */*;q=0.8", None, false),
            ("application/xml, application/json;q=0.5", Some(ContentType::Json), false),
            ("application/msgpack, application/json", Some(ContentType::MsgPack), false),
            ("application/x-ndjson", Some(ContentType::Json), false),
            ("text/event-stream", Some(ContentType::Json), true),
        ] {
            let mut accepted = Accepted::default();
            accept(&HeaderValue::from_static(text), &Codecs::default(), &mut accepted);
            assert_eq!(accepted, Accepted { format, events, coding: None }, "{text}");
        }
    }
}
