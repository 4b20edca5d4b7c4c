//! The types that are sent: one of each kind of the `serde` data model.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;
use serde::de::IgnoredAny;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::ser::Error as _;

/// Any value as a field.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Holder<T> {
    pub(super) before: u8,
    pub(super) value: T,
    pub(super) after: String,
}

impl<T> Holder<T> {
    pub(super) fn new(value: T) -> Self {
        Self { before: 7, value, after: "after".to_owned() }
    }
}

/// A byte string.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    /// Formats without byte strings send a list.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(Blob(bytes))
    }
}

/// A unit struct.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Unit;

/// A newtype.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Meters(pub(super) f64);

/// A tuple struct.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Point(pub(super) i32, pub(super) i32, pub(super) String);

/// Variants of every kind, named by the format.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Event {
    Started,
    Named(String),
    Moved(i32, i32),
    Resized { width: u32, height: u32 },
    Nested(Box<Self>),
}

/// Variants named by a field among theirs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Tagged {
    Empty,
    Full { weight: f64, label: Option<String> },
}

/// Variants named by a field beside theirs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", content = "content")]
pub(super) enum Adjacent {
    Empty,
    One(u16),
    Two(u16, Vec<u8>),
    Named { id: u64 },
}

/// Variants told apart by their shape.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Shape {
    Number(i64),
    Text(String),
    List(Vec<Self>),
    Fields { id: u64 },
}

/// A message as it was first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Before {
    pub(super) id: u32,
    pub(super) name: String,
}

/// The message with fields added, in front and of all kinds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct After {
    #[serde(default)]
    pub(super) tags: Vec<Event>,
    #[serde(default)]
    pub(super) note: Option<String>,
    #[serde(default = "seven")]
    pub(super) count: u8,
    pub(super) name: String,
    pub(super) id: u32,
    #[serde(default)]
    pub(super) inner: Option<Box<Self>>,
}

fn seven() -> u8 {
    7
}

/// Fields of a message among those of another.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Flat {
    pub(super) first: bool,
    #[serde(flatten)]
    pub(super) rest: Before,
}

/// Lists within lists, each with one element at most.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Nest(pub(super) Vec<Self>);

impl Nest {
    pub(super) fn of(levels: usize) -> Self {
        (1..levels).fold(Self(Vec::new()), |inner, _| Self(vec![inner]))
    }
}

/// Reads anything and is never content.
#[derive(Debug)]
pub(super) struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Err(D::Error::custom("never content"))
    }
}

/// Has no form in any format.
#[derive(Debug)]
pub(super) struct Formless;

impl Serialize for Formless {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("formless"))
    }
}
