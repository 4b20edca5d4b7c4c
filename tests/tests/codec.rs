//! A codec written outside of the crate: it conforms, and calls can use it by its content type.
//!
//! The format is a tree of tagged values: one byte says which, integers and lengths follow in
//! little endian. `serde_json::Value` stands between it and `serde`.

use std::sync::Arc;

use micro::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use micro::codec::{Codec, Codecs, Format, Visit, erased_serde};
use micro::core::content_type::ContentType;
use micro::testkit::codec::conformance;
use micro::{Error, Result};
use serde_json::{Map, Number, Value};

/// Levels that the tree is read to: more than calls allow, and no danger to the stack.
const LEVELS_MAX: usize = 128;

#[derive(Debug)]
struct Tree;

impl Codec for Tree {
    fn content_type(&self) -> ContentType {
        ContentType::parse("application/x-tree")
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        let tree = serde_json::to_value(value).map_err(|e| Error::internal("tree", e))?;
        write(&tree, out);
        Ok(())
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut rest = bytes;
        let tree = read(&mut rest, LEVELS_MAX).filter(|_| rest.is_empty());
        let tree = tree.ok_or_else(|| Error::bad_request("tree", "not a tree"))?;
        let erased = &mut <dyn erased_serde::Deserializer<'_>>::erase(tree);
        visit(erased).map_err(|e| Error::bad_request("tree", e))
    }
}

fn write(tree: &Value, out: &mut Vec<u8>) {
    match tree {
        Value::Null => out.push(b'n'),
        Value::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => tagged(b'u', &value.to_le_bytes(), out),
            (_, Some(value), _) => tagged(b'i', &value.to_le_bytes(), out),
            (.., value) => tagged(b'd', &value.unwrap_or_default().to_le_bytes(), out),
        },
        Value::String(text) => {
            length(b's', text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Array(list) => {
            length(b'a', list.len(), out);
            list.iter().for_each(|value| write(value, out));
        }
        Value::Object(map) => {
            length(b'm', map.len(), out);
            for (key, value) in map {
                length(b's', key.len(), out);
                out.extend(key.as_bytes());
                write(value, out);
            }
        }
    }
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(bytes);
}

fn length(tag: u8, length: usize, out: &mut Vec<u8>) {
    tagged(tag, &(length as u64).to_le_bytes(), out);
}

fn read(rest: &mut &[u8], levels: usize) -> Option<Value> {
    Some(match take::<1>(rest)?[0] {
        b'n' => Value::Null,
        b't' => true.into(),
        b'f' => false.into(),
        b'u' => u64::from_le_bytes(take(rest)?).into(),
        b'i' => i64::from_le_bytes(take(rest)?).into(),
        b'd' => Number::from_f64(f64::from_le_bytes(take(rest)?))?.into(),
        b's' => text(rest)?.into(),
        b'a' => {
            // The length is a claim: nothing is set aside for it.
            let mut list = vec![];
            for _ in 0..u64::from_le_bytes(take(rest)?) {
                list.push(read(rest, levels.checked_sub(1)?)?);
            }
            list.into()
        }
        b'm' => {
            let mut map = Map::new();
            for _ in 0..u64::from_le_bytes(take(rest)?) {
                if take(rest)? != *b"s" {
                    return None;
                }
                map.insert(text(rest)?, read(rest, levels.checked_sub(1)?)?);
            }
            map.into()
        }
        _ => return None,
    })
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(u64::from_le_bytes(take(rest)?)).ok()?;
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*taken)
}

#[test]
fn a_codec_from_outside_conforms() {
    let mut codecs = Codecs::default();
    codecs.register(Arc::new(Tree));
    let format = codecs.format(&ContentType::parse("Application/X-Tree; v=1")).unwrap();
    if let Err(failures) = conformance(&format) {
        panic!("{failures}");
    }
}

#[test]
fn any_serde_type_travels_in_a_codec_from_outside() {
    let format = Format::Other(Arc::new(Tree));
    let mut out = vec![];
    (&Wire::<(bool, i8)>::new()).enc()(&format, &(true, -1), &mut out).unwrap();
    assert_eq!(out, b"a\x02\0\0\0\0\0\0\0ti\xff\xff\xff\xff\xff\xff\xff\xff");
    let back: (bool, i8) = (&Wire::new()).dec()(&format, &(&bytes::Bytes::from(out)).into()).unwrap();
    assert_eq!(back, (true, -1));
}
