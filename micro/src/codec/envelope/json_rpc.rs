//! JSON-RPC as go-micro writes it.
//!
//! Read are also a single parameter outside of a list, and no parameter at all.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::codec::envelope::{Id, Label, Way, malformed};
use crate::core::error::{Error, Result};

const NAME: &str = "JSON-RPC";

#[derive(Serialize)]
struct Call<'a> {
    method: &'a str,
    params: [&'a RawValue; 1],
    id: WireId<'a>,
}

#[derive(Serialize)]
struct Reply<'a> {
    id: WireId<'a>,
    result: Option<&'a RawValue>,
    error: Option<&'a str>,
}

/// An envelope as it comes; the peer may leave out whatever it likes.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireId<'a> {
    None(()),
    Number(u64),
    Text(&'a str),
}

impl<'a> From<&'a Id> for WireId<'a> {
    fn from(id: &'a Id) -> Self {
        match id {
            Id::None => Self::None(()),
            Id::Number(number) => Self::Number(*number),
            Id::Text(text) => Self::Text(text),
        }
    }
}

pub(super) fn seal(way: Way, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let written = match way {
        Way::Request => {
            let params = [value(body)?];
            let call = Call { method: &label.endpoint, params, id: WireId::from(&label.id) };
            serde_json::to_writer(out, &call)
        }
        Way::Response => {
            let error = label.error.as_deref();
            let result = if error.is_some() { None } else { Some(value(body)?) };
            serde_json::to_writer(out, &Reply { id: WireId::from(&label.id), result, error })
        }
    };
    written.map_err(|error| {
        Error::internal("micro.codec", "cannot write a JSON-RPC envelope").with_source(error)
    })
}

/// Takes a message for the JSON that it has to be; no message is `null`.
fn value(body: &[u8]) -> Result<&RawValue> {
    if body.is_empty() {
        return Ok(RawValue::NULL);
    }
    serde_json::from_slice(body).map_err(|error| {
        Error::internal("micro.codec", "the message in a JSON-RPC envelope is no JSON")
            .with_source(error)
    })
}

pub(super) fn open(way: Way, bytes: &Bytes) -> Result<(Label, Bytes)> {
    // A list would be taken for an object without names.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed(NAME, "is no JSON object"));
    }
    let incoming: Incoming<'_> = serde_json::from_slice(bytes)
        .map_err(|error| malformed(NAME, "is no JSON object").with_source(error))?;
    let label = Label {
        endpoint: incoming.method.unwrap_or_default().into_owned(),
        id: incoming.id.map(id).unwrap_or_default(),
        error: incoming.error.and_then(error),
    };
    let message = match way {
        Way::Request => incoming.params.map(parameter).transpose()?.unwrap_or_default(),
        Way::Response => incoming.result.map(RawValue::get).unwrap_or_default(),
    };
    // A missing message is an empty one, and so is `null`.
    let message = if message == "null" { "" } else { message };
    Ok((label, bytes.slice_ref(message.as_bytes())))
}

/// Takes the one parameter out of its list.
fn parameter(params: &RawValue) -> Result<&str> {
    let text = params.get();
    if !text.starts_with('[') {
        return Ok(text);
    }
    // Two at most: who sends a million of them gets no memory for it.
    let listed: Few<'_> = serde_json::from_str(text)
        .map_err(|error| malformed(NAME, "has more than one parameter").with_source(error))?;
    Ok(listed.0.unwrap_or_default())
}

/// A list of at most one value.
struct Few<'a>(Option<&'a str>);

impl<'de> Deserialize<'de> for Few<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Few<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of one parameter")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Few<'de>, A::Error> {
                let first = list.next_element::<&RawValue>()?.map(RawValue::get);
                if first.is_some() && list.next_element::<&RawValue>()?.is_some() {
                    return Err(serde::de::Error::invalid_length(2, &self));
                }
                Ok(Few(first))
            }
        }
        from.deserialize_seq(Visitor)
    }
}

fn id(raw: &RawValue) -> Id {
    let text = raw.get();
    if let Ok(number) = text.parse() {
        return Id::Number(number);
    }
    serde_json::from_str(text).map_or(Id::None, Id::Text)
}

/// Reads an error: text as it is, anything else as its JSON; none for what Go takes for none.
fn error(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "null" | "\"\"" | "{}" => None,
        text => Some(serde_json::from_str(text).unwrap_or_else(|_not_text| text.to_owned())),
    }
}
