//! What all formats have in common.

use std::collections::{BTreeMap, HashMap};

use ::bytes::Bytes as Buffer;
use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;
use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct Person {
    name: String,
    #[serde(default)]
    age: u8,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Unit;

fn formats() -> [Format; 4] {
    let others: [Arc<dyn Codec>; 2] = [Arc::new(MsgPack), Arc::new(Json)];
    let [msgpack, json] = others.map(Format::Other);
    [Format::MsgPack, Format::Json, msgpack, json]
}

fn encode<T: Serialize + 'static>(format: &Format, value: &T) -> Vec<u8> {
    let mut out = vec![];
    (&Wire::<T>::new()).enc()(format, value, &mut out).unwrap();
    out
}

fn decode<T: DeserializeOwned + 'static>(format: &Format, bytes: &[u8]) -> Result<T> {
    (&Wire::<T>::new()).dec()(format, &(&Buffer::copy_from_slice(bytes)).into())
}

/// Makes a message of each format with the entries in the order given.
fn maps(entries: &[(&str, &str, u8)]) -> [(Format, Vec<u8>); 4] {
    let mut msgpack = vec![0x80 | u8::try_from(entries.len()).unwrap()];
    let mut json = vec![];
    for (key, text, number) in entries {
        let as_text = number == &0;
        msgpack.extend(encode(&Format::MsgPack, &(*key).to_owned()));
        msgpack.extend(match as_text {
            true => encode(&Format::MsgPack, &(*text).to_owned()),
            false => encode(&Format::MsgPack, number),
        });
        json.push(if as_text { format!("{key:?}:{text:?}") } else { format!("{key:?}:{number}") });
    }
    let json = format!("{{{}}}", json.join(",")).into_bytes();
    formats().map(|format| match format.content_type() {
        ContentType::Json => (format, json.clone()),
        _ => (format, msgpack.clone()),
    })
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    for (format, bytes) in maps(&[("name", "a", 0), ("name", "b", 0)]) {
        let error = decode::<Person>(&format, &bytes).unwrap_err();
        assert_eq!(error.code(), 400);
        assert!(error.detail().contains("duplicate field `name`"), "{error}");
    }
}

#[test]
fn in_a_free_map_the_last_of_a_key_wins() {
    for (format, bytes) in maps(&[("k", "", 1), ("k", "", 2)]) {
        assert_eq!(decode::<HashMap<String, u8>>(&format, &bytes).unwrap()["k"], 2);
        assert_eq!(decode::<Value>(&format, &bytes).unwrap()["k"], 2);
    }
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_passed_over() {
    for (format, bytes) in maps(&[("more", "x", 0), ("age", "", 3), ("name", "Ada", 0)]) {
        let person = decode::<Person>(&format, &bytes).unwrap();
        assert_eq!(person, Person { name: "Ada".into(), age: 3 });
    }
}

#[test]
fn what_follows_a_message_is_refused() {
    let person = Person { name: "Ada".into(), age: 36 };
    for format in formats() {
        let whole = encode(&format, &person);
        assert_eq!(decode::<Person>(&format, &whole).unwrap(), person);
        for tail in [&whole[..], b"\0", b"\xc0", b"\xff", b"\xc1", b"{"] {
            let error = decode::<Person>(&format, &[&whole, tail].concat()).unwrap_err();
            assert_eq!(error.code(), 400, "{format:?} {tail:?}");
            assert!(error.detail().contains("trailing"), "{error}");
            assert!(decode::<IgnoredAny>(&format, &[&whole, tail].concat()).is_err());
        }
    }
    assert!(decode::<Person>(&Format::Json, b" {\"name\":\"Ada\"}\r\n").is_ok());
}

#[test]
fn an_empty_body_is_a_unit() {
    for format in formats() {
        decode::<()>(&format, b"").unwrap();
        assert_eq!(decode::<Unit>(&format, b"").unwrap(), Unit);
        assert_eq!(decode::<Option<Person>>(&format, b"").unwrap(), None);
        assert_eq!(decode::<Person>(&format, b"").unwrap_err().code(), 400);
        assert_eq!(decode::<String>(&format, b"").unwrap_err().code(), 400);
    }
}

#[test]
fn structs_travel_as_maps() {
    let bytes = encode(&Format::MsgPack, &Person { name: "Ada".into(), age: 36 });
    assert_eq!(bytes, b"\x82\xa4name\xa3Ada\xa3age\x24");
}

#[test]
fn types_that_are_not_protobuf_have_no_form_in_it() {
    let mut out = vec![];
    let encoded = (&Wire::<Person>::new()).enc()(&Format::Proto, &Person::default(), &mut out);
    let decoded = decode::<Person>(&Format::Proto, b"").map(drop);
    for error in [encoded.unwrap_err(), decoded.unwrap_err()] {
        assert_eq!(error.code(), 415);
        assert!(error.detail().contains("application/protobuf"), "{error}");
    }
}

#[test]
fn a_failed_encode_leaves_the_buffer_as_it_was() {
    // Maps of JSON have strings for keys; the failure comes after the first bracket.
    let map = BTreeMap::from([((1_u8, 2_u8), 3_u8)]);
    for format in [Format::Json, Format::Other(Arc::new(Json))] {
        let mut out = b"head".to_vec();
        let done = (&Wire::<BTreeMap<(u8, u8), u8>>::new()).enc()(&format, &map, &mut out);
        assert_eq!(done.unwrap_err().code(), 500);
        assert_eq!(out, b"head");
    }
}

#[test]
fn formats_are_found_by_content_type() {
    let codecs = Codecs::default();
    for content_type in
        [ContentType::MsgPack, ContentType::Json, ContentType::Bytes, ContentType::Text]
    {
        assert_eq!(codecs.format(&content_type).unwrap().content_type(), content_type);
    }
    let error = codecs.format(&ContentType::parse("application/x-none\u{1b}")).unwrap_err();
    assert_eq!(error.code(), 415);
    assert!(error.detail().contains("application/msgpack, application/json"), "{error}");
    assert!(error.detail().contains("application/octet-stream, text/plain"), "{error}");
    assert!(!error.detail().contains('\u{1b}'));
}

#[derive(Debug)]
struct Shout;

impl Codec for Shout {
    fn content_type(&self) -> ContentType {
        ContentType::Text
    }

    fn encode(&self, _: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(b"HEY");
        Ok(())
    }

    fn decode(&self, _: &[u8], _: &mut Visit<'_>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_codec_registered_later_wins() {
    let mut codecs = Codecs::default();
    codecs.register(Arc::new(Shout));
    let format = codecs.format(&ContentType::Text).unwrap();
    assert_eq!(encode(&format, &"hey".to_owned()), b"HEY");
}

#[test]
fn a_codec_that_hands_out_nothing_is_at_fault_itself() {
    let error = decode::<String>(&Format::Other(Arc::new(Shout)), b"x").unwrap_err();
    assert_eq!(error.code(), 500);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_round_trips(value in values()) {
        for format in formats() {
            let bytes = encode(&format, &value);
            prop_assert_eq!(&decode::<Value>(&format, &bytes).unwrap(), &value);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_message_cut_short_is_refused(value in prop::collection::vec(values(), 1..4)) {
        for format in formats() {
            let bytes = encode(&format, &value);
            for end in 1..bytes.len() {
                prop_assert!(decode::<Vec<Value>>(&format, &bytes[..end]).is_err());
            }
        }
    }

}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
        for format in formats() {
            for error in [
                decode::<Value>(&format, &bytes).err(),
                decode::<Person>(&format, &bytes).err(),
                decode::<Vec<Option<(u8, String)>>>(&format, &bytes).err(),
                decode::<Result<i128, f32>>(&format, &bytes).err(),
            ].into_iter().flatten() {
                prop_assert_eq!(error.code(), 400);
            }
        }
    }
}
