//! What `grpc-status-details-bin` holds: a `google.rpc.Status` with go-micro's error and the payload.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value as Json;

use crate::core::error::Error;

/// The type of go-micro's error; its clients look for it in the first place.
const FAILURE: &str = "type.googleapis.com/errors.Error";

/// The type of the payload of an error: any JSON.
const VALUE: &str = "type.googleapis.com/google.protobuf.Value";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `errors.Error` of go-micro.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Failure {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(int32, tag = "2")]
    pub(super) code: i32,
    #[prost(string, tag = "3")]
    pub(super) detail: String,
    #[prost(string, tag = "4")]
    pub(super) status: String,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, Message)]
struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

impl Status {
    /// Makes the status of an error whose text was cut to `text`.
    pub(super) fn of(error: &Error, text: &str) -> Self {
        let failure = Failure {
            id: error.id().to_owned(),
            code: i32::from(error.code()),
            detail: text.to_owned(),
            status: error.status().to_owned(),
        };
        let mut details = vec![any(FAILURE, &failure)];
        if let Some(payload) = error.details::<Json>() {
            details.push(any(VALUE, &Value::from(payload)));
        }
        Self { code: i32::from(error.kind().number()), message: text.to_owned(), details }
    }

    /// Leaves out the payload.
    pub(super) fn without_payload(mut self) -> Self {
        self.details.truncate(1);
        self
    }

    /// Finds go-micro's error.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.find(FAILURE)
    }

    /// Finds the payload.
    pub(super) fn payload(&self) -> Option<Json> {
        self.find::<Value>(VALUE).map(Json::from)
    }

    fn find<M: Message + Default>(&self, name: &str) -> Option<M> {
        let found = self.details.iter().find(|any| any.type_url == name)?;
        M::decode(found.value.as_slice()).ok()
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: name.to_owned(), value: message.encode_to_vec() }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        let kind = match json {
            Json::Null => Kind::Null(0),
            Json::Bool(value) => Kind::Bool(value),
            // What a double cannot hold is as lost as in every reader of JSON that has only those.
            Json::Number(number) => Kind::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Kind::Text(text),
            Json::Array(values) => {
                Kind::List(List { values: values.into_iter().map(Self::from).collect() })
            }
            Json::Object(fields) => Kind::Struct(Struct {
                fields: fields.into_iter().map(|(key, value)| (key, value.into())).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value.kind {
            None | Some(Kind::Null(_)) => Self::Null,
            Some(Kind::Bool(value)) => Self::Bool(value),
            Some(Kind::Number(number)) => json(number),
            Some(Kind::Text(text)) => Self::String(text),
            Some(Kind::List(list)) => list.values.into_iter().map(Self::from).collect(),
            Some(Kind::Struct(fields)) => {
                let fields = fields.fields.into_iter();
                Self::Object(fields.map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

/// Makes a number that readers of integers take, too, where it is one.
fn json(number: f64) -> Json {
    // The digits of a double without a fraction are those of an integer; past 2^53 it is none that
    // anybody meant.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0
        && number.abs() <= EXACT_MAX
        && let Ok(whole) = format!("{number:.0}").parse::<i64>()
    {
        return whole.into();
    }
    number.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn go_micro_s_error_comes_first_and_in_its_own_bytes() {
        let error = Error::not_found("shop", "no order 7");
        let status = Status::of(&error, error.detail());
        assert_eq!(status.details[0].type_url, "type.googleapis.com/errors.Error");
        // Fields 1 to 4: a string, a varint, two strings.
        let expected =
            [&b"\x0a\x04shop\x10\x94\x03\x1a\x0ano order 7\x22\x09Not Found"[..]].concat();
        assert_eq!(status.details[0].value, expected);
        assert_eq!((status.code, status.message.as_str()), (5, "no order 7"));
    }

    #[test]
    fn a_payload_survives_as_json() {
        let payload = json!({
            "field": "name", "max": 3, "low": -7, "ratio": 0.5, "none": null, "yes": true,
            "list": [1, "two", {"three": []}], "large": 9_007_199_254_740_991u64,
        });
        let error = Error::bad_request("a", "b").with_details(&payload);
        let bytes = Status::of(&error, "b").encode_to_vec();
        let status = Status::decode(bytes.as_slice()).unwrap();
        assert_eq!(status.payload().unwrap(), payload);
        assert_eq!(status.without_payload().payload(), None);
    }
}
