//! Messages that are Protocol Buffers, `serde` types, or both.

use std::sync::Arc;

use prost::DecodeError;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use serde::{Deserialize, Serialize};

use super::*;
use bytes::Bytes;

use crate::codec::glue::{
    DecodeBoth, DecodeNone, DecodeProst, DecodeSerde, EncodeBoth, EncodeNone, EncodeProst,
    EncodeSerde, Wire,
};
use crate::codec::{Format, MsgPack, Raw};

/// Writes the impl that `prost` derives for a message of one string and one message of its kind.
macro_rules! message {
    ($name:ident) => {
        impl Message for $name {
            fn encode_raw(&self, out: &mut impl BufMut) {
                if !self.name.is_empty() {
                    encoding::string::encode(1, &self.name, out);
                }
                if let Some(inner) = &self.inner {
                    encoding::message::encode(2, inner, out);
                }
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                match tag {
                    1 => encoding::string::merge(wire_type, &mut self.name, buf, ctx),
                    2 => {
                        let inner = self.inner.get_or_insert_default();
                        encoding::message::merge(wire_type, inner, buf, ctx)
                    }
                    _ => encoding::skip_field(wire_type, tag, buf, ctx),
                }
            }

            fn encoded_len(&self) -> usize {
                let name = match self.name.is_empty() {
                    true => 0,
                    false => encoding::string::encoded_len(1, &self.name),
                };
                let inner = self.inner.as_ref();
                name + inner.map_or(0, |inner| encoding::message::encoded_len(2, inner))
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    };
}

/// Protocol Buffers alone.
#[derive(Clone, Debug, Default, PartialEq)]
struct Proto {
    name: String,
    inner: Option<Box<Self>>,
}

/// Both Protocol Buffers and `serde`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Both {
    name: String,
    inner: Option<Box<Self>>,
}

/// `serde` alone.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Plain {
    name: String,
}

message!(Proto);
message!(Both);

/// What macro output writes: only with a concrete type do the arms tell types apart.
macro_rules! glue {
    ($type:ty) => {
        ((&&&&Wire::<$type>::new()).enc(), (&&&&Wire::<$type>::new()).dec())
    };
}

fn serde_formats() -> [Format; 3] {
    [Format::MsgPack, Format::Json, Format::Other(Arc::new(MsgPack))]
}

#[test]
fn protobuf_types_travel_as_protobuf_alone() {
    let (enc, dec) = glue!(Proto);
    let value = Proto { name: "Ada".into(), inner: Some(Box::default()) };
    let mut out = vec![];
    enc(&Format::Proto, &value, &mut out).unwrap();
    assert_eq!(out, b"\x0a\x03Ada\x12\x00");
    assert_eq!(dec(&Format::Proto, &(&Bytes::from(out)).into()).unwrap(), value);
    for format in serde_formats() {
        let mut out = vec![];
        let encoded = enc(&format, &value, &mut out).unwrap_err();
        let decoded = dec(&format, &(&Bytes::new()).into()).unwrap_err();
        assert_eq!((encoded.code(), decoded.code(), out.len()), (415, 415, 0));
        assert!(encoded.detail().contains("only in Protocol Buffers"), "{encoded}");
    }
}

#[test]
fn types_that_are_both_travel_as_either() {
    let (enc, dec) = glue!(Both);
    let value = Both { name: "Ada".into(), inner: None };
    for format in serde_formats().into_iter().chain([Format::Proto]) {
        let mut out = vec![];
        enc(&format, &value, &mut out).unwrap();
        assert_eq!(dec(&format, &(&Bytes::from(out)).into()).unwrap(), value, "{format:?}");
    }
    let mut out = vec![];
    enc(&Format::Proto, &value, &mut out).unwrap();
    assert_eq!(out, b"\x0a\x03Ada");
}

#[test]
fn serde_types_have_no_form_in_protobuf() {
    let (enc, dec) = glue!(Plain);
    let mut out = vec![];
    for format in serde_formats() {
        out.clear();
        enc(&format, &Plain { name: "Ada".into() }, &mut out).unwrap();
        assert_eq!(dec(&format, &(&Bytes::from(out.clone())).into()).unwrap().name, "Ada");
    }
    assert_eq!(enc(&Format::Proto, &Plain::default(), &mut vec![]).unwrap_err().code(), 415);
    assert_eq!(dec(&Format::Proto, &(&Bytes::new()).into()).unwrap_err().code(), 415);
}

#[test]
fn an_empty_request_of_protobuf_is_a_unit() {
    // `prost` makes `()` the message without fields.
    let (enc, dec) = glue!(());
    let mut out = vec![];
    enc(&Format::Proto, &(), &mut out).unwrap();
    assert!(out.is_empty());
    for format in serde_formats().into_iter().chain([Format::Proto]) {
        dec(&format, &(&Bytes::new()).into()).unwrap();
    }
}

#[test]
fn raw_messages_travel_in_any_format() {
    let (enc, dec) = glue!(Raw);
    for format in serde_formats().into_iter().chain([Format::Proto]) {
        let raw = dec(&format, &(&Bytes::from_static(b"abc")).into()).unwrap();
        assert_eq!(raw.content_type, format.content_type());
        let mut out = vec![];
        enc(&format, &raw, &mut out).unwrap();
        assert_eq!(out, b"abc");
    }
}

#[test]
fn malformed_protobuf_is_a_bad_request() {
    let (_, dec) = glue!(Both);
    let bytes = [&b"\x0a\x03Ad"[..], b"\x0a\xff\xff\xff\xff\x0fA", b"\x07", b"\x0a\x01\xff"];
    for bytes in bytes {
        let error = dec(&Format::Proto, &(&Bytes::from_static(bytes)).into()).unwrap_err();
        assert_eq!(error.code(), 400, "{bytes:?}");
    }
}

#[test]
fn nesting_stops_before_the_stack_does() {
    let run = || {
        let (_, dec) = glue!(Proto);
        for (levels, fits) in [(64, true), (100, true), (101, false), (10_000, false)] {
            let mut bytes = vec![];
            for _ in 0..levels {
                let mut outer = vec![];
                encoding::encode_key(2, WireType::LengthDelimited, &mut outer);
                encoding::encode_varint(u64::try_from(bytes.len()).unwrap(), &mut outer);
                outer.append(&mut bytes);
                bytes = outer;
            }
            assert_eq!(
                dec(&Format::Proto, &(&Bytes::from(bytes)).into()).is_ok(),
                fits,
                "{levels}"
            );
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    thread.spawn(run).unwrap().join().unwrap();
}
