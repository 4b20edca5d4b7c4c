//! What is read here is what `rmp-serde` reads, value by value and error by error.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::Unpack;

/// A byte string.
#[derive(Debug, Default, PartialEq)]
struct ByteBuf(Vec<u8>);

impl Serialize for ByteBuf {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ByteBuf {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = ByteBuf;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<ByteBuf, E> {
                Ok(ByteBuf(bytes.to_vec()))
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Record {
    id: u64,
    #[serde(default)]
    name: String,
    tags: Option<Vec<String>>,
    shape: Shape,
    #[serde(default)]
    payload: ByteBuf,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i8, i16),
    Box { width: u32, height: Option<Box<Shape>> },
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Flat {
    first: i32,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    Many(Vec<Untagged>),
    Named { name: String },
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind")]
enum Tagged {
    One { a: u8 },
    Two,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Unit;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Newtype(u16);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Pair(u8, String);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct _ExtStruct((i8, ByteBuf));

fn ours<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, bool)> {
    let mut unpack = Unpack::new(bytes);
    let value = T::deserialize(&mut unpack).ok()?;
    Some((value, unpack.is_empty()))
}

fn theirs<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, bool)> {
    let mut cursor = std::io::Cursor::new(bytes);
    let mut from = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut from).ok()?;
    // The borrowing reader does not say how far it came, the other one does.
    let _same: T = rmp_serde::from_read(&mut cursor).ok()?;
    let read = usize::try_from(cursor.position()).unwrap();
    Some((value, read == bytes.len()))
}

/// Compares by what is shown: numbers that are none are not equal to themselves.
fn alike<T: DeserializeOwned + Debug>(bytes: &[u8]) {
    let (ours, theirs) = (ours::<T>(bytes), theirs::<T>(bytes));
    let name = std::any::type_name::<T>();
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{name} of {bytes:02x?}");
}

fn all_alike(bytes: &[u8]) {
    alike::<bool>(bytes);
    alike::<(i8, u8)>(bytes);
    alike::<i16>(bytes);
    alike::<u32>(bytes);
    alike::<i64>(bytes);
    alike::<u64>(bytes);
    alike::<i128>(bytes);
    alike::<u128>(bytes);
    alike::<f32>(bytes);
    alike::<f64>(bytes);
    alike::<char>(bytes);
    alike::<String>(bytes);
    alike::<()>(bytes);
    alike::<Vec<u8>>(bytes);
    alike::<[u8; 3]>(bytes);
    alike::<ByteBuf>(bytes);
    alike::<Vec<Option<bool>>>(bytes);
    alike::<Option<Option<i8>>>(bytes);
    alike::<BTreeMap<u8, String>>(bytes);
    alike::<Record>(bytes);
    alike::<Shape>(bytes);
    alike::<Flat>(bytes);
    alike::<Untagged>(bytes);
    alike::<Tagged>(bytes);
    alike::<Unit>(bytes);
    alike::<Newtype>(bytes);
    alike::<Pair>(bytes);
    alike::<_ExtStruct>(bytes);
    alike::<IgnoredAny>(bytes);
    alike::<Value>(bytes);
}

#[test]
fn every_marker_with_whatever_follows_is_read_alike() {
    for marker in 0..=u8::MAX {
        for follows in [&[][..], &[0; 24], &[1; 24], &[0xc0; 24], &[0xa1; 24], &[0xff; 24]] {
            let whole = [&[marker][..], follows].concat();
            for end in 1..=whole.len() {
                all_alike(&whole[..end]);
            }
        }
    }
    all_alike(&[]);
}

#[test]
fn extensions_are_read_alike() {
    for length in [0_usize, 1, 2, 3, 4, 8, 16, 17, 255, 256, 65_535, 65_536] {
        let value = _ExtStruct((-7, ByteBuf(vec![7; length])));
        let bytes = rmp_serde::to_vec(&value).unwrap();
        assert_eq!(ours(&bytes), Some((value, true)));
        all_alike(&bytes);
    }
}

#[test]
fn numbers_beyond_64_bits_are_read_alike() {
    for number in [0, 1, -1, i128::from(i64::MIN) - 1, i128::MAX, i128::MIN] {
        let bytes = rmp_serde::to_vec(&number).unwrap();
        assert_eq!(ours(&bytes), Some((number, true)));
        all_alike(&bytes);
    }
}

#[test]
fn lengths_of_every_width_are_read_alike() {
    for length in [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "x".repeat(length);
        let list = vec![1_u8; length];
        let map: HashMap<u32, bool> = (0..).zip(vec![true; length]).collect();
        assert_eq!(ours(&rmp_serde::to_vec(&text).unwrap()), Some((text, true)));
        assert_eq!(ours(&rmp_serde::to_vec(&list).unwrap()), Some((list.clone(), true)));
        let binary = rmp_serde::to_vec(&ByteBuf(list.clone())).unwrap();
        assert_eq!(ours(&binary), Some((list, true)));
        assert_eq!(ours(&rmp_serde::to_vec(&map).unwrap()), Some((map, true)));
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        any::<f64>().prop_map(Shape::Circle),
        any::<(i8, i16)>().prop_map(|(a, b)| Shape::Line(a, b)),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (any::<u32>(), prop::option::of(inner.prop_map(Box::new)))
            .prop_map(|(width, height)| Shape::Box { width, height })
    })
}

fn records() -> impl Strategy<Value = Record> {
    let tags = prop::option::of(prop::collection::vec(".{0,40}", 0..20));
    (any::<u64>(), ".{0,40}", tags, shapes(), any::<Vec<u8>>()).prop_map(
        |(id, name, tags, shape, payload)| Record {
            id,
            name,
            tags,
            shape,
            payload: ByteBuf(payload),
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in records()) {
        let named = rmp_serde::to_vec_named(&record).unwrap();
        let bare = rmp_serde::to_vec(&record).unwrap();
        for bytes in [named, bare] {
            let read = ours::<Record>(&bytes).map(|(record, all)| (format!("{record:?}"), all));
            prop_assert_eq!(read, Some((format!("{record:?}"), true)));
        }
    }

    #[test]
    fn any_bytes_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        all_alike(&bytes);
    }

    #[test]
    fn a_damaged_message_is_read_alike(
        record in records(), named: bool, at: prop::sample::Index, byte: u8, cut: bool
    ) {
        let write = if named { rmp_serde::to_vec_named } else { rmp_serde::to_vec };
        let mut bytes = write(&record).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at + 1);
        }
        alike::<Record>(&bytes);
        alike::<Flat>(&bytes);
        alike::<Value>(&bytes);
        alike::<Untagged>(&bytes);
        alike::<IgnoredAny>(&bytes);
    }
}
