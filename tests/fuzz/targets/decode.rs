//! Every codec on bytes from a stranger, into a type that nests, and into what takes anything; and
//! the envelopes around them.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use micro::codec::envelope::Form;
use micro::codec::{Bson, Cbor, Codec, Json, MsgPack, erased_serde};
use micro::core::content_type::ContentType;
use serde::{Deserialize, Serialize};

/// Everything that `serde` tells apart, within itself.
#[derive(Debug, Deserialize, Serialize)]
struct Node {
    id: Option<u64>,
    ratio: f64,
    name: String,
    kind: Kind,
    children: Vec<Node>,
    by_name: BTreeMap<String, Node>,
}

#[derive(Debug, Deserialize, Serialize)]
enum Kind {
    Leaf,
    Number(i32),
    Pair(u8, Box<Node>),
    Named { inner: Box<Node> },
}

const ENVELOPES: [&str; 5] = [
    "application/json-rpc",
    "application/proto-rpc",
    "application/msgpack-rpc",
    "application/bson-rpc",
    "application/grpc",
];

fn open(name: &str, bytes: &[u8]) {
    let form = Form::of(&ContentType::parse(name));
    let bytes = bytes.to_vec().into();
    if let Ok((label, message)) = form.open_request(&bytes) {
        let mut out = Vec::new();
        // A message that was no JSON has no form in an envelope of it.
        if form.seal_request(&label, &message, &mut out).is_ok() {
            let (again, _) = form.open_request(&out.into()).expect("it was sealed here");
            assert_eq!(again.endpoint, label.endpoint);
        }
    }
    let _opened = form.open_response(&bytes);
}

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    open(ENVELOPES[usize::from(*which) % ENVELOPES.len()], bytes);
    let codecs: [&dyn Codec; 4] = [&Json, &MsgPack, &Cbor, &Bson];
    let codec = codecs[usize::from(*which) % codecs.len()];
    let mut node: Option<Node> = None;
    let typed = codec.decode(bytes, &mut |deserializer| {
        node = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    });
    if typed.is_ok() {
        // What was understood can be said again and is understood again.
        let node = node.expect("visited once");
        let mut out = Vec::new();
        codec.encode(&node, &mut out).expect("it came in this format");
        let again = codec.decode(&out, &mut |deserializer| {
            erased_serde::deserialize::<Node>(deserializer).map(drop)
        });
        again.expect("it was encoded here");
    }
    // Whether this is a value at all is open; that it neither panics nor recurses deeply is not.
    let _any = codec.decode(bytes, &mut |deserializer| {
        erased_serde::deserialize::<serde_json::Value>(deserializer).map(drop)
    });
});
