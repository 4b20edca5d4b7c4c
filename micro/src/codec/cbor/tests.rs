//! What others write as CBOR is read; the vectors are those of RFC 8949, appendix A.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::codec::{Format, glue};
use glue::{DecodeSerde, EncodeSerde, Wire};

fn decode<T: DeserializeOwned + 'static>(hex: &str) -> Result<T> {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let format = Format::Other(std::sync::Arc::new(Cbor));
    (&Wire::<T>::new()).dec()(&format, &bytes.into())
}

#[test]
fn the_vectors_of_the_standard_are_read() {
    for (hex, expected) in [
        ("00", json!(0)),
        ("17", json!(23)),
        ("1818", json!(24)),
        ("1b000000e8d4a51000", json!(1_000_000_000_000_u64)),
        ("1bffffffffffffffff", json!(u64::MAX)),
        ("20", json!(-1)),
        ("3903e7", json!(-1000)),
        ("f90000", json!(0.0)),
        ("f93c00", json!(1.0)),
        ("f97bff", json!(65504.0)),
        ("fa47c35000", json!(100_000.0)),
        ("fb3ff199999999999a", json!(1.1)),
        ("f4", json!(false)),
        ("f5", json!(true)),
        ("f6", json!(null)),
        ("f7", json!(null)),
        ("c074323031332d30332d32315432303a30343a30305a", json!("2013-03-21T20:04:00Z")),
        ("c11a514b67b0", json!(1_363_896_240)),
        ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", json!("http://www.example.com")),
        ("60", json!("")),
        ("62c3bc", json!("\u{fc}")),
        ("80", json!([])),
        ("8301820203820405", json!([1, [2, 3], [4, 5]])),
        ("a26161016162820203", json!({"a": 1, "b": [2, 3]})),
        ("7f657374726561646d696e67ff", json!("streaming")),
        ("9fff", json!([])),
        ("9f018202039f0405ffff", json!([1, [2, 3], [4, 5]])),
        ("bf61610161629f0203ffff", json!({"a": 1, "b": [2, 3]})),
        ("bf6346756ef563416d7421ff", json!({"Fun": true, "Amt": -2})),
    ] {
        assert_eq!(decode::<Value>(hex).unwrap(), expected, "{hex}");
    }
    assert_eq!(decode::<u128>("c249010000000000000000").unwrap(), 1 << 64);
    assert_eq!(decode::<i128>("c349010000000000000000").unwrap(), -1 - (1 << 64));
    assert_eq!(decode::<i128>("3bffffffffffffffff").unwrap(), -1 - i128::from(u64::MAX));
    assert_eq!(decode::<Vec<u8>>("4401020304").unwrap(), [1, 2, 3, 4]);
    assert_eq!(decode::<Vec<u8>>("5f42010243030405ff").unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(decode::<f64>("01").unwrap(), 1.0);
}

#[test]
fn what_is_malformed_is_refused() {
    for hex in [
        "1c", "1f", "3e", "5c", "7d", "9e", "bd", "dc", "fc", "ff", "18", "1900", "61", "62c3",
        "61ff", "81", "8201", "a1", "a161", "a16161", "9f", "9f01", "bf", "bf6161", "bf6161ff",
        "5f6161ff", "7f4161ff", "7f", "f8", "f818", "c2", "c261", "0000", "f6f6", "9fffff", "e0",
    ] {
        assert_eq!(decode::<Value>(hex).unwrap_err().code(), 400, "{hex}");
    }
    // More bits than any integer has.
    assert!(decode::<u128>("c25101ffffffffffffffffffffffffffffffff").is_err());
}

#[test]
fn what_is_written_is_as_short_as_it_can_be() {
    let mut out = Vec::new();
    let format = Format::Other(std::sync::Arc::new(Cbor));
    (&Wire::<Value>::new()).enc()(&format, &json!({"a": [1, -1, 0.5, "x", null]}), &mut out)
        .unwrap();
    assert_eq!(out, b"\xa1\x61a\x85\x01\x20\xf9\x38\x00\x61x\xf6");
}
