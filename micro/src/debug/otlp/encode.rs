//! Spans as the JSON of OTLP 1.x: ids in hex, 64-bit numbers as strings, enums as numbers.

use bytes::Bytes;
use serde::Serialize;

use crate::debug::span::{Span, SpanKind};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 1],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<OtlpSpan<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpan<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent_span_id: &'a str,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: [Attribute<'a>; 1],
    status: Status,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    IntValue(String),
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

/// Codes of `Status.code`.
const UNSET: u8 = 0;
const ERROR: u8 = 2;

fn kind(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Subscriber => 5,
    }
}

/// A caller sees every error as one; to a server what the caller did wrong is none.
fn status(span: &Span) -> Status {
    let failed = match span.kind {
        SpanKind::Client => span.code >= 400,
        SpanKind::Server | SpanKind::Subscriber => span.code >= 500,
    };
    Status { code: if failed { ERROR } else { UNSET } }
}

fn one(span: &Span) -> OtlpSpan<'_> {
    let start = u128::from(span.started_us) * 1000;
    OtlpSpan {
        trace_id: &span.trace,
        span_id: &span.id,
        parent_span_id: &span.parent,
        name: &span.name,
        kind: kind(span.kind),
        start_time_unix_nano: start.to_string(),
        end_time_unix_nano: (start + u128::from(span.duration_ns)).to_string(),
        attributes: [Attribute {
            key: "micro.code",
            value: Value::IntValue(span.code.to_string()),
        }],
        status: status(span),
    }
}

/// Writes spans of a service as the body of one request.
pub(super) fn encode(service: &str, spans: &[Span]) -> Bytes {
    let name = Attribute { key: "service.name", value: Value::StringValue(service) };
    let scope = Scope { name: "micro", version: env!("CARGO_PKG_VERSION") };
    let spans = spans.iter().map(one).collect();
    let export = Export {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: [name] },
            scope_spans: [ScopeSpans { scope, spans }],
        }],
    };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&export).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::trace::Trace;

    #[test]
    fn a_span_is_written_as_the_protocol_says() {
        let root = Trace::from_parts(0xab, 0xcd, 1).unwrap();
        let mut span = Span::new(root, "shop.Orders.Place", SpanKind::Client);
        (span.started_us, span.duration_ns, span.code) = (1_700_000_000_000_001, 2_500, 409);
        let json: serde_json::Value = serde_json::from_slice(&encode("shop", &[span])).unwrap();
        let resource = &json["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "shop");
        let wanted = serde_json::json!({
            "traceId": "000000000000000000000000000000ab",
            "spanId": "00000000000000cd",
            "name": "shop.Orders.Place",
            "kind": 3,
            "startTimeUnixNano": "1700000000000001000",
            "endTimeUnixNano": "1700000000000003500",
            "attributes": [{"key": "micro.code", "value": {"intValue": "409"}}],
            "status": {"code": 2},
        });
        assert_eq!(resource["scopeSpans"][0]["spans"][0], wanted);
    }
}
