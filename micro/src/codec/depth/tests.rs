//! Bombs that a decoder must survive, on the stack of a worker.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, SeqAccess};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

use super::*;
use crate::codec::glue::{DecodeSerde, Wire};
use crate::codec::{Codec, Format, Json, MsgPack};
use crate::core::content_type::ContentType;
use crate::core::error::Error;

const PAST: [usize; 4] = [65, 66, 640, 100_000];

#[derive(Debug, Deserialize)]
struct Tree(#[expect(dead_code, reason = "only decoded")] Vec<Self>);

#[derive(Debug, Deserialize)]
struct Node {
    #[expect(dead_code, reason = "only decoded")]
    next: Option<Box<Self>>,
}

#[derive(Debug, Deserialize)]
struct Dir(#[expect(dead_code, reason = "only decoded")] HashMap<String, Self>);

#[derive(Debug, Deserialize)]
enum Expr {
    Lit,
    Not(#[expect(dead_code, reason = "only decoded")] Box<Self>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Any {
    List(#[expect(dead_code, reason = "only decoded")] Vec<Self>),
    Leaf(#[expect(dead_code, reason = "only decoded")] u8),
}

/// Turns every error of its content into nothing.
#[derive(Debug)]
struct Lenient;

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Vec::<Self>::deserialize(deserializer) {
            Ok(_) | Err(_) => Ok(Self),
        }
    }
}

/// Runs on a stack as large as that of a runtime's worker.
fn on_a_worker_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    thread.spawn(run).unwrap().join().unwrap()
}

fn decode<T: DeserializeOwned + 'static>(format: &Format, bytes: Vec<u8>) -> Result<(), Error> {
    let format = format.clone();
    let decode = (&Wire::<T>::new()).dec();
    on_a_worker_stack(move || decode(&format, &(&Bytes::from(bytes)).into()).map(drop))
}

fn msgpacks() -> [Format; 2] {
    [Format::MsgPack, Format::Other(Arc::new(MsgPack))]
}

fn jsons() -> [Format; 2] {
    [Format::Json, Format::Other(Arc::new(Json))]
}

/// Repeats `open` once for each level but the last, then `last`, then as many times `close`.
fn nested(levels: usize, open: &[u8], last: &[u8], close: &[u8]) -> Vec<u8> {
    let mut bytes = open.repeat(levels - 1);
    bytes.extend_from_slice(last);
    bytes.extend(close.repeat(levels - 1));
    bytes
}

fn check<T: DeserializeOwned + 'static>(formats: &[Format], make: impl Fn(usize) -> Vec<u8>) {
    for format in formats {
        for levels in [1, 63, 64] {
            let done = decode::<T>(format, make(levels));
            assert!(done.is_ok(), "{format:?} at {levels}: {done:?}");
        }
        for levels in PAST {
            let error = decode::<T>(format, make(levels)).unwrap_err();
            assert_eq!(error.code(), 400);
            assert!(error.detail().contains("deeper than 64"), "{format:?} at {levels}: {error}");
        }
    }
}

#[test]
fn msgpack_arrays_stop_at_the_limit() {
    let make = |levels| nested(levels, &[0x91], &[0x90], &[]);
    check::<Tree>(&msgpacks(), make);
    check::<Value>(&msgpacks(), make);
    check::<IgnoredAny>(&msgpacks(), make);
    check::<Any>(&msgpacks(), make);
}

#[test]
fn msgpack_maps_stop_at_the_limit() {
    let make = |levels| nested(levels, b"\x81\xa4next", b"\x81\xa4next\xc0", &[]);
    check::<Node>(&msgpacks(), make);
    check::<Value>(&msgpacks(), make);
    check::<IgnoredAny>(&msgpacks(), make);
    check::<Dir>(&msgpacks(), |levels| nested(levels, b"\x81\xa1a", b"\x80", &[]));
}

#[test]
fn msgpack_enums_stop_at_the_limit() {
    let make = |levels| nested(levels, b"\x81\xa3Not", b"\x81\xa3Not\xa3Lit", &[]);
    check::<Expr>(&msgpacks(), make);
    check::<Value>(&msgpacks(), make);
    let arrays = nested(100_000, b"\x91\xa3Not", b"\x91\xa3Not\xa3Lit", &[]);
    assert!(decode::<Expr>(&Format::MsgPack, arrays).is_err());
}

#[test]
fn msgpack_extensions_do_not_nest() {
    for format in msgpacks() {
        let bytes = nested(100_000, &[0xd4, 0x01], &[0xd4, 0x01, 0x00], &[]);
        assert!(decode::<Value>(&format, bytes.clone()).is_err());
        assert!(decode::<IgnoredAny>(&format, bytes).is_err());
    }
}

#[test]
fn json_stops_at_the_limit() {
    let arrays = |levels| nested(levels, b"[", b"[]", b"]");
    check::<Tree>(&jsons(), arrays);
    check::<Value>(&jsons(), arrays);
    check::<Any>(&jsons(), arrays);
    let objects = |levels| nested(levels, b"{\"next\":", b"{\"next\":null}", b"}");
    check::<Node>(&jsons(), objects);
    check::<Value>(&jsons(), objects);
    check::<Dir>(&jsons(), |levels| nested(levels, b"{\"a\":", b"{}", b"}"));
    check::<Expr>(&jsons(), |levels| nested(levels, b"{\"Not\":", b"{\"Not\":\"Lit\"}", b"}"));
}

#[test]
fn what_json_ignores_costs_no_stack() {
    for format in jsons() {
        let bytes = nested(500_000, b"{\"next\":[", b"{\"next\":null}", b"]}");
        assert!(decode::<IgnoredAny>(&format, bytes).is_ok());
    }
}

#[test]
fn an_unclosed_bomb_is_refused() {
    for format in jsons() {
        for open in ["[", "{\"next\":"] {
            assert!(decode::<Value>(&format, open.repeat(500_000).into_bytes()).is_err());
        }
    }
    for format in msgpacks() {
        assert!(decode::<Value>(&format, vec![0x91; 4_000_000]).is_err());
        assert!(decode::<Expr>(&format, b"\x91\xa3Not".repeat(500_000)).is_err());
    }
}

#[test]
fn a_type_that_swallows_errors_gets_no_further() {
    let bomb = |count: usize| [vec![0x91; 70], vec![0x91; count]].concat();
    for format in msgpacks() {
        assert!(decode::<Lenient>(&format, bomb(0)).is_err());
        assert!(decode::<Lenient>(&format, bomb(200_000)).is_err());
        let many = [vec![0xdd, 0, 1, 0x86, 0xa0], vec![0x91; 500_000]].concat();
        assert!(decode::<Vec<Lenient>>(&format, many).is_err());
    }
    for format in jsons() {
        assert!(decode::<Lenient>(&format, vec![b'['; 70]).is_err());
    }
}

#[test]
fn elements_stop_at_the_limit() {
    let array = |count: u32| {
        let mut bytes = vec![0xdd];
        bytes.extend(count.to_be_bytes());
        bytes.resize(5 + usize::try_from(count).unwrap(), 0xc0);
        bytes
    };
    assert!(decode::<Vec<()>>(&Format::MsgPack, array(1_000_000)).is_ok());
    let error = decode::<Vec<()>>(&Format::MsgPack, array(1_000_001)).unwrap_err();
    assert!(error.detail().contains("too many elements"), "{error}");
    assert!(decode::<Vec<()>>(&Format::MsgPack, array(10_000_000)).is_err());
    assert!(decode::<IgnoredAny>(&Format::MsgPack, array(4_000_000)).is_err());
    let bytes = decode::<Vec<bool>>(
        &Format::MsgPack,
        [vec![0xdd, 0, 0x20, 0, 0], vec![0xc2; 0x20_0000]].concat(),
    );
    assert!(bytes.is_ok(), "a list of bytes is as long as its message");
    let json = format!("[{}null]", "null,".repeat(1_000_000));
    assert!(decode::<Vec<()>>(&Format::Json, json.into_bytes()).is_err());
}

#[test]
fn map_entries_are_elements() {
    let entries = "\"a\":0,".repeat(1_000_000);
    let error =
        decode::<HashMap<String, u8>>(&Format::Json, format!("{{{entries}\"b\":0}}").into())
            .unwrap_err();
    assert!(error.detail().contains("elements"), "{error}");
}

/// A codec without limits of its own: whatever the bytes, lists within lists without end.
#[derive(Debug)]
struct Endless {
    deep: bool,
}

impl Codec for Endless {
    fn content_type(&self) -> ContentType {
        ContentType::parse("application/x-endless")
    }

    fn encode(&self, _: &dyn erased_serde::Serialize, _: &mut Vec<u8>) -> Result<(), Error> {
        Ok(())
    }

    fn decode(&self, _: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        let endless = List { deep: self.deep };
        let done = visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(endless));
        done.map_err(|e| Error::bad_request("endless", e))
    }
}

#[derive(Clone, Copy)]
struct List {
    deep: bool,
}

impl<'de> Deserializer<'de> for List {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_seq(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf option unit_struct newtype_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for List {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        if self.deep {
            return seed.deserialize(*self).map(Some);
        }
        seed.deserialize(().into_deserializer()).map(Some)
    }
}

#[test]
fn a_codec_without_limits_of_its_own_is_held() {
    let deep = Format::Other(Arc::new(Endless { deep: true }));
    for done in [
        decode::<Value>(&deep, vec![]),
        decode::<IgnoredAny>(&deep, vec![]),
        decode::<Tree>(&deep, vec![]),
    ] {
        assert!(done.unwrap_err().detail().contains("deeper than 64"));
    }
    let wide = Format::Other(Arc::new(Endless { deep: false }));
    for done in [decode::<Vec<()>>(&wide, vec![]), decode::<IgnoredAny>(&wide, vec![])] {
        assert!(done.unwrap_err().detail().contains("elements"));
    }
}

#[test]
fn siblings_do_not_add_up_to_depth() {
    let bytes = format!("[{}[[]]]", "[[]],".repeat(10_000)).into_bytes();
    assert!(decode::<Tree>(&Format::Json, bytes).is_ok());
}
