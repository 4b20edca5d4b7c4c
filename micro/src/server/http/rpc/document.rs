//! What a document asks for.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::server::http::rpc::reply::Fault;

/// Requests of one batch: 100, as many as clients of other servers are used to. More are refused
/// as one.
pub(super) const BATCH_MAX: usize = 100;

/// Characters of an id: 1 KiB, far more than a number or a UUID has. It comes back in the answer.
const ID_BYTES_MAX: usize = 1024;

/// What a document asks for.
#[derive(Debug)]
pub(super) enum Document {
    One(Result<Request, Refused>),
    Batch(Vec<Result<Request, Refused>>),
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// The request of the endpoint; empty for none.
    pub(super) body: Bytes,
    /// The id as it was written; `None` for a notification.
    pub(super) id: Option<String>,
}

/// A request that is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) id: Option<String>,
    pub(super) fault: Fault,
}

impl Refused {
    fn nameless(fault: Fault) -> Self {
        Self { id: None, fault }
    }
}

/// Reads a document.
pub(super) fn read(bytes: &Bytes) -> Document {
    let refused = |fault| Document::One(Err(Refused::nameless(fault)));
    let Ok(whole) = serde_json::from_slice::<&RawValue>(bytes) else {
        return refused(Fault::Parse);
    };
    if !whole.get().starts_with('[') {
        return Document::One(request(bytes, whole));
    }
    let mut deserializer = serde_json::Deserializer::from_str(whole.get());
    match (Elements { max: BATCH_MAX }).deserialize(&mut deserializer) {
        Ok(Some(elements)) if elements.is_empty() => {
            refused(Fault::Invalid("the batch is empty".into()))
        }
        Ok(Some(elements)) => {
            Document::Batch(elements.into_iter().map(|raw| request(bytes, raw)).collect())
        }
        Ok(None) => {
            refused(Fault::Invalid(format!("a batch may have {BATCH_MAX} requests").into()))
        }
        // It was read before.
        Err(_) => refused(Fault::Parse),
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Tells a member that is null from one that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn request(bytes: &Bytes, raw: &RawValue) -> Result<Request, Refused> {
    let invalid = |id, why: &'static str| Refused { id, fault: Fault::Invalid(why.into()) };
    if !raw.get().starts_with('{') {
        return Err(invalid(None, "a request is an object"));
    }
    let members: Members<'_> = serde_json::from_str(raw.get())
        .map_err(|e| Refused::nameless(Fault::Invalid(e.to_string().into())))?;
    let id = match members.id.map(|id| id.get()) {
        None => None,
        Some(id) if is_id(id) => Some(id.to_owned()),
        Some(_) => return Err(invalid(None, "an id is a string, a number or null")),
    };
    if members.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(invalid(id, "`jsonrpc` has to be \"2.0\""));
    }
    let method = members.method.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let Some(method) = method else {
        return Err(invalid(id, "`method` has to be a string"));
    };
    match members.params.map(|params| body(bytes, params)) {
        None => Ok(Request { method, body: Bytes::new(), id }),
        Some(Some(body)) => Ok(Request { method, body, id }),
        Some(None) => {
            let fault = Fault::Params("`params` is an object or a list".into(), None);
            // Nobody is told what becomes of a notification.
            Err(Refused { id: id.or_else(|| Some(NOBODY.to_owned())), fault })
        }
    }
}

/// The id of what cannot be told whom to answer.
pub(super) const NOBODY: &str = "null";

fn is_id(text: &str) -> bool {
    let first = text.bytes().next().unwrap_or_default();
    let scalar = matches!(first, b'"' | b'-' | b'0'..=b'9') || text == NOBODY;
    scalar && text.len() <= ID_BYTES_MAX
}

/// Returns the request that parameters are: themselves by name, the only one by position, and
/// otherwise the list, of which the fields of a struct are taken in their order.
fn body(bytes: &Bytes, params: &RawValue) -> Option<Bytes> {
    let text = params.get();
    if text.starts_with('{') {
        return Some(part(bytes, text));
    }
    if !text.starts_with('[') {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let few = (Elements { max: 1 }).deserialize(&mut deserializer).ok()?;
    Some(match few.as_deref() {
        Some([]) => Bytes::new(),
        Some([only]) => part(bytes, only.get()),
        _ => part(bytes, text),
    })
}

/// Returns a part of a document as a slice of it.
fn part(bytes: &Bytes, text: &str) -> Bytes {
    bytes.slice_ref(text.as_bytes())
}

/// Reads the elements of a list, `None` if there are too many.
struct Elements {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == self.max {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            elements.push(element);
        }
        Ok(Some(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Request, Refused> {
        match read(&Bytes::copy_from_slice(text.as_bytes())) {
            Document::One(one) => one,
            Document::Batch(batch) => panic!("{batch:?}"),
        }
    }

    #[test]
    fn parameters_by_name_and_by_position_are_the_request() {
        for (params, expected) in [
            ("", ""),
            (r#","params":{}"#, "{}"),
            (r#","params":{"a": [1]}"#, r#"{"a": [1]}"#),
            (r#","params":[]"#, ""),
            (r#","params":[ {"a":1} ]"#, r#"{"a":1}"#),
            (r#","params":[[1,2]]"#, "[1,2]"),
            (r#","params":[42, 23]"#, "[42, 23]"),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"a"{params}}}"#);
            assert_eq!(one(&text).unwrap().body, expected, "{text}");
        }
    }

    #[test]
    fn ids_are_kept_as_they_were_written() {
        let longest = format!("\"{}\"", "x".repeat(ID_BYTES_MAX - 2));
        for id in ["1", "-7", "1.50", "18446744073709551616", "\"a\\u0041\"", "null", &longest] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"a","id":{id}}}"#);
            assert_eq!(one(&text).unwrap().id.as_deref(), Some(id));
        }
        for id in ["{}", "[]", "true", &format!("\"{}\"", "x".repeat(ID_BYTES_MAX))] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"a","id":{id}}}"#);
            assert!(matches!(one(&text).unwrap_err().fault, Fault::Invalid(_)), "{id}");
        }
        assert_eq!(one(r#"{"jsonrpc":"2.0","method":"a"}"#).unwrap().id, None);
    }

    #[test]
    fn a_batch_at_the_limit_passes_and_above_it_is_refused_as_one() {
        for (length, passes) in [(1, true), (100, true), (101, false), (1000, false)] {
            let text = format!("[{}]", vec!["1"; length].join(","));
            match read(&Bytes::from(text)) {
                Document::Batch(batch) => assert!(passes && batch.len() == length, "{length}"),
                Document::One(one) => {
                    assert!(!passes && matches!(one.unwrap_err().fault, Fault::Invalid(_)));
                }
            }
        }
    }

    #[test]
    fn deep_documents_do_no_harm() {
        for text in ["[".repeat(100_000), format!("{}1{}", "[".repeat(9_000), "]".repeat(9_000))] {
            match read(&Bytes::from(text)) {
                Document::One(Err(refused)) => assert_eq!(refused.fault, Fault::Parse),
                Document::Batch(batch) => assert!(batch[0].is_err()),
                other => panic!("{other:?}"),
            }
        }
    }
}
