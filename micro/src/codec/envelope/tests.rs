//! Envelopes as go-micro's peers write them, and as nobody should.

use bytes::Bytes;

use super::*;
use crate::core::content_type::ContentType;

fn form(content_type: &str) -> Form {
    Form::of(&ContentType::parse(content_type))
}

const NAMES: [&str; 8] = [
    "application/json-rpc",
    "application/proto-rpc",
    "application/msgpack-rpc",
    "application/bson-rpc",
    "application/grpc+proto",
    "application/grpc+json",
    "application/grpc+bytes",
    "application/json",
];

/// A message that each encoding takes for one.
fn message(form: &Form) -> &'static [u8] {
    match form.message {
        ContentType::Json => b"{\"name\":\"John\"}",
        ContentType::MsgPack => b"\x81\xa4name\xa4John",
        ContentType::Other(_) => b"\x05\0\0\0\0",
        _ => b"\n\x04John",
    }
}

fn request(form: &Form, id: &str) -> Bytes {
    let mut out = Vec::new();
    form.seal_request(&Label::new("Greeter.Hello", Id::of(id)), message(form), &mut out).unwrap();
    out.into()
}

#[test]
fn each_content_type_names_its_envelope_and_is_named_by_it() {
    for name in NAMES {
        assert_eq!(form(name).content_type().as_str(), name);
    }
    assert_eq!(form("application/grpc").content_type().as_str(), "application/grpc+proto");
    assert_eq!(
        form("application/x-odd"),
        Form::new(Envelope::Bare, ContentType::parse("application/x-odd"))
    );
}

#[test]
fn peers_that_name_no_endpoint_mean_the_envelope_of_their_encoding() {
    for (given, expected) in [
        ("application/json", Envelope::JsonRpc),
        ("application/protobuf", Envelope::ProtoRpc),
        ("application/octet-stream", Envelope::ProtoRpc),
        ("application/proto-rpc", Envelope::ProtoRpc),
        ("application/json-rpc", Envelope::JsonRpc),
        ("application/msgpack-rpc", Envelope::MsgPackRpc),
        ("application/bsonrpc", Envelope::BsonRpc),
    ] {
        assert_eq!(Form::legacy(&ContentType::parse(given)).envelope, expected, "{given}");
    }
}

#[test]
fn an_envelope_goes_around_the_encodings_it_has_a_name_for() {
    let json_rpc = form("application/json-rpc");
    assert_eq!(json_rpc.around(&ContentType::Json), json_rpc);
    assert_eq!(json_rpc.around(&ContentType::Proto).envelope, Envelope::Bare);
    let grpc = form("application/grpc+proto");
    assert_eq!(grpc.around(&ContentType::Json).content_type().as_str(), "application/grpc+json");
    assert_eq!(grpc.around(&ContentType::Bytes).content_type().as_str(), "application/grpc+bytes");
}

#[test]
fn requests_are_written_as_go_micro_writes_them() {
    let json = b"{\"method\":\"Greeter.Hello\",\"params\":[{\"name\":\"John\"}],\"id\":\"3\"}\n";
    assert_eq!(request(&form("application/json-rpc"), "3"), json.as_slice());
    let proto = b"\0\0\0\x18\n\rGreeter.Hello\x11\x0c\0\0\0\0\0\0\0\0\0\0\x06\n\x04John";
    assert_eq!(request(&form("application/proto-rpc"), "12"), proto.as_slice());
    let grpc = b"\0\0\0\0\x06\n\x04John";
    assert_eq!(request(&form("application/grpc+proto"), "13"), grpc.as_slice());
    let msgpack = b"\x94\0\x07\xadGreeter.Hello\x91\x81\xa4name\xa4John";
    assert_eq!(request(&form("application/msgpack-rpc"), "7"), msgpack.as_slice());
    let bson = b"\x35\0\0\0\x02servicemethod\0\x0e\0\0\0Greeter.Hello\0\x12seq\0\x09\0\0\0\0\0\0\0\0\x05\0\0\0\0";
    let written = request(&form("application/bson-rpc"), "9");
    assert_eq!(written.len(), 5 + usize::from(written[0]));
    assert_eq!(&written[4..], &bson[4..]);
    assert_eq!(request(&form("application/json"), "1"), b"{\"name\":\"John\"}\n".as_slice());
}

#[test]
fn what_is_sealed_is_opened_again_both_ways() {
    for name in NAMES {
        let form = form(name);
        let (label, body) = form.open_request(&request(&form, "7")).unwrap();
        assert_eq!(body.trim_ascii_end(), message(&form).trim_ascii_end(), "{name}");
        if !matches!(form.envelope, Envelope::Bare | Envelope::Grpc) {
            assert_eq!(
                (label.endpoint.as_str(), label.id.to_string()),
                ("Greeter.Hello", "7".into())
            );
        }
        let mut out = Vec::new();
        form.seal_response(&Label::new("", Id::of("7")), message(&form), &mut out).unwrap();
        let (label, body) = form.open_response(&out.into()).unwrap();
        assert_eq!((label.error, body.trim_ascii_end()), (None, message(&form).trim_ascii_end()));
        let failed = Label::new("", Id::of("7")).with_error("it \"broke\"");
        let mut out = Vec::new();
        form.seal_response(&failed, b"", &mut out).unwrap();
        let (label, body) = form.open_response(&out.into()).unwrap();
        assert!(body.is_empty(), "{name}");
        if !matches!(form.envelope, Envelope::Bare | Envelope::Grpc) {
            assert_eq!(label.error.as_deref(), Some("it \"broke\""), "{name}");
        }
    }
}

#[test]
fn responses_are_written_as_go_micro_writes_them() {
    let mut out = Vec::new();
    let label = Label::new("", Id::of("3"));
    let json = form("application/json-rpc");
    json.seal_response(&label, b"{\"msg\":\"Hello John\"}", &mut out).unwrap();
    assert_eq!(out, b"{\"id\":\"3\",\"result\":{\"msg\":\"Hello John\"},\"error\":null}\n");
    let mut out = Vec::new();
    let label = Label::new("", Id::Number(12));
    form("application/proto-rpc").seal_response(&label, b"\n\nHello John", &mut out).unwrap();
    assert_eq!(out, b"\0\0\0\t\x11\x0c\0\0\0\0\0\0\0\0\0\0\x0c\n\nHello John");
}

#[test]
fn json_is_read_in_any_order_with_any_id_and_with_or_without_a_list() {
    let json = form("application/json-rpc");
    for (text, endpoint, id, body) in [
        (r#"{"params":[{"a":1}],"id":"3","method":"A.B"}"#, "A.B", Id::of("3"), r#"{"a":1}"#),
        (r#"{"method":"A.B","params":{"a":1},"id":3}"#, "A.B", Id::Number(3), r#"{"a":1}"#),
        (r#"{"method":"A.B","params":[],"id":null}"#, "A.B", Id::None, ""),
        (r#"{"method":"A.\u0042","id":{}}"#, "A.B", Id::None, ""),
        (r#"{"jsonrpc":"2.0","params":[null]}"#, "", Id::None, ""),
        (r#"{"params":[[1,2]]}"#, "", Id::None, "[1,2]"),
    ] {
        let (label, message) = json.open_request(&Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!((label.endpoint.as_str(), label.id), (endpoint, id), "{text}");
        assert_eq!(message, body.as_bytes(), "{text}");
    }
    for (text, error) in [
        (r#"{"error":"boom"}"#, Some("boom")),
        (r#"{"error":""}"#, None),
        (r#"{"error":{"code":4}}"#, Some(r#"{"code":4}"#)),
        (r#"{"result":1}"#, None),
    ] {
        let (label, _) = json.open_response(&Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!(label.error.as_deref(), error, "{text}");
    }
}

#[test]
fn an_envelope_cut_off_anywhere_is_a_400() {
    for name in NAMES.into_iter().filter(|name| *name != "application/json") {
        let form = form(name);
        let whole = request(&form, "300");
        for end in 0..whole.len() {
            let cut = whole.slice(..end);
            let opened = form.open_request(&cut);
            // An empty frame of gRPC is an empty message; a BSON message is read by its codec;
            // the line break of JSON is no part of it.
            let fine = match form.envelope {
                Envelope::Grpc => end == 0,
                Envelope::BsonRpc => end >= usize::from(whole[0]),
                Envelope::JsonRpc => end + 1 == whole.len(),
                _ => false,
            };
            assert_eq!(opened.is_ok(), fine, "{name} {end}");
            assert!(opened.is_ok() || opened.unwrap_err().code() == 400, "{name} {end}");
        }
        if form.envelope != Envelope::BsonRpc {
            let mut longer = whole.to_vec();
            longer.push(b'x');
            assert_eq!(form.open_request(&longer.into()).unwrap_err().code(), 400, "{name}");
        }
    }
}

#[test]
fn lengths_that_lie_cost_nothing() {
    for (name, bytes) in [
        ("application/proto-rpc", &b"\xff\xff\xff\xff"[..]),
        ("application/proto-rpc", b"\0\0\0\x06\x0a\xff\xff\xff\xff\x0f\0\0\0\0"),
        (
            "application/proto-rpc",
            b"\0\0\0\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0\0",
        ),
        ("application/grpc+proto", b"\0\xff\xff\xff\xff"),
        ("application/grpc+proto", b"\x01\0\0\0\0"),
        ("application/msgpack-rpc", b"\x94\0\xdd\xff\xff\xff\xff\xdd\xff\xff\xff\xff"),
        ("application/msgpack-rpc", b"\x94\0\xdb\xff\xff\xff\xff"),
        ("application/msgpack-rpc", b"\x94\0\x01\xa1a\x92\x01\x02"),
        ("application/msgpack-rpc", b"\x94\x01\x01\xc0\xc0"),
        ("application/bson-rpc", b"\xff\xff\xff\xff"),
        ("application/bson-rpc", b"\xff\xff\xff\x7f\0"),
        ("application/bson-rpc", b"\x0c\0\0\0\x02a\0\xff\xff\xff\x7f\0"),
        ("application/json-rpc", b"{\"params\":[1,2]}"),
        ("application/json-rpc", b"[]"),
    ] {
        let opened = form(name).open_request(&Bytes::from_static(bytes));
        assert_eq!(opened.unwrap_err().code(), 400, "{name} {}", bytes.escape_ascii());
    }
}

#[test]
fn unknown_fields_of_a_header_are_skipped() {
    let header = b"\x20\x05\x2d\0\0\0\0\x31\0\0\0\0\0\0\0\0\x3a\x01x\x0a\x01A";
    let mut bytes = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(b"\0\0\0\x01z");
    let (label, body) = form("application/proto-rpc").open_request(&bytes.into()).unwrap();
    assert_eq!((label.endpoint.as_str(), &body[..]), ("A", &b"z"[..]));
}

#[test]
fn a_message_that_is_no_json_never_goes_into_an_envelope_of_json() {
    let mut out = Vec::new();
    let sealed = form("application/json-rpc").seal_request(&Label::default(), b"1,2", &mut out);
    assert_eq!(sealed.unwrap_err().code(), 500);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_an_envelope_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        for name in NAMES {
            let bytes = Bytes::from(bytes.clone());
            let _opened = form(name).open_request(&bytes);
            let _opened = form(name).open_response(&bytes);
        }
    }
}
